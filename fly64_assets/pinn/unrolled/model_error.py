"""The background term of the forward model: counts that an object leaves unexplained on average.

Belongs here: the fit of that term. Does not belong here: solvers, networks, losses. Imported by engine processes only.
"""

from __future__ import annotations

import torch


def fitted_background(
    rates: torch.Tensor, counts: torch.Tensor, iterations: int, start: torch.Tensor | None = None
) -> torch.Tensor:
    """Expected counts per detector pixel (N, N), the same in every frame, that an object leaves unexplained on average.

    A rate is quadratic in the object: details o that the object O lacks, and of which only the statistics are known,
    still scatter photons, E |F P (O + o)|^2 = |F P O|^2 + E |F P o|^2. Without the second term the likelihood favours
    invented texture of the right strength over the object that is closest to the truth on average. The term is
    fitted by expectation maximisation (as in Richardson-Lucy deconvolution), smoothed over 9 x 9 pixels after every
    iteration.

    Parameters
    ----------
    rates, counts : (b, N, N) float32
        Expected and measured counts, DC in the corner.
    iterations : int
    start : (N, N) float32, optional
        The term to improve; by default 5 % of the counts, evenly spread.

    Returns
    -------
    (N, N) float32
        DC in the corner.
    """
    box = torch.full((1, 1, 9, 9), 1 / 81, device=rates.device)
    background = torch.full_like(counts[0], 0.05 * float(counts.mean()) + 1e-12) if start is None else start
    for _ in range(iterations):
        ratio = (counts / (rates + background).clamp_min(1e-8)).mean(dim=0)
        raised = torch.fft.fftshift(background * ratio)[None, None]
        smooth = torch.nn.functional.conv2d(torch.nn.functional.pad(raised, (4, 4, 4, 4), mode="replicate"), box)
        background = torch.fft.ifftshift(smooth[0, 0])
    return background
