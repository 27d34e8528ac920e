"""The Python interface on plain arrays, and on the results of a study; ``import fly64_assets as fly64`` shows it all.

Belongs here: short functions for scripts and notebooks. Does not belong here: work of its own; every function calls the
code that the assets call. Importing it loads no engine.
"""
