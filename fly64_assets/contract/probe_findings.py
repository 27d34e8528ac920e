"""A probe in another unit than the counts, so that object and probe do not predict the frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.evidence import Evidence, every
from fly64_assets.contract.findings import Finding, warning
from fly64_assets.physics.forward import blocks

PHOTONS: Final = "PROBE-001.photons"
KNOWN_FACTOR: Final = 2.0
"""Measured over expected counts, or the inverse, beyond which a probe with its object does not belong to the frames."""

LEAST_TRANSMISSION: Final = 0.01
"""Share of the probe's light that an unknown object lets through at least; none lets more through than there is."""

COMPARED: Final = 8
"""Frames that are enough for a finding."""


def power_ratio(evidence: Evidence, most: int | None = None) -> float | None:
    """Counts over those that probe and object of a file let expect, at good pixels; None where they cannot be told.

    An object that nobody knows, and a uniform one, lets all light through times its intensity. ``most`` is how many
    frames are compared with their own windows of another object, all by default.
    """
    far, scale = evidence.far_field, evidence.scale
    totals = np.asarray(evidence.statistics.totals)
    if far is None or scale is None or not len(totals) or not np.isfinite(totals).all():
        return None
    probe = np.asarray(evidence.arrays[schema.PROBE], np.complex128)
    obj = np.asarray(evidence.arrays.get(schema.OBJECT, np.ones((1, 1))))
    peak = float(np.abs(probe).max())
    if evidence.expected is not None:
        chosen = every(len(totals), most or len(totals))
        rates = [
            evidence.expected.rates(chosen[part])[:, evidence.good].sum() for part in blocks(len(chosen), COMPARED)
        ]
        largest = float(np.abs(obj.astype(np.complex128)).max())
        expected, measured = float(np.sum(rates)) / len(chosen) * largest**2, float(totals[chosen].mean())
    elif not evidence.object_known or _uniform(obj):
        share = float(abs(obj.flat[0])) ** 2 if _uniform(obj) else 1.0
        expected, measured = float(far[evidence.good].sum()) / far.size * share, float(totals.mean())
    else:
        return None
    # In stored amplitudes, the unit of the probe; its peak twice, so that the square of a tiny one is not zero.
    ratio = measured / expected / (scale * peak) / (scale * peak) if expected > 0 else 0.0
    return ratio if 0 < ratio < np.inf else None


def _uniform(obj: NDArray[Any]) -> bool:
    return obj.dtype.kind in "fc" and obj.size > 0 and bool((obj == obj.flat[0]).all())


def probe_findings(evidence: Evidence) -> Iterator[Finding]:
    """A probe that is brighter or darker than the frames say."""
    ratio = power_ratio(evidence, COMPARED)
    mean = evidence.statistics.mean_counts
    if ratio is None or mean is None:
        return
    known = evidence.expected is not None
    low, high = (1 / KNOWN_FACTOR if known else LEAST_TRANSMISSION), KNOWN_FACTOR
    if low <= ratio <= high:
        return
    yield warning(
        PHOTONS,
        f"{schema.PROBE}: {'probe and object let' if known else 'the probe lets'} expect {mean / ratio:.4g} counts "
        f"in a frame, and {mean:.4g} were measured, {ratio:.4g} times as many: another unit, or a Fourier transform "
        "that is not unitary (N^2 times)? `--scale-probe` scales the probe to the frames",
    )
