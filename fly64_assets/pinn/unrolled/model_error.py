"""The likelihood of count splits with a background term for the error of the model.

A rate is quadratic in the object: details o that the object O lacks, and of which only the statistics are known, still
scatter photons, E |F P (O + o)|^2 = |F P O|^2 + E |F P o|^2. Without the second term the likelihood favours invented
texture of the right strength over the object that is closest to the truth on average.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from fly64_assets.physics.forward import blocks
from fly64_assets.pinn.forward import poisson_loss
from fly64_assets.pinn.unrolled.count_splits import CountSplits
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane

EM_ITERATIONS: Final = 60
"""Iterations of expectation maximisation that fit a background from the start."""
LEAST_NEAR: Final = 1e-3
"""Below the part that a single pixel of 9 x 9 makes: where no pixel is measured, a background of 0 is divided by it."""
BLOCK_FRAMES: Final = 256
"""Frames whose loss is evaluated at once."""


@dataclass(frozen=True)
class SplitLikelihood:
    """The Poisson loss of objects on the object plane, on count splits of the frames in the plane's order.

    ``scale`` is the intensity scale of one split.
    """

    plane: ObjectPlane
    counts: CountSplits
    scale: float

    def rates(self, obj: torch.Tensor, frames: NDArray[np.int64], origin: tuple[int, int] = (0, 0)) -> torch.Tensor:
        """Expected counts (b, N, N) of one split in frames (b,), DC in the corner, without background.

        ``obj`` (h, w) complex64 is an object on the plane, or the part of one that begins at ``origin``.
        """
        windows = self.plane.read(obj, torch.from_numpy(frames).to(obj.device), origin)
        return self.plane.physics.corner_rates(windows, self.scale)

    def measured(self, split: int, frames: NDArray[np.int64]) -> torch.Tensor:
        """Counts (b, N, N) float32 of a split on the plane's device."""
        return torch.from_numpy(self.counts.split(split, frames)).to(self.plane.device)

    def loss(
        self,
        obj: torch.Tensor,
        split: int,
        frames: NDArray[np.int64],
        background: torch.Tensor,
        origin: tuple[int, int] = (0, 0),
    ) -> torch.Tensor:
        """Mean loss per frame of a split, a float64 scalar with a gradient; for as many frames as fit into memory."""
        rates = self.rates(obj, frames, origin) + background
        return poisson_loss(rates, self.measured(split, frames), self.plane.bad_pixels)

    @torch.no_grad()
    def mean_loss(self, obj: torch.Tensor, split: int, frames: NDArray[np.int64], background: torch.Tensor) -> float:
        """Mean loss per frame of a split, for any number of frames."""
        parts = [frames[part] for part in blocks(len(frames), BLOCK_FRAMES)]
        return sum(float(self.loss(obj, split, part, background)) * len(part) for part in parts) / len(frames)

    @torch.no_grad()
    def background(
        self,
        obj: torch.Tensor,
        split: int,
        frames: NDArray[np.int64],
        iterations: int = EM_ITERATIONS,
        start: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The background (N, N) that an object leaves in a split of some frames; see :func:`fitted_background`."""
        rates, counts = self.rates(obj, frames), self.measured(split, frames)
        return fitted_background(rates, counts, iterations, start, self.plane.bad_pixels)


def fitted_background(
    rates: torch.Tensor,
    counts: torch.Tensor,
    iterations: int,
    start: torch.Tensor | None = None,
    bad_pixels: torch.Tensor | None = None,
) -> torch.Tensor:
    """Expected counts per detector pixel (N, N), the same in every frame, that an object leaves unexplained on average.

    Fitted by expectation maximisation (the multiplicative step of Richardson and Lucy) and smoothed over 9 x 9 pixels
    after every iteration: what one object lacks is spread smoothly over the detector, noise is not.

    Parameters
    ----------
    rates, counts : (b, N, N) float32
        Expected and measured counts, DC in the corner, as in the result.
    start : (N, N) float32, optional
        The term to improve; by default 5 % of the counts, evenly spread.
    bad_pixels : (N, N) bool, optional
        Pixels that were not measured, DC in the corner. They have no part in the result, which is there what the
        measured pixels around them have, or 0 where none is near.
    """
    measured = counts if bad_pixels is None else counts[:, ~bad_pixels]
    background = torch.full_like(counts[0], 0.05 * float(measured.mean()) + 1e-12) if start is None else start
    # Of the 9 x 9 pixels around each, the part that was measured.
    near = None if bad_pixels is None else _box_mean((~bad_pixels).to(background.dtype)).clamp_min(LEAST_NEAR)
    for _ in range(iterations):
        ratio = (counts / (rates + background).clamp_min(1e-8)).mean(dim=0)
        if bad_pixels is None or near is None:
            background = _box_mean(background * ratio)
        else:
            background = _box_mean((background * ratio).masked_fill(bad_pixels, 0.0)) / near
    return background


def _box_mean(image: torch.Tensor) -> torch.Tensor:
    """Mean of an image (N, N), DC in the corner, over the 9 x 9 pixels around each; the edge goes on beyond itself."""
    box = torch.full((1, 1, 9, 9), 1 / 81, device=image.device)
    padded = torch.nn.functional.pad(torch.fft.fftshift(image)[None, None], (4, 4, 4, 4), mode="replicate")
    mean: torch.Tensor = torch.fft.ifftshift(torch.nn.functional.conv2d(padded, box)[0, 0])
    return mean
