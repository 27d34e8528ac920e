"""The physics-informed networks: settings, forward model, training, bundle, inference, jobs.

Belongs here: what both architectures share. Does not belong here: one of them (``unrolled`` and ``cnn``, which do not
import each other), stores, Dagster. A new architecture is a package of its own, an entry of ``architectures`` and its
settings. Modules that import torch, all named in ``pyproject.toml``, are for engine processes only.
"""
