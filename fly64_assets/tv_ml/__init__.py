"""Regularised maximum likelihood (TV-ML): the likelihood of the counts with total variation of the object, no network.

Belongs here: the settings, the choice of the TV weight, the job. Does not belong here: the likelihood steps, which the
network ``unrolled`` starts from as well (:mod:`fly64_assets.pinn.unrolled.regularisation_path`).
"""
