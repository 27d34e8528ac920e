"""How engines run: a process of their own, execution settings, imports that need care."""
