"""Studies of measured frames: calibration, doses made by thinning the counts, and what independent counts say."""
