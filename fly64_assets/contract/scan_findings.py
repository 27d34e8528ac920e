"""What positions and object of a file show: scans on a line or raster, outlying positions, units, amplitudes.

They hold for data sets and for bases. The options in the sentences are those of the commands that import files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import scipy
from numpy.typing import NDArray

from fly64_assets.contract import positions, schema
from fly64_assets.contract.archive import row_blocks
from fly64_assets.contract.findings import Finding, error, information, warning
from fly64_assets.contract.frames import REAL_KINDS
from fly64_assets.contract.places import number_list
from fly64_assets.contract.schema import Arrays

LINE: Final = "SCAN-001.line"
RASTER: Final = "SCAN-001.raster"
OUTLYING: Final = "SCAN-001.outlying"
UNIT: Final = "SCAN-001.unit"
AMPLITUDE: Final = "OBJECT-001.amplitude"

LEAST_DISTINCT: Final = 3
LINE_PX: Final = 2.0
LINE_LENGTH: Final = 4.0
"""A line is so many times as long as the distance that its positions may have from it."""

OUTLYING_STEPS: Final = 10.0
LEAST_POSITIONS: Final = 10
RASTER_TOLERANCE: Final = 1e-6
LEAST_RASTER: Final = 3
SMALLEST_SCAN: Final = 0.25
"""Extent of a scan over the frame's side below which it looks like another unit than pixels."""

CENTRED: Final = 0.05
"""Share of its extent by which the middle of a scan about zero lies beside it."""

OBJECT_RANGE: Final = (0.1, 10.0)
BYTES_PER_PIXEL: Final = 8

Positions = NDArray[np.float64]


def scan_findings(
    arrays: Arrays, size: int | None, *, measured: bool = False, simulated: bool = False
) -> Iterator[Finding]:
    """All findings about the positions.

    ``size`` is the frame's side N [px]; ``measured`` says that ones stand in for the object, ``simulated`` that there
    are no frames yet.
    """
    listed = [arrays.get(key) for key in (schema.XCOORDS, schema.YCOORDS)]
    plain = [c.astype(np.float64) for c in listed if c is not None and c.ndim == 1 and c.dtype.kind in REAL_KINDS]
    if len(plain) != 2 or len(plain[0]) != len(plain[1]) or not len(plain[0]) or not np.isfinite(plain).all():
        return
    x, y = plain
    distinct = np.unique(np.stack([x, y], axis=1), axis=0)
    if np.ptp(distinct, axis=0).max() > 2.0**30:
        return
    yield from _line_findings(distinct)
    yield from _raster_findings(distinct)
    yield from _outlying_findings(x, y, distinct, size, simulated)
    yield from _unit_findings(x, y, distinct)
    extent = float(np.ptp(distinct, axis=0).max())
    if measured and size is not None and len(distinct) >= LEAST_POSITIONS and extent < SMALLEST_SCAN * size:
        yield warning(
            UNIT,
            f"all {len(x)} positions lie within {extent:.3g} px, less than a quarter of a frame's side: micrometres? "
            "`--positions-unit um --pixel-size P`, with P the object's pixel in metres, converts them",
        )


def _line_findings(distinct: Positions) -> Iterator[Finding]:
    advice = "the object is seen in one direction only, and reconstructions are poor beside the line"
    if len(distinct) < LEAST_DISTINCT:
        number = "1 distinct position" if len(distinct) == 1 else f"{len(distinct)} distinct positions"
        yield warning(LINE, f"the scan has {number}; frames that overlap in two directions need at least 3")
        return
    about = distinct - distinct.mean(axis=0)
    _, _, directions = np.linalg.svd(about, full_matrices=False)
    along, across = about @ directions.T[:, 0], about @ directions.T[:, -1]
    beside = float(np.abs(across).max())
    if beside <= LINE_PX and np.ptp(along) > LINE_LENGTH * LINE_PX:
        angle = math.degrees(math.atan2(directions[0, 1], directions[0, 0])) % 180
        yield warning(
            LINE,
            f"all {len(distinct)} distinct positions lie within {beside:.2g} px of one line, at {angle:.0f} degrees to "
            f"the rows: {advice}",
        )


def _raster_findings(distinct: Positions) -> Iterator[Finding]:
    sides = [np.unique(np.round(column / RASTER_TOLERANCE)) * RASTER_TOLERANCE for column in distinct.T]
    if len(sides[0]) * len(sides[1]) != len(distinct) or min(map(len, sides)) < LEAST_RASTER:
        return
    steps = [np.diff(side) for side in sides]
    if any(np.ptp(step) > 0.01 * step.mean() for step in steps):
        return
    yield information(
        RASTER,
        f"the positions form a regular raster of {len(sides[0])} x {len(sides[1])} with steps of {steps[0].mean():.3g} "
        f"and {steps[1].mean():.3g} px: reconstructions may show its period; a jittered or spiral scan has none",
    )


def _outlying_findings(
    x: Positions, y: Positions, distinct: Positions, size: int | None, simulated: bool
) -> Iterator[Finding]:
    if len(distinct) < LEAST_POSITIONS:
        return
    distances = np.asarray(scipy.spatial.cKDTree(distinct).query(distinct, k=2)[0])[:, 1]
    step = float(np.median(distances))
    far = distances > OUTLYING_STEPS * step
    if not far.any():
        return
    alone = {tuple(position) for position in distinct[far].tolist()}
    numbers = [number for number, position in enumerate(zip(x.tolist(), y.tolist(), strict=True)) if position in alone]
    window = size or 0
    with_them, without = (np.ptp(part, axis=0) + window for part in (distinct, distinct[~far]))
    canvas = f"the grid needs {with_them[1]:.0f} x {with_them[0]:.0f} px ({_memory(with_them)} in complex64)"
    rest = f"{without[1]:.0f} x {without[0]:.0f} px ({_memory(without)}) without them"
    advice = "leave them out" if simulated else "`--drop-frames` with these numbers leaves them out"
    yield warning(
        OUTLYING,
        f"{len(numbers)} of {len(x)} positions are more than {OUTLYING_STEPS:g} scan steps of {step:.3g} px from all "
        f"others (frames {number_list(numbers)}): {canvas}, {rest}; {advice}",
    )


def _unit_findings(x: Positions, y: Positions, distinct: Positions) -> Iterator[Finding]:
    if len(distinct) < LEAST_DISTINCT:
        return
    extent = np.ptp(distinct, axis=0)
    if float(extent.max()) < positions.LEAST_SPREAD_PX:
        yield error(UNIT, f"positions: {positions.unit_advice(x, y)}")
        return
    middle = np.abs((distinct.min(axis=0) + distinct.max(axis=0)) / 2)
    if (distinct.min() < 0) and (middle < CENTRED * extent).all():
        yield error(
            UNIT,
            "positions: they lie about zero, as pty-chi has them: centred on the object? `--positions-unit px-centred` "
            "counts them from its first pixel",
        )


def _memory(sides: NDArray[np.float64]) -> str:
    return f"{float(np.prod(sides)) * BYTES_PER_PIXEL / 2**20:.3g} MiB"


def object_findings(arrays: Arrays) -> Iterator[Finding]:
    """An object whose amplitudes can hardly be a transmission."""
    obj = arrays.get(schema.OBJECT)
    if obj is None or obj.ndim != 2 or obj.dtype.kind != "c" or not obj.size:
        return
    amplitudes = np.empty(obj.shape)
    for start, rows in row_blocks(obj):
        np.abs(rows.astype(np.complex128), out=amplitudes[start : start + len(rows)])
    finite = amplitudes.ravel() if np.isfinite(amplitudes).all() else amplitudes[np.isfinite(amplitudes)]
    median = float(np.median(finite, overwrite_input=True)) if finite.any() else 1.0
    if not OBJECT_RANGE[0] <= median <= OBJECT_RANGE[1]:
        yield warning(
            AMPLITUDE,
            f"{schema.OBJECT}: the median amplitude is {median:.3g}, and a transmission is about 1 or less; divide the "
            "object and multiply the probe by one number if both come from a reconstruction",
        )
