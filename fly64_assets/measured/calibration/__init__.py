"""The calibration of measured frames: probe, positions and a reference object from all their counts, and how good.

Belongs here: what is computed, from a measurement to arrays and numbers. Does not belong here: the conversion of files
and the store (``study.measured_intake``).
"""
