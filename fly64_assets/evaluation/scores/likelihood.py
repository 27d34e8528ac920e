"""How well objects explain the counts: their likelihood against that of the truth.

Belongs here: sums over frames. Does not belong here: scores against the truth's own values (``metrics``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.evaluation.scores.bands import Complex, Field, bands, rows_of
from fly64_assets.evaluation.scores.metrics import Score, no_score
from fly64_assets.physics.counts import negative_log_likelihood
from fly64_assets.physics.forward import blocks, patch_counts
from fly64_assets.physics.measurement import Measurement

LIKELIHOOD_FRAMES: Final = 128
"""Frames per block of the likelihood; the sum does not depend on it."""

Real = NDArray[np.float64]


def nll_excess(fields: Mapping[str, Field], truth: Field, measurement: Measurement) -> dict[str, Score]:
    """Negative log-likelihood of each object less that of the truth, photon counts of all frames, per frame.

    Poisson: sum over pixels of lambda - c log lambda, with the known probe and the aligned objects. Near 0 fits the
    counts as the truth does; a negative value fits them *better* than the truth, which is fitting noise.

    Parameters
    ----------
    fields : name -> (H, W) complex
        Aligned objects.
    truth : (H, W) complex
    measurement : Measurement
        Frames of the split; read in blocks of neighbours, so that each needs few rows of the objects.
    """
    m = measurement
    sums: dict[str, list[float]] = {name: [] for name in fields}
    scores = {
        name: no_score("the reconstruction is not finite outside the region")
        for name, field in fields.items()
        if not _finite(field, m.object_shape)
    }
    order = np.argsort(m.y, kind="stable")
    for block in blocks(m.frames, LIKELIHOOD_FRAMES):
        frames = np.sort(order[block])
        rows, counts = _rows(m, frames), m.counts(frames)
        of_truth = _negative_log_likelihood(rows_of(truth, rows), m, frames, rows.start, counts)
        for name, field in fields.items():
            if name not in scores:
                excess = _negative_log_likelihood(rows_of(field, rows), m, frames, rows.start, counts) - of_truth
                sums[name] += excess.tolist()
    return {n: scores.get(n) or Score(math.fsum(sums[n]) / m.frames) for n in fields}


def _finite(field: Field, shape: tuple[int, int]) -> bool:
    return all(bool(np.all(np.isfinite(rows_of(field, part)))) for part in bands(shape))


def _rows(m: Measurement, frames: NDArray[np.int64]) -> slice:
    """Rows of the object that these frames' windows touch, at least one."""
    half, height = m.patch_size // 2, m.object_shape[0]
    y = np.floor(m.y[frames])
    top = int(np.clip(y.min() - half, 0, height - 1))
    return slice(top, int(np.clip(y.max() + half + 1, top + 1, height)))


def _negative_log_likelihood(rows: Complex, m: Measurement, frames: NDArray[np.int64], top: int, counts: Real) -> Real:
    """Per frame (b,), up to a constant of the data; ``rows`` of the object from ``top`` on."""
    scan = m.scan[frames].on((top, 0), (rows.shape[0], rows.shape[1]))
    return negative_log_likelihood(patch_counts(rows, m.probe, scan, m.intensity_scale), counts)
