"""The physics-informed network: samples, forward model, networks, training, bundle, inference, jobs.

Belongs here: everything of the network's arm. Does not belong here: stores and Dagster. Modules other than
``bundle``, ``figures``, ``grouping``, ``samples`` and ``stitching`` import torch and are for engine processes only.
"""
