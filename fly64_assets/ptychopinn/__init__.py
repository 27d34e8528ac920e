"""The legacy world: PtychoPINN's configuration, its dictionary, and the network of frames in TensorFlow.

Belongs here: the bridge to the dictionary (``ptychopinn.session``) and what is reached through it alone.
Does not belong here: Dagster, stores, the truth. The modules that import tensorflow, all named in ``pyproject.toml``,
are for engine processes only.
"""
