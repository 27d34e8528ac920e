"""The report of a study of measured frames, in which no method can be compared with a true object."""
