"""Coherent-diffraction physics on plain arrays: scan, windows, forward model, counts, overlap, illumination.

Belongs here: equations. Does not belong here: files, designs, Dagster; torch only in ``torch_windows``.
"""
