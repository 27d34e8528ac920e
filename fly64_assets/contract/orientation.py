"""The eight orientations of a detector against the scan: how frames are turned, and which one a file's own arrays show.

Frames are turned about the DC, the pixel (N/2, N/2), so that it stays where it is. A frame of even side has one row and
one column without a partner on the other side of the DC; turning leaves them at the edge where they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.evidence import Evidence, every
from fly64_assets.contract.findings import Finding, warning

ORIENTATION: Final = "DETECTOR-001.orientation"

Orientation = Literal["transpose", "flip-x", "flip-y", "rotate-180", "rotate-90", "rotate-270", "antitranspose"]
Centre = Literal["dc", "middle"]
"""What stays where it is: the pixel (N/2, N/2), or the edges of the frame. For odd N both are the same."""

ORIENTATIONS: Final[tuple[Orientation, ...]] = get_args(Orientation)
"""All but that of the file: rows and columns exchanged, columns reversed, rows reversed, and what these make together.

``rotate-90`` turns counterclockwise, ``antitranspose`` exchanges rows and columns and reverses both.
"""

LEAST_GAIN: Final = 100.0
"""Twice the natural logarithm of the likelihood ratio from which another orientation is no chance."""

LEAST_SHARE: Final = 0.02
"""Share of its deviance that the file's own orientation must lose, since an object is never known exactly."""

FLOOR: Final = 1e-6
"""Expected light of a pixel, over the mean of its frame, below which there is always some."""


@dataclass(frozen=True)
class _Turn:
    transposed: bool
    rows: bool
    columns: bool


TURNS: Final[Mapping[Orientation, _Turn]] = {
    "transpose": _Turn(True, False, False),
    "flip-x": _Turn(False, False, True),
    "flip-y": _Turn(False, True, False),
    "rotate-180": _Turn(False, True, True),
    "rotate-90": _Turn(True, True, False),
    "rotate-270": _Turn(True, False, True),
    "antitranspose": _Turn(True, True, True),
}
"""What is done to a frame: rows and columns exchanged first, then the new rows or columns reversed."""


def turned(frames: NDArray[Any], orientation: Orientation, *, about: Centre = "dc") -> NDArray[Any]:
    """Frames (..., N, N) in another orientation about the DC, or about the middle of the frame.

    Examples
    --------
    >>> frame = np.arange(9).reshape(3, 3)
    >>> turned(frame, "rotate-90").tolist() == np.rot90(frame).tolist()
    True
    >>> turned(np.arange(4)[None] + np.zeros((4, 1), int), "flip-x")[0].tolist()  # the DC is the pixel 2
    [0, 3, 2, 1]
    >>> turned(np.arange(4)[None] + np.zeros((4, 1), int), "flip-x", about="middle")[0].tolist()
    [3, 2, 1, 0]
    """
    turn = TURNS[orientation]
    if turn.transposed:
        frames = np.swapaxes(frames, -1, -2)
    for reverse, axis in ((turn.rows, -2), (turn.columns, -1)):
        if reverse:
            frames = np.flip(frames, axis)
            if about == "dc" and frames.shape[axis] % 2 == 0:
                frames = np.roll(frames, 1, axis)
    return frames


def orientation_findings(evidence: Evidence) -> Iterator[Finding]:
    """Whether frames fit object, probe and positions of their file better in another orientation (Poisson likelihood).

    A common factor of all rates is free. Frames that need other positions are not looked for.
    """
    if evidence.frames.values.dtype.kind == "c" or evidence.statistics.negative.number or evidence.expected is None:
        return
    chosen = every(len(evidence.frames.values))
    counts = evidence.rows(chosen)
    if not evidence.integers:
        counts = counts**2 * (1.0 if evidence.scale is None else evidence.scale * evidence.scale)
    counts /= evidence.unit
    rates = evidence.expected.rates(chosen)
    rates += FLOOR * rates.mean()
    if not (counts.sum() > 0 and np.isfinite(counts).all() and (rates > 0).all() and np.isfinite(rates).all()):
        return
    own = _deviance(counts, rates, evidence.good)
    others = {name: _deviance(turned(counts, name), rates, turned(evidence.good, name)) for name in ORIENTATIONS}
    best = min(others, key=lambda name: others[name])
    if own - others[best] > max(LEAST_GAIN, LEAST_SHARE * own):
        yield warning(
            ORIENTATION,
            f"{evidence.key}: of the eight orientations of the frames not their own but `{best}` fits the object, "
            f"probe and positions of the file best (deviance {others[best]:.4g} of {len(chosen)} frames, {own:.4g} as "
            f"they are): `--orientation {best}` turns them",
        )


def _deviance(counts: NDArray[np.float64], rates: NDArray[np.float64], good: NDArray[np.bool_]) -> float:
    """Twice the logarithm of the likelihood that is lost to rates equal to the counts, over good pixels."""
    seen, expected = counts[:, good], rates[:, good]
    expected = expected * (seen.sum() / expected.sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithm = np.where(seen > 0, seen * np.log(seen / expected), 0.0)
    return float(2 * logarithm.sum())
