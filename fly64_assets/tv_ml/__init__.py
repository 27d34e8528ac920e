"""Regularised maximum likelihood: Poisson likelihood with total variation, without a network."""
