"""Methods compared without a truth: by counts of the same frames and of other frames that no method has seen."""
