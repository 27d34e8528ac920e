"""Pixels of a detector that did not measure, or not rightly: masked, hot, dead, saturated ones, with their places.

The options in the sentences are those of ``fly64 import``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import scipy
from numpy.typing import NDArray

from fly64_assets.contract.evidence import Evidence
from fly64_assets.contract.findings import Finding, error, information, warning
from fly64_assets.contract.places import number_list, pixel_list

MASKED: Final = "DETECTOR-001.masked"
HOT: Final = "DETECTOR-001.hot"
DEAD: Final = "DETECTOR-001.dead"
SATURATED: Final = "DETECTOR-001.saturated"

LEAST_MARK: Final = 255
"""Smallest count that is taken for a mark of masked pixels: a power of two, or one less."""

LARGEST_MARK: Final = 2**65
COUNTED_BYTES: Final = 2
"""Sizes of integers whose largest value a count can reach."""

MOST_MARKS: Final = 2
"""Different negative numbers with which a detector marks pixels, as -1 for gaps and -2 for defects."""

LEAST_FRAMES: Final = 8
"""Frames in which speckle has moved enough for a pixel, or the beam, to be judged by them."""

HOT_FACTOR: Final = 10.0
HOT_SHARE: Final = 0.9
NEIGHBOURHOOD: Final = np.arange(25).reshape(5, 5) != 12
"""The 24 pixels around one."""

THIRD: Final = 3
"""Rank of the neighbour that a hot pixel is compared with: a cluster of three hot pixels does not move it."""

MOST_CANDIDATES: Final = 256

LEAST_NEIGHBOUR_COUNTS: Final = 30.0
"""Counts over all frames of the pixels on both sides, from which a pixel without any is no chance."""

LEAST_EXPECTED_COUNTS: Final = 10.0
"""Counts over all frames that the probe's far field must let expect at a dead pixel, if there is one."""

DEAD_REACH: Final = 8
"""A pixel is dead if there are counts on both sides of it within an eighth of the frame."""

LEAST_SATURATION: Final = 8.0
"""Counts below which many pixels have the largest value by chance."""

RECORDED: Final = 1e-3
PLATEAU: Final = 10
MANY_FRAMES: Final = 0.1


def masked_findings(evidence: Evidence, *, clipped: bool = False) -> Iterator[Finding]:
    """Values with which detectors mark pixels that did not measure: a type's maximum, negative numbers, NaN.

    ``clipped`` says that the user takes negative counts for noise about zero, which those of every frame are not.
    """
    key, found, dtype = evidence.key, evidence.statistics.detector, evidence.frames.values.dtype
    always = found.top_seen == found.frames
    maximal = dtype.kind in "iu" and found.top >= float(np.iinfo(dtype).max)
    # A count may reach the end of 8 or 16 bits in some frames, and is then saturated.
    if maximal and (dtype.itemsize > COUNTED_BYTES or (always.any() and found.frames > 1)):
        held = f"{_marked(found.top_seen, found.frames)} {np.iinfo(dtype).max}, the largest value of {dtype}"
        yield error(MASKED, f"{key}: {held}: masked pixels? `--mask-value MAX` marks them as bad")
    elif found.frames > 1 and always.any() and _is_mark(evidence.counts(found.top), exact=evidence.integers):
        held = f"{_marked(np.where(always, found.frames, 0), found.frames)} {shown(found.top)}, the largest value"
        yield error(MASKED, f"{key}: {held}: masked pixels? `--mask-value {shown(found.top)}` marks them as bad")
    marks = found.negative_values
    below = found.negative == found.frames
    constant = found.frames > 1 and below.any() and not (found.negative[~below].any() and not evidence.whole)
    if len(marks) in range(1, MOST_MARKS + 1) and (constant or (evidence.whole and not clipped)):
        held = f"{_marked(found.negative, found.frames)} {' or '.join(map(shown, marks))}"
        options = " ".join(f"--mask-value {shown(mark)}" for mark in marks)
        noise = "" if constant else "; noise of the read-out about zero? `--clip-negative` sets them to 0"
        yield error(MASKED, f"{key}: {held}: masked pixels? `{options}` marks them as bad{noise}")
    absent = found.missing == found.frames
    if found.frames > 1 and absent.any():
        held = f"{_marked(np.where(absent, found.frames, 0), found.frames)} NaN or infinite"
        yield error(MASKED, f"{key}: {held}: masked pixels? `--mask-value nan` marks them as bad")


def _marked(seen: NDArray[np.int64], frames: int) -> str:
    """How many pixels have a value in every frame and in some, and which; ends with the verb."""
    always, sometimes = seen == frames, (seen > 0) & (seen < frames)
    parts = [
        f"{_number(which)} in {where} ({pixel_list(which)})"
        for which, where in ((always, "every frame"), (sometimes, "some frames"))
        if which.any()
    ]
    verb = "is" if np.count_nonzero(seen) == 1 else "are"
    return f"{' and '.join(parts)} {verb}"


def _number(which: NDArray[np.bool_], kind: str = "") -> str:
    number = int(np.count_nonzero(which))
    return f"{number} {kind}{'pixel' if number == 1 else 'pixels'}"


def _is_mark(count: float, *, exact: bool) -> bool:
    """Whether a count is a power of two or one less; amplitudes in single precision hold it to some parts in 1e7."""
    if not LEAST_MARK <= count < LARGEST_MARK:
        return False
    power = 2.0 ** round(math.log2(count))
    tolerance = 0.0 if exact else count * 3e-7
    return min(abs(count - power), abs(count - power + 1)) <= tolerance


def shown(value: float) -> str:
    """A value with as many digits as it takes to read the same number again, in its precision.

    Examples
    --------
    >>> shown(65535.0), shown(0.1)
    ('65535', '0.1')
    """
    if value == int(value):
        return str(int(value))
    single = np.float32(value)
    return str(single) if single == value else repr(float(value))


def hot_findings(evidence: Evidence) -> Iterator[Finding]:
    """Pixels more than ten times as bright as those around in over 90 % of the frames, where the probe is not."""
    sample, light = evidence.sample, np.where(evidence.good, evidence.statistics.intensity, -1.0)
    if min(light.shape) < len(NEIGHBOURHOOD):
        return
    factor = np.full(light.shape, HOT_FACTOR)
    if evidence.far_field is not None:
        # A beam that is one pixel wide on the detector is no defect of it.
        around = np.maximum(_third_largest(evidence.far_field), np.finfo(np.float64).tiny)
        factor *= np.maximum(evidence.far_field / around, 1.0)
    # A pixel that is hot in most frames is so in their sum, but for frames that are brighter around it.
    candidates = (light > factor / 3 * np.maximum(_third_largest(light), 0.0)) & (light > 0)
    places = np.argwhere(candidates)
    brightest = np.argsort(-light[candidates], kind="stable")[:MOST_CANDIDATES]
    padded = np.pad(sample**2, ((0, 0), (2, 2), (2, 2)))
    offsets = np.argwhere(NEIGHBOURHOOD)
    hot = np.zeros(light.shape, bool)
    for row, column in places[brightest].tolist():
        around = padded[:, row + offsets[:, 0], column + offsets[:, 1]]
        third = np.partition(around, -THIRD, axis=1)[:, -THIRD]
        own = sample[:, row, column] ** 2
        hot[row, column] = np.mean((own > factor[row, column] * third) & (own > 0)) > HOT_SHARE
    if hot.any():
        yield warning(
            HOT,
            f"{evidence.key}: {_number(hot, 'hot ')}, more than {HOT_FACTOR:g} times as bright as those around in over "
            f"{HOT_SHARE:.0%} of the frames: {pixel_list(hot)}; `--mask FILE` marks bad pixels",
        )


def _third_largest(light: NDArray[np.float64]) -> NDArray[np.float64]:
    ranked: NDArray[np.float64] = scipy.ndimage.rank_filter(
        light, rank=-THIRD, footprint=NEIGHBOURHOOD, mode="constant", cval=-1.0
    )
    return ranked


def dead_findings(evidence: Evidence) -> Iterator[Finding]:
    """Pixels that are 0 in all frames between pixels that count, where the probe sends light."""
    light, far = evidence.light, evidence.far_field
    dark = (light == 0) & evidence.good
    if evidence.statistics.negative.number or not dark.any():
        return
    dead = dark & (np.maximum(_between(light), _between(light.T).T) >= LEAST_NEIGHBOUR_COUNTS)
    if far is not None:
        dead &= far * (light[evidence.good].sum() / far[evidence.good].sum()) >= LEAST_EXPECTED_COUNTS
    if dead.any():
        yield warning(
            DEAD,
            f"{evidence.key}: {_number(dead, 'dead ')}, 0 in all {len(evidence.frames.values)} frames between pixels "
            f"that count: {pixel_list(dead)}; `--mask FILE` marks bad pixels",
        )


def _between(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each pixel the smaller light of the nearest lit pixels to its left and right; 0 beyond an eighth of a row."""
    columns = np.arange(light.shape[1])
    reach = max(2, light.shape[1] // DEAD_REACH)
    sides = []
    for turned in (light, light[:, ::-1]):
        last = np.maximum.accumulate(np.where(turned > 0, columns, -1), axis=1)
        near = (last >= 0) & (columns - last <= reach)
        sides.append(np.where(near, np.take_along_axis(turned, np.maximum(last, 0), axis=1), 0.0))
    return np.minimum(sides[0], sides[1][:, ::-1])


def saturated_findings(evidence: Evidence) -> Iterator[Finding]:
    """A largest value that many pixels of one frame have, or the brightest pixel in many frames."""
    found = evidence.statistics.detector
    counts = evidence.counts(found.top)
    plateau = found.top_in_one > PLATEAU
    dtype = evidence.frames.values.dtype
    # The largest value of an integer type hides every larger count.
    maximal = dtype.kind in "iu" and found.top >= float(np.iinfo(dtype).max)
    repeated = maximal or found.top_frames > max(PLATEAU, MANY_FRAMES * found.frames)
    if not counts >= LEAST_SATURATION or not (plateau or repeated):
        return
    unit = f" ({counts:.6g} counts)" if evidence.scale is not None else ""
    # Where a file records the largest count of its detector, a reconstruction can know it, too.
    recorded = evidence.saturation is not None and abs(counts - evidence.saturation) <= RECORDED * counts
    note = information if recorded else warning
    marking = f"`--mask-value {shown(found.top)}` marks them as bad"
    if found.top_frames <= few_frames(found.frames):
        numbers = number_list(found.top_numbers)
        marking = f"`--drop-frames` leaves out frames {numbers}; {marking} in all frames"
    yield note(
        SATURATED,
        f"{evidence.key}: saturated at {shown(found.top)}{unit}? {found.top_frames} of {found.frames} frames reach "
        f"this largest value, at up to {_many(found.top_in_one)} of one frame, at {pixel_list(found.top_seen > 0)}; "
        f"{marking}",
    )


def few_frames(frames: int) -> float:
    """How many of so many frames can be left out rather than pixels of all of them; 0 of two."""
    return max(1.0, MANY_FRAMES * frames) if frames > 2 else 0.0


def _many(number: int) -> str:
    return f"{number} {'pixel' if number == 1 else 'pixels'}"
