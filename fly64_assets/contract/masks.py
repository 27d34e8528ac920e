"""The mask ``bad_pixels``: detector pixels that did not measure, the same in all frames, and rules on it.

A value at a bad pixel means nothing: no rule judges it, and every writer stores 0 there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.archive import row_blocks
from fly64_assets.contract.findings import Finding, error, information
from fly64_assets.contract.frames import REAL_KINDS, Frames, squeezed
from fly64_assets.contract.schema import Arrays

MASK: Final = "DATA-001.mask"

OTHER_KEYS: Final = frozenset(
    {
        "mask",
        "valid_pixel_mask",
        "good_pixels",
        "valid_pixels",
        "pixel_mask",
        "detector_mask",
        "dead_pixels",
        "mask_array",
    }
)
"""Keys, or last parts of paths, under which other programs store masks, of either convention."""

MOST_BAD: Final = 0.5
"""Share of bad pixels above which a mask is taken for one with the opposite convention."""

MOST_BAD_OF_THE_MIDDLE: Final = 0.2
"""The same for the middle of an enlarged frame; a disc in a square, which a beamstop is, leaves 0.21 of it."""

LEAST_MIDDLE: Final = 1 / 8
"""Smallest side of that middle over the side of the frame."""


def has_too_few_good(bad: NDArray[np.bool_]) -> bool:
    """Whether so many pixels (M, N) are bad that a mask probably has the opposite convention.

    More than half are, and they are not merely a rim around the middle, as ``--pad`` adds one.

    Examples
    --------
    >>> from fly64_assets.contract.resampling import resized
    >>> padded = resized(np.zeros((16, 16), bool), 64, True)
    >>> has_too_few_good(padded), has_too_few_good(~padded), has_too_few_good(np.ones((4, 4), bool))
    (False, False, True)
    """
    if np.count_nonzero(bad) <= MOST_BAD * bad.size:
        return False
    middle = measured_middle(bad)
    wide = all(part >= LEAST_MIDDLE * side for part, side in zip(middle.shape, bad.shape, strict=True))
    return not wide or bool(np.count_nonzero(middle) > MOST_BAD_OF_THE_MIDDLE * middle.size)


def measured_middle(bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The smallest part about the pixel (M/2, N/2) that holds all good pixels, as a view; of no size without any."""
    parts = []
    for axis in (0, 1):
        centre = bad.shape[axis] // 2
        good = np.flatnonzero(~bad.all(axis=1 - axis))
        if not len(good):
            return bad[:0, :0]
        half = max(centre - int(good[0]), int(good[-1]) + 1 - centre)
        parts.append(slice(max(centre - half, 0), centre + half))
    return bad[parts[0], parts[1]]


def usable_mask(arrays: Arrays, frames: Frames | None) -> NDArray[np.bool_] | None:
    """The mask (N, N) bool if there is one that fits the frames and is not refused as inverted, else None."""
    bad = arrays.get(schema.BAD_PIXELS)
    if bad is None or frames is None or bad.dtype != np.bool_ or bad.shape != frames.values.shape[1:]:
        return None
    return None if has_too_few_good(bad) else bad


def without_bad(block: NDArray[Any], bad: NDArray[np.bool_] | None) -> NDArray[Any]:
    """Frames (b, N, N), with 0 at bad pixels whatever they hold there."""
    return block if bad is None else np.where(bad, block.dtype.type(0), block)


def mask_findings(arrays: Arrays) -> Iterator[Finding]:
    """How many pixels are bad, and whether a mask has the opposite convention."""
    bad = arrays.get(schema.BAD_PIXELS)
    if bad is None or bad.dtype != np.bool_ or bad.ndim != schema.AXES[schema.BAD_PIXELS] or not bad.size:
        return
    number = int(np.count_nonzero(bad))
    said = f"{schema.BAD_PIXELS}: {number} of {bad.size} pixels ({number / bad.size:.2g} of the detector)"
    if has_too_few_good(bad):
        yield error(
            MASK,
            f"{said} are True, which means that they did not measure{', and none is left' * (number == bad.size)}; "
            f"probably the mask is inverted: store numpy.logical_not({schema.BAD_PIXELS}), or import the file with "
            f"--good-pixels {schema.BAD_PIXELS}",
        )
    elif number:
        rows, columns = measured_middle(bad).shape
        rim = f", most of them around the middle {rows} x {columns}" if number > MOST_BAD * bad.size else ""
        yield information(MASK, f"{said} are bad{rim}: no value there is judged or used")


def convention_findings(arrays: Arrays, shape: tuple[int, ...]) -> Iterator[Finding]:
    """Masks under other keys, of frames of this shape, where nothing says whether they mark bad or good pixels."""
    known = arrays.get(schema.BAD_PIXELS)
    mask = "a mask of the detector" if known is None else f"a further mask beside {schema.BAD_PIXELS}"
    for key, plane in other_masks(arrays, shape).items():
        if known is not None and _says_no_more(plane, known):
            continue
        share = float(np.count_nonzero(plane)) / max(plane.size, 1)
        bad, good = f"`--rename {key}={schema.BAD_PIXELS}`", f"`--good-pixels {key}`"
        likely = f"more than half, so probably those are good: {good}; otherwise {bad}"
        other = f"if those are bad, confirm with {bad}; if they are good, with {good}"
        yield error(
            MASK,
            f"'{key}' looks like {mask}, and its convention is not shown: {100 * share:.3g} % of its pixels "
            f"are not 0; {likely if share > MOST_BAD else other}",
        )


def other_masks(arrays: Arrays, shape: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    """Masks under other keys than that of the contract, one for all frames of this shape (M, N), or one of each."""
    planes = {key: squeezed(arrays[key], 2) for key in sorted(arrays) if key.rpartition("/")[2] in OTHER_KEYS}
    return {key: plane for key, plane in planes.items() if plane.dtype.kind in REAL_KINDS and plane.shape[-2:] == shape}


def _says_no_more(planes: NDArray[Any], known: NDArray[Any]) -> bool:
    """Whether the mask (M, N) that is known marks all that another one, or one of each frame, marks in a convention."""
    if known.shape != planes.shape[-2:]:
        return False
    good = known == 0
    stack = planes.reshape(-1, *known.shape)
    marked, unmarked = np.zeros(known.shape, np.bool_), np.zeros(known.shape, np.bool_)
    for _, block in row_blocks(stack):
        marked |= (block != 0).any(axis=0)
        unmarked |= (block == 0).any(axis=0)
    return not (marked & good).any() or not (unmarked & good).any()


def pair_mask_findings(train: Arrays, test: Arrays) -> Iterator[Finding]:
    """Whether two halves of a scan were measured with the same pixels."""
    first, second = train.get(schema.BAD_PIXELS), test.get(schema.BAD_PIXELS)
    if first is None and second is None:
        return
    if first is None or second is None:
        other, own = ("train", "test") if first is None else ("test", "train")
        yield error(MASK, f"{own} has {schema.BAD_PIXELS}, {other} has none; both halves come from one detector")
    elif not np.array_equal(first, second):
        yield error(MASK, f"{schema.BAD_PIXELS} of train and test differ; both halves come from one detector")
