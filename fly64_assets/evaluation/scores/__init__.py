"""Scores of reconstructions against the truth, on one evaluation region and after one alignment."""
