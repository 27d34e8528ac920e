"""Scores of reconstructions against the truth, their pictures, and the study report.

Belongs here: arrays and documents in, scores, figures and text out. Does not belong here: files, the artifact store,
Dagster, torch.
"""
