"""The photons of a job: those to fit, and a few kept aside to judge by.

Binomial thinning of Poisson counts gives two independent Poisson sets, so a reconstruction from one is judged by the
other without the truth: its deviance falls while the object gets better and rises when noise is fitted. Belongs here:
dividing and judging. Does not belong here: the library, when to stop (``stopping``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.lsqml.deviance import deviance, expected_deviance
from fly64_assets.physics.counts import frame_generator, thin_counts
from fly64_assets.physics.forward import blocks, patch_counts
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.scan import evenly_spread

JUDGED_FRAMES: Final = 256
"""Frames on which the deviance of the fitted counts is evaluated after every epoch."""
ASIDE_PIXELS: Final = 2**22
"""Detector pixels whose counts are kept for judging: few photons decide between epochs that differ little."""
HELD_OUT: Final = 0.05
"""Part of the photons that is kept aside where they decide when to stop."""


@dataclass(frozen=True)
class Judgement:
    """Mean Poisson deviances per pixel of one object.

    Attributes
    ----------
    deviance, expected : float
        Of the fitted counts, and what it would be if the object were true.
    held_out : float
        Of the counts kept aside; NaN where none are.
    """

    deviance: float
    expected: float
    held_out: float


class Photons:
    """Counts of a measurement, divided by a seed that depends on the frame alone.

    Parameters
    ----------
    measurement : Measurement
    held_out : float
        Part of the photons of every frame to keep aside; 0 fits them all.
    seed : int

    Attributes
    ----------
    fitted : (n, N, N) float32
        Counts to fit, DC in the corner, as the library wants them.
    scale : float
        Scale s with which the measurement's probe explains ``fitted``.
    """

    def __init__(self, measurement: Measurement, held_out: float, seed: int) -> None:
        self._measurement = measurement
        self._held_out = held_out
        n, size = measurement.frames, measurement.patch_size
        self.scale = measurement.intensity_scale * math.sqrt(1 - held_out)
        self.fitted = np.empty((n, size, size), np.float32)
        self._judged = evenly_spread(n, JUDGED_FRAMES)
        self._judging = (
            evenly_spread(n, max(JUDGED_FRAMES, ASIDE_PIXELS // size**2)) if held_out else np.empty(0, np.int64)
        )
        self._aside = np.empty((len(self._judging), size, size), np.float32)
        for part in blocks(n):
            counts = measurement.counts(part)
            aside = np.zeros_like(counts)
            if held_out:
                for row, frame in enumerate(range(part.start, part.stop)):
                    aside[row] = thin_counts(counts[row], held_out, frame_generator(seed, 0, frame))[1]
            self.fitted[part] = np.fft.ifftshift(counts - aside, axes=(-2, -1))
            rows = np.flatnonzero((self._judging >= part.start) & (self._judging < part.stop))
            self._aside[rows] = aside[self._judging[rows] - part.start]

    def judge(self, obj: NDArray[np.complexfloating], probe: NDArray[np.complexfloating]) -> Judgement:
        """Deviances of an object (H, W) and a probe (N, N) in the scale of the measurement's."""
        kept = 1 - self._held_out
        found = expected = 0.0
        for part in blocks(len(self._judged)):
            index = self._judged[part]
            rates = kept * self._rates(obj, probe, index)
            counts = np.fft.fftshift(self.fitted[index], axes=(-2, -1)).astype(np.float64)
            found += float(deviance(counts, rates).sum())
            expected += float(expected_deviance(rates).sum())
        pixels = len(self._judged) * self._measurement.patch_size**2
        return Judgement(found / pixels, expected / pixels, self._held_out_deviance(obj, probe))

    def _held_out_deviance(self, obj: NDArray[np.complexfloating], probe: NDArray[np.complexfloating]) -> float:
        if not self._held_out:
            return math.nan
        total = 0.0
        for part in blocks(len(self._judging)):
            rates = self._held_out * self._rates(obj, probe, self._judging[part])
            # Nearly all pixels hold no photon, and their deviance is twice the rate.
            lit = self._aside[part] > 0
            counts = self._aside[part][lit].astype(np.float64)
            total += float(deviance(counts, rates[lit]).sum()) + 2 * float(rates[~lit].sum())
        return total / self._aside.size

    def _rates(
        self, obj: NDArray[np.complexfloating], probe: NDArray[np.complexfloating], index: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        m = self._measurement
        return patch_counts(obj, probe, m.scan[index], m.intensity_scale)
