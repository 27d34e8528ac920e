"""Photons that no smooth object explains: a part of the forward model for objects known only on average.

Belongs here: the fit of that part. Does not belong here: solvers, networks, losses. Imported by engine processes only.
"""

from __future__ import annotations

import torch


def unresolved_scatter(
    rates: torch.Tensor, counts: torch.Tensor, rounds: int, start: torch.Tensor | None = None
) -> torch.Tensor:
    """Photons per detector pixel (N, N), the same in every frame, that an object leaves unexplained on average.

    A rate is quadratic in the object: details of which only the statistics are known still scatter light,
    E |F P (O + o)|^2 = |F P O|^2 + E |F P o|^2. Without the second term the likelihood rewards an object that makes
    up details of the right strength over the one that is closest to the truth on average. Fitted by expectation
    maximisation, smoothed over 9 x 9 pixels.

    Parameters
    ----------
    rates, counts : (b, N, N) float32
        Expected and measured counts, DC in the corner.
    rounds : int
    start : (N, N) float32, optional
        From where to go on.
    """
    box = torch.full((1, 1, 9, 9), 1 / 81, device=rates.device)
    scatter = torch.full_like(counts[0], 0.05 * float(counts.mean()) + 1e-12) if start is None else start
    for _ in range(rounds):
        ratio = (counts / (rates + scatter).clamp_min(1e-8)).mean(dim=0)
        moved = torch.fft.fftshift(scatter * ratio)[None, None]
        smooth = torch.nn.functional.conv2d(torch.nn.functional.pad(moved, (4, 4, 4, 4), mode="replicate"), box)
        scatter = torch.fft.ifftshift(smooth[0, 0])
    return scatter
