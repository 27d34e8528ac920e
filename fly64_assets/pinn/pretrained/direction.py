"""The direction in which counts change an object: the gradient of a damped Poisson likelihood.

With expected counts l = |s F P O|^2 and counts c, every detector pixel weighs (c - l) / (l + b): for l far above the
background b it is the gradient of the Poisson likelihood, far below it pixels whose photons are mostly chance count
less. Its mean is zero at the true object whatever b is, as the mean of c is l.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

LEAST_RATE = 1e-6
"""Added to l + b [photons]."""


def returned_waves(
    waves: torch.Tensor,
    counts: torch.Tensor,
    scale: torch.Tensor | float,
    background: torch.Tensor,
    bad_pixels: torch.Tensor | None = None,
    observe: Callable[[torch.Tensor], None] | None = None,
) -> torch.Tensor:
    """Changes (n, N, N) of exit waves (n, N, N) that counts (n, N, N), DC in the corner, ask for; in the probe's unit.

    ``scale`` is the intensity scale s, a number or (n, 1, 1); bad pixels (N, N) ask for nothing. ``observe`` is called
    with the expected counts (n, N, N).
    """
    field = torch.fft.fft2(waves, norm="ortho")
    rates = (field.real.square() + field.imag.square()) * scale**2
    if observe is not None:
        observe(rates)
    weight = (counts - rates) / (rates + background + LEAST_RATE)
    if bad_pixels is not None:
        weight = weight.masked_fill(bad_pixels, 0.0)
    changes: torch.Tensor = torch.fft.ifft2(weight * field, norm="ortho")
    return changes
