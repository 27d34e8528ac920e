"""A network that is trained once, on simulated scans of generated objects, and then used on scans of its range."""
