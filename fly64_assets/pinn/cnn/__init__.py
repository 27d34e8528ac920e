"""The published encoder-decoder on groups of frames (Hoidn et al., Sci. Rep. 13, 22789, 2023)."""
