"""A study of how few photons and how little overlap a ptychography scan can get away with."""

__version__ = "0.1.0"
