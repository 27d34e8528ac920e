"""The physics-informed network: samples, forward model, networks, training, bundle, inference, jobs.

Belongs here: everything of the network's arm. Does not belong here: stores and Dagster. Modules that import torch, all
named in ``pyproject.toml``, are for engine processes only; the others serve every backend.
"""
