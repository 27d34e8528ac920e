"""Readers: what a file of another program holds, as DATA-001 names, units and axes; chosen by content, not by name."""
