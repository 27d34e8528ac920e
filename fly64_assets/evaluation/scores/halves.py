"""Resolution without a truth: two reconstructions, each from one half of the frames, against each other.

Belongs here: the division of frames into two independent halves, and the correlation of their reconstructions. Does not
belong here: the correlation itself (``resolution``) and the reconstruction.

The halves share no noise, so that their correlation falls where the signal does. It shows how far a result can be
*repeated*, not how right it is: an error that both halves have in common (a prior, a wrong probe) counts as signal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fly64_assets.evaluation.scores.alignment import Alignment, align
from fly64_assets.evaluation.scores.bands import cropped
from fly64_assets.evaluation.scores.metrics import Score
from fly64_assets.evaluation.scores.region import (
    LEAST_RECTANGLE_PX,
    evaluation_region,
    largest_rectangle,
    no_rectangle_reason,
    scan_box,
)
from fly64_assets.evaluation.scores.resolution import RingCorrelation, resolution, ring_correlation
from fly64_assets.physics.measurement import Measurement


@dataclass(frozen=True)
class HalfSets:
    """Agreement of two reconstructions from independent halves of the frames.

    Attributes
    ----------
    curve : RingCorrelation or str
        Of the complex fields, in the largest rectangle that both halves illuminate; or why there is none.
    scores : name -> Score
        ``frc_05`` and ``frc_half_bit``: full period [px] at which the curve falls below 0.5 (or the design's
        threshold) and below the half-bit curve.
    alignment : Alignment or None
        Of the second reconstruction with the first.
    frames : (int, int)
        Frames of the halves.
    """

    curve: RingCorrelation | str
    scores: Mapping[str, Score]
    alignment: Alignment | None
    frames: tuple[int, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "frames": list(self.frames),
            "scores": {name: {"value": s.value, "reason": s.reason} for name, s in self.scores.items()},
            "frc": {"reason": self.curve} if isinstance(self.curve, str) else self.curve.to_dict(),
            "alignment": self.alignment.to_dict() if self.alignment else None,
        }


def half_indices(scan_index: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices (n1,), (n2,) of every other frame, in the order of the scan, and of the rest: no frame is in both.

    Raises
    ------
    ValueError
        If there are fewer than two frames.

    Examples
    --------
    >>> half_indices(np.array([4, 2, 0, 6, 8]))
    (array([0, 2, 4]), array([1, 3]))
    """
    if len(scan_index) < 2:
        raise ValueError(f"{len(scan_index)} frames cannot be divided into two halves")
    order = np.argsort(scan_index, kind="stable")
    return np.sort(order[::2]), np.sort(order[1::2])


def compare_halves(
    objects: tuple[NDArray[np.complexfloating], NDArray[np.complexfloating]],
    halves: tuple[Measurement, Measurement],
    *,
    coverage_threshold: float,
    max_shift_px: float,
    frc_threshold: float,
    remove_ramp: bool = False,
) -> HalfSets:
    """Correlate two reconstructions (H, W) after the alignment that all methods get; no truth is needed.

    Pixels count that both halves illuminate well enough. A reconstruction that cannot be aligned gives no value.

    Raises
    ------
    ValueError
        If a reconstruction is not on the grid of its measurement.
    """
    for obj, half in zip(objects, halves, strict=True):
        if obj.shape != tuple(half.object_shape):
            raise ValueError(f"a reconstruction has shape {obj.shape}, the measurement has {half.object_shape}")
    frames = (halves[0].frames, halves[1].frames)
    masks = [
        evaluation_region(m.probe, m.scan, threshold=coverage_threshold, scan_box=scan_box(m.scan)).mask for m in halves
    ]
    mask = masks[0] & masks[1]
    rectangle = largest_rectangle(mask, LEAST_RECTANGLE_PX)
    try:
        aligned = align(objects[1], objects[0], mask, max_shift_px=max_shift_px, remove_ramp=remove_ramp)
    except ValueError as error:
        return _result(str(error), None, frames, frc_threshold)
    if rectangle is None:
        return _result(no_rectangle_reason(), aligned, frames, frc_threshold)
    pictures = cropped(lambda part: (objects[0][part], aligned.rows(part)), rectangle)
    curve = ring_correlation(pictures, (rectangle.height, rectangle.width))
    return _result(curve, aligned, frames, frc_threshold)


def _result(
    curve: RingCorrelation | str, alignment: Alignment | None, frames: tuple[int, int], frc_threshold: float
) -> HalfSets:
    scores = {"frc_05": resolution(curve, frc_threshold), "frc_half_bit": resolution(curve)}
    return HalfSets(curve, scores, alignment, frames)
