"""Simulated data: bases from a recipe, diffraction frames at a dose, overlap views."""
