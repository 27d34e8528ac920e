"""PtychoPINN compatibility: its configuration, sessions on its dictionary, import of its files and export for it.

Belongs here: the bridge to the older project. Does not belong here: Dagster, designs, networks (the network of frames
in TensorFlow is ``pinn.cnn.keras``).
"""
