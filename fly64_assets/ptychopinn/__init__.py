"""PtychoPINN compatibility: its configuration, sessions on its dictionary, import of its files and export for it."""
