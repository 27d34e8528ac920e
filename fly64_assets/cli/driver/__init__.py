"""Driving the study run by run."""
