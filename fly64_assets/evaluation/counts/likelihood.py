"""Likelihood of counts that no method has seen: what was thinned away of the same frames, and frames left out.

Belongs here: which counts these are, and the negative log-likelihood of every object for each frame. Does not belong
here: tests of its differences (``paired``) and documents (``judge``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.errors import ContractError
from fly64_assets.evaluation.counts.background import fitted_background
from fly64_assets.evaluation.scores.bands import Field, rows_of
from fly64_assets.evaluation.scores.metrics import object_rows
from fly64_assets.measured import thinning
from fly64_assets.physics.counts import negative_log_likelihood
from fly64_assets.physics.forward import blocks, patch_counts
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.probe_modes import added
from fly64_assets.physics.scan import evenly_spread
from fly64_assets.physics.windows import read

FRAMES_AT_ONCE: Final = 64
"""Frames per block; no result depends on it."""
BACKGROUND_VALUES: Final = 2**20
"""Measured values to which a background is fitted: 256 frames of 64 x 64 pixels, evenly spread over the scan."""
COVERED: Final = 0.9
"""Least share of a left-out frame's light that must have passed the evaluated pixels for the frame to count."""

Real = NDArray[np.float64]
CountsOf = Callable[[NDArray[np.int64]], Real]
"""Counts (b, N, N) of rows of a measurement."""


@dataclass(frozen=True)
class IndependentCounts:
    """Counts of one half of a measured scan of which a view's methods have seen a part.

    Attributes
    ----------
    seen : Measurement
        The view's frames, thinned: what the methods had.
    measured : Measurement
        All measured frames at full counts, with the same probe.
    half : (k,) int64
        Index in the scan of every frame of this half.
    """

    seen: Measurement
    measured: Measurement
    half: NDArray[np.int64]

    @property
    def fraction(self) -> float:
        """Share p of the measured photons that the methods had."""
        return float((self.seen.intensity_scale / self.measured.intensity_scale) ** 2)

    @property
    def complement_scale(self) -> float:
        """Intensity scale of the counts that were thinned away."""
        return math.sqrt(self.measured.intensity_scale**2 - self.seen.intensity_scale**2)

    def rows(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of ``measured`` that hold frames, given by their index in the scan (:func:`thinning.rows_of`)."""
        return thinning.rows_of(self.measured, frames)

    def complement(self, part: NDArray[np.int64]) -> Real:
        """Counts (b, N, N) of rows of ``seen`` that were thinned away: measured less seen.

        Raises :class:`ContractError` if more photons were seen than measured: the files do not belong together.
        """
        counts = self.measured.counts(self.rows(self.seen.scan_index[part])) - self.seen.counts(part)
        if counts.min(initial=0) < 0:
            frame = self.seen.scan_index[part][np.flatnonzero(counts.min(axis=(1, 2)) < 0)[0]]
            raise ContractError(
                f"frame {frame} of the view holds more photons than were measured: another base's frames"
            )
        return counts

    def left_out(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Rows of ``measured``: frames of this half that the view lacks, at least 90 % of whose light passes the mask.

        ``mask`` (H, W) holds the evaluated pixels. The share is of |P|^2, which no object changes.
        """
        rows = self.rows(np.setdiff1d(self.half, self.seen.scan_index))
        weight = added(np.abs(self.measured.modes.astype(np.complex128)) ** 2)
        shares = [
            (read(mask.astype(np.float32), self.measured.scan[rows[part]]).real * weight).sum(axis=(1, 2))
            / weight.sum()
            for part in blocks(len(rows), FRAMES_AT_ONCE)
        ]
        return rows[np.concatenate([np.zeros(0), *shares]) >= COVERED]


@dataclass(frozen=True)
class FrameLikelihoods:
    """Negative log-likelihood [nats] of every object for each frame, up to a constant of the frame.

    ``complement`` (n,) by name is in the order of the view's frames, ``left_out`` (m,) in that of ``left_out_rows``,
    rows of the measured frames. ``backgrounds`` (N, N) are the expected counts per pixel that an object leaves
    unexplained in a frame that the methods had.
    """

    complement: Mapping[str, Real]
    left_out: Mapping[str, Real]
    left_out_rows: NDArray[np.int64]
    backgrounds: Mapping[str, Real]


def frame_likelihoods(
    fields: Mapping[str, Field], counts: IndependentCounts, mask: NDArray[np.bool_]
) -> FrameLikelihoods:
    """Judge objects (H, W) by counts that are independent of them; ``mask`` (H, W) holds the evaluated pixels.

    Poisson: sum over the measured pixels of lambda - c log lambda with lambda = s^2 (|F P O|^2 + b), s the intensity
    scale of the counts that are judged. The background b of every object is fitted to the complement of every other
    frame of the scan, and judges the frames in between: no count has a part in its own prediction
    (:func:`fitted_background`). Left-out frames get the mean of both. Frames are read in blocks, whatever their number.
    """
    seen, measured, rows = counts.seen, counts.measured, counts.left_out(mask)
    complement, mean = predicted(fields, seen, counts.complement, counts.complement_scale)
    left_out = _likelihoods(fields, mean, measured, rows, measured.counts, measured.intensity_scale)
    seen_scale = seen.intensity_scale**2
    return FrameLikelihoods(complement, left_out, rows, {name: seen_scale * b for name, b in mean.items()})


def predicted(
    fields: Mapping[str, Field], m: Measurement, counts_of: CountsOf, scale: float
) -> tuple[dict[str, Real], dict[str, Real]]:
    """Negative log-likelihood (n,) of all frames by name of the object, and the mean background (N, N) of each.

    ``counts_of`` gives the counts that judge for rows of ``m``, and ``scale`` is their intensity scale; backgrounds are
    for a scale of 1 (:func:`frame_likelihoods`).
    """
    order = np.argsort(m.scan_index, kind="stable")
    # Of a single frame there is no other, and no test either.
    halves = (order[::2], order[1::2]) if m.frames > 1 else (order, order)
    likelihoods = {name: np.zeros(m.frames) for name in fields}
    backgrounds = [
        {name: _background(field, m, counts_of, scale, half) for name, field in fields.items()} for half in halves
    ]
    for half, fitted in zip(halves, backgrounds[::-1], strict=True):
        for name, values in _likelihoods(fields, fitted, m, half, counts_of, scale).items():
            likelihoods[name][half] = values
    return likelihoods, {name: (backgrounds[0][name] + backgrounds[1][name]) / 2 for name in fields}


def _background(field: Field, m: Measurement, counts_of: CountsOf, scale: float, frames: NDArray[np.int64]) -> Real:
    """Background (N, N) of an object in the counts of some frames (k,), for an intensity scale of 1."""
    some = frames[evenly_spread(len(frames), max(1, BACKGROUND_VALUES // m.patch_size**2))]
    rates = np.concatenate([_rates(field, m, some[part], scale) for part in blocks(len(some), FRAMES_AT_ONCE)])
    return fitted_background(rates, counts_of(some), m.bad_pixels) / scale**2


def _likelihoods(
    fields: Mapping[str, Field],
    backgrounds: Mapping[str, Real],
    m: Measurement,
    frames: NDArray[np.int64],
    counts_of: CountsOf,
    scale: float,
) -> dict[str, Real]:
    """Negative log-likelihood of some frames (k,) of a measurement by name of the object, in their order."""
    values = {name: np.zeros(len(frames)) for name in fields}
    for places in _neighbours(m.y[frames]):
        part = frames[places]
        counts = counts_of(part)
        for name, field in fields.items():
            rates = _rates(field, m, part, scale) + scale**2 * backgrounds[name]
            values[name][places] = negative_log_likelihood(rates, counts, m.bad_pixels)
    return values


def _neighbours(y: Real) -> Iterator[NDArray[np.int64]]:
    """Blocks of frames whose windows need few rows of the object."""
    order = np.argsort(y, kind="stable")
    return (np.sort(order[part]) for part in blocks(len(y), FRAMES_AT_ONCE))


def _rates(field: Field, m: Measurement, frames: NDArray[np.int64], scale: float) -> Real:
    """Expected counts (b, N, N) of an object, without background."""
    rows = object_rows(m, frames)
    obj = rows_of(field, rows)
    return patch_counts(obj, m.modes, m.scan[frames].on((rows.start, 0), (obj.shape[0], obj.shape[1])), scale)
