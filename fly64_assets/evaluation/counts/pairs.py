"""How far a method repeats itself: ring correlation of its objects from halves of the photons and of the frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.evaluation.scores.alignment import align
from fly64_assets.evaluation.scores.bands import rows_of
from fly64_assets.evaluation.scores.compare import Curve
from fly64_assets.evaluation.scores.metrics import Score
from fly64_assets.evaluation.scores.region import Region
from fly64_assets.evaluation.scores.resolution import rectangle_correlation, resolutions

PAIRS: Final = {"photons": ("photons_1", "photons_2"), "frames": ("frames_1", "frames_2")}
"""Names of the objects of each pair: disjoint halves of the photons of all frames, alternate frames."""


def pair_curves(
    objects: Mapping[str, NDArray[np.complexfloating]] | str,
    region: Region,
    *,
    max_shift_px: float,
    remove_ramp: bool = False,
) -> dict[str, Curve]:
    """Ring correlations of complex objects (H, W) by pair, or why there is none.

    Both come from independent counts, so that the correlation falls where noise begins; an error that both have in
    common (a prior, a wrong probe) counts as signal. The second is aligned with the first as methods are with a truth;
    the curve is that in the largest rectangle of the region.
    """
    if isinstance(objects, str):
        return dict.fromkeys(PAIRS, objects)
    curves: dict[str, Curve] = {}
    for pair, (first, second) in PAIRS.items():
        missing = [name for name in (first, second) if name not in objects]
        curves[pair] = (
            f"no object from {' and '.join(missing)}"
            if missing
            else _curve(objects[first], objects[second], region, max_shift_px, remove_ramp)
        )
    return curves


def _curve(
    first: NDArray[np.complexfloating],
    second: NDArray[np.complexfloating],
    region: Region,
    max_shift_px: float,
    remove_ramp: bool,
) -> Curve:
    try:
        aligned = align(second, first, region.mask, max_shift_px=max_shift_px, remove_ramp=remove_ramp)
    except ValueError as error:
        return f"the two objects cannot be aligned: {error}"
    return rectangle_correlation(
        lambda part: (rows_of(first, part), aligned.rows(part)), region.rectangle, ("first object", "second object")
    )


def pair_scores(curves: Mapping[str, Curve], threshold: float) -> dict[tuple[str, str], Score]:
    """Full periods [px] at which each curve falls below the half-bit curve and below ``threshold``.

    The half-bit curve is that of van Heel and Schatz (2005) for two halves of the data, which these are.
    """
    scores: dict[tuple[str, str], Score] = {}
    for pair, curve in curves.items():
        found = resolutions(curve, threshold)
        scores["complex", f"frc_{pair}_half_bit"] = found["frc_half_bit"]
        scores["complex", f"frc_{pair}_05"] = found["frc_05"]
    return scores
