"""Resolution without a truth: two reconstructions, each from one half of the frames, against each other.

Belongs here: the division of frames into two independent halves, and the correlation of what became of them. Does not
belong here: the correlation itself (``resolution``) and running an arm.

What both halves share is no noise, so that their correlation falls where the signal does. It shows how far a result can
be *repeated*, not how right it is: an error that both halves make alike (a prior, a wrong probe) counts as signal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fly64_assets.evaluation.scores.alignment import Alignment, align
from fly64_assets.evaluation.scores.bands import cut
from fly64_assets.evaluation.scores.metrics import Score
from fly64_assets.evaluation.scores.region import (
    LEAST_RECTANGLE_PX,
    evaluation_region,
    largest_rectangle,
    no_rectangle_reason,
    scan_box,
)
from fly64_assets.evaluation.scores.resolution import RingCorrelation, banded_ring_correlation, resolution
from fly64_assets.physics.measurement import Measurement


@dataclass(frozen=True)
class HalfSets:
    """Agreement of two reconstructions from independent halves of the frames.

    Attributes
    ----------
    curve : RingCorrelation or str
        Of the complex fields, in the largest rectangle that both halves light; or why there is none.
    scores : name -> Score
        ``frc_05`` and ``frc_half_bit``: full period [px] at which the curve falls below 0.5 (or the design's
        threshold) and below the half-bit curve.
    alignment : Alignment or None
        What brought the second onto the first.
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
    """Places (n1,), (n2,) of every other frame, in the order of the scan, and of the rest: no frame is in both.

    Raises
    ------
    ValueError
        If there are fewer than two frames.
    """
    if len(scan_index) < 2:
        raise ValueError(f"{len(scan_index)} frames cannot be divided into two halves")
    order = np.argsort(scan_index, kind="stable")
    return np.sort(order[::2]), np.sort(order[1::2])


def frame_halves(measurement: Measurement) -> tuple[Measurement, Measurement]:
    """The two halves of a measurement; raises like :func:`half_indices`."""
    first, second = (
        dataclasses.replace(
            measurement,
            amplitude=np.asarray(measurement.amplitude[chosen]),
            x=measurement.x[chosen],
            y=measurement.y[chosen],
            scan_index=measurement.scan_index[chosen],
        )
        for chosen in half_indices(measurement.scan_index)
    )
    return first, second


def compare_halves(
    objects: tuple[NDArray[np.complexfloating], NDArray[np.complexfloating]],
    halves: tuple[Measurement, Measurement],
    *,
    coverage_threshold: float,
    max_shift_px: float,
    frc_threshold: float,
    remove_ramp: bool = False,
) -> HalfSets:
    """Correlate two reconstructions (H, W) after the alignment that all arms get; no truth is asked for.

    Pixels count that both halves illuminate well enough. A reconstruction that cannot be aligned gives no value.

    Raises
    ------
    ValueError
        If a reconstruction is not on the grid of its measurement.
    """
    for found, half in zip(objects, halves, strict=True):
        if found.shape != tuple(half.object_shape):
            raise ValueError(f"a reconstruction has shape {found.shape}, the measurement asks for {half.object_shape}")
    frames = (halves[0].frames, halves[1].frames)
    masks = [
        evaluation_region(
            m.probe, m.x, m.y, m.object_shape, threshold=coverage_threshold, scan_box=scan_box(m.x, m.y)
        ).mask
        for m in halves
    ]
    mask = masks[0] & masks[1]
    rectangle = largest_rectangle(mask, LEAST_RECTANGLE_PX)
    try:
        aligned = align(objects[1], objects[0], mask, max_shift_px=max_shift_px, remove_ramp=remove_ramp)
    except ValueError as error:
        return _result(str(error), None, frames, frc_threshold)
    if rectangle is None:
        return _result(no_rectangle_reason(), aligned, frames, frc_threshold)
    pictures = cut(lambda part: (objects[0][part], aligned.rows(part)), rectangle)
    curve = banded_ring_correlation(pictures, (rectangle.height, rectangle.width))
    return _result(curve, aligned, frames, frc_threshold)


def _result(
    curve: RingCorrelation | str, alignment: Alignment | None, frames: tuple[int, int], frc_threshold: float
) -> HalfSets:
    scores = {"frc_05": resolution(curve, frc_threshold), "frc_half_bit": resolution(curve)}
    return HalfSets(curve, scores, alignment, frames)
