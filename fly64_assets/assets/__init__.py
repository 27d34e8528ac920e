"""The assets of the study, one module per stage; each body reads as load, compute, validate, save, describe."""
