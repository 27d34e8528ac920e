"""The iterative method: least-squares maximum likelihood with pty-chi, from a measurement to an object.

Belongs here: settings, options, the epoch loop, stopping, results. Does not belong here: the truth, Dagster, the store.
"""
