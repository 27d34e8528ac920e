"""The iterative arm: least-squares maximum likelihood through pty-chi, from a measurement to an object.

Belongs here: options, the epoch loop, stopping, results. Does not belong here: the truth, Dagster, the store.
"""
