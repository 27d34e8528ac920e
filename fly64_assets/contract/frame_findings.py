"""Frames that are empty or overexposed, in another unit than photons, or beside the beam, with what to do.

The options in the sentences are those of ``fly64 import``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.evidence import Evidence
from fly64_assets.contract.findings import Finding, warning
from fly64_assets.contract.pixel_findings import (
    LEAST_FRAMES,
    dead_findings,
    hot_findings,
    masked_findings,
    saturated_findings,
    shown,
)
from fly64_assets.contract.places import number_list

EMPTY: Final = "DETECTOR-001.empty"
OVEREXPOSED: Final = "DETECTOR-001.overexposed"
GAIN: Final = "DETECTOR-001.gain"
LOGARITHM: Final = "DETECTOR-001.logarithm"
BEAM: Final = "DETECTOR-001.beam"

EXPOSURE_FACTOR: Final = 10.0
SIGMAS: Final = 5.0
BEAM_PX: Final = 2.0

LOGARITHMS: Final[Mapping[str, float]] = {"natural logarithm": math.e, "log10": 10.0, "log2": 2.0}
COMB_TOLERANCE: Final = 1e-4
LEAST_TEETH: Final = 8
LOGARITHM_RATIOS: Final = (3.0, 30.0)
"""Between these a logarithm's largest value is over its smallest positive one; amplitudes of a beam reach further."""

LOGARITHM_MEDIAN: Final = 0.3
"""Share of the largest value that the median of a logarithm's positive values reaches."""

ROOTS: Final = "square_root_of_counts"
DIVIDE_BY_GAIN: Final = "divide_by_gain"
LARGEST_ROUNDING: Final = 0.25
"""Part of a photon by which the right gain, and little noise, leaves no value beside a whole number."""


def detector_findings(evidence: Evidence, history: object = None, *, centred: bool = True) -> Iterator[Finding]:
    """All findings about the detector.

    ``history`` is the list of what was done to the frames before; ``centred`` says that the DC is not at an edge, so
    that the probe's far field tells where light is to be expected.
    """
    found = evidence.statistics
    if not evidence.frames.values.size or evidence.frames.values.dtype.kind == "c":
        return
    masked = list(masked_findings(evidence))
    yield from masked
    if not found.intensity.any() or not (np.isfinite(evidence.light) & np.isfinite(found.intensity)).all():
        return
    told = centred and not masked and found.detector.frames >= LEAST_FRAMES
    if not masked:
        if told:
            yield from hot_findings(evidence)
            yield from dead_findings(evidence)
        yield from saturated_findings(evidence)
    yield from exposure_findings(evidence)
    yield from gain_findings(evidence, history)
    if evidence.scale is None and not evidence.integers and not found.negative.number:
        yield from unit_findings(evidence, history)
    offset = beam_offset(evidence) if told else None
    if offset is not None:
        rows, columns = offset
        yield warning(
            BEAM,
            f"{evidence.key}: the centre of mass of all frames lies {abs(rows):.1f} px "
            f"{'below' if rows > 0 else 'above'} and {abs(columns):.1f} px to the {'right' if columns > 0 else 'left'} "
            "of that of the probe's far field; `--centre` moves the frames by whole pixels",
        )


def exposure_findings(evidence: Evidence) -> Iterator[Finding]:
    """Frames with less than a tenth of the median light, or more than ten times as much."""
    totals = np.asarray(evidence.statistics.detector.totals) / evidence.unit
    if len(totals) < 2 or not np.isfinite(totals).all():
        return
    median = float(np.median(totals))
    # Of few counts a tenth, or ten times as many, can be chance.
    spread = SIGMAS * math.sqrt(max(median, 1.0))
    empty = (totals < median / EXPOSURE_FACTOR) & (totals < median - spread) if median > 0 else totals == 0
    dark = np.flatnonzero(empty)
    if evidence.expected is not None and len(dark):
        # Where the object of the file lets little light through, a dark frame is right.
        empty[dark] = evidence.expected.share(dark) > 2 / EXPOSURE_FACTOR
    bright = (totals > median * EXPOSURE_FACTOR) & (totals > median + spread) & (median > 0)
    for code, which, words in (
        (EMPTY, empty, "empty: less than a tenth of the median light"),
        (OVEREXPOSED, bright, f"overexposed: more than {EXPOSURE_FACTOR:g} times the median light"),
    ):
        numbers = np.flatnonzero(which).tolist()
        if numbers:
            yield warning(
                code,
                f"{evidence.key}: {len(numbers)} of {len(totals)} frames are {words} "
                f"({number_list(numbers)}); `--drop-frames` with these numbers leaves them out",
            )


def unit_findings(evidence: Evidence, history: object) -> Iterator[Finding]:
    """Multiples of a gain, counts that are no whole numbers, logarithms."""
    positive = np.unique(evidence.sample[evidence.sample > 0])
    if _fractional_counts(history):
        yield warning(
            GAIN,
            f"{evidence.key}: the counts were no whole numbers, so how many photons they are is not known: photons per "
            "unit? `--gain G` takes G units for a photon, and rounds",
        )
    elif evidence.statistics.integers or len(positive) < LEAST_TEETH:
        return
    elif _comb(positive / positive[0]):
        unit = shown(positive[0])
        yield warning(
            GAIN,
            f"{evidence.key}: every value is a multiple of {unit}, so these are hardly amplitudes, but counts times a "
            f"gain: photons per unit? `--gain {unit}` takes them so",
        )
    elif not _comb((positive / positive[0]) ** 2):
        yield from _logarithm_findings(evidence, positive)


def gain_findings(evidence: Evidence, history: object) -> Iterator[Finding]:
    """A gain that left values far from whole photons, so that it is hardly the right one."""
    step = _last_step(history, DIVIDE_BY_GAIN)
    rounding = step.get("largest_rounding")
    if isinstance(rounding, float) and rounding > LARGEST_ROUNDING:
        mean = step.get("mean_rounding")
        average = f", {mean:.2g} on average over values above 0," if isinstance(mean, float) else ""
        yield warning(
            GAIN,
            f"{evidence.key}: division by the gain {step.get('units_per_photon')} left values up to {rounding:.2g} of "
            f"a photon{average} beside whole numbers, and they were rounded: another gain, or noise of the read-out? "
            "`--gain G` with the detector's own units per photon rounds little",
        )


def _last_step(history: object, operation: str) -> Mapping[str, object]:
    """Parameters of the last step of a kind in a history; empty where there is none."""
    steps = [step for step in history if isinstance(step, Mapping)] if isinstance(history, list) else []
    found = [step.get("parameters") for step in steps if step.get("operation") == operation]
    return found[-1] if found and isinstance(found[-1], Mapping) else {}


def _fractional_counts(history: object) -> bool:
    """Whether roots were taken of counts that were no whole numbers."""
    return _last_step(history, ROOTS).get("intensity_scale", 1.0) is None


def _comb(multiples: NDArray[np.float64]) -> bool:
    """Whether numbers are whole: the small ones, of which a fraction can be seen, and enough of them."""
    told = multiples[multiples < 0.1 / COMB_TOLERANCE]
    if len(told) < LEAST_TEETH:
        return False
    return bool((np.abs(told - np.rint(told)) <= COMB_TOLERANCE * np.maximum(told, 1.0)).all())


def _logarithm_findings(evidence: Evidence, positive: NDArray[np.float64]) -> Iterator[Finding]:
    largest, median = float(positive[-1]), float(np.median(evidence.sample[evidence.sample > 0]))
    advice = "store the counts themselves, and import them with `--counts`"
    for name, base in LOGARITHMS.items():
        powers = np.power(base, positive)
        for counts, words in ((powers - 1, "1 + counts"), (powers, "counts")):
            if _comb(counts):
                yield warning(LOGARITHM, f"{evidence.key}: every value is the {name} of {words}; {advice}")
                return
    ratio = largest / float(positive[0])
    if LOGARITHM_RATIOS[0] < ratio < LOGARITHM_RATIOS[1] and median > LOGARITHM_MEDIAN * largest:
        yield warning(
            LOGARITHM,
            f"{evidence.key}: the largest value is only {ratio:.3g} times the smallest positive one, and half of the "
            f"positive values reach {median / largest:.0%} of it, as on a logarithmic scale; {advice}",
        )


def beam_offset(evidence: Evidence, least_px: float = BEAM_PX) -> tuple[float, float] | None:
    """Rows and columns by which the light lies beside the probe's far field, if by more than 2 px and by no chance."""
    if evidence.far_field is None:
        return None
    light = np.where(evidence.good, np.maximum(evidence.light, 0.0), 0.0)
    centre, width = _centre_of_mass(light)
    expected, _ = _centre_of_mass(np.where(evidence.good, evidence.far_field, 0.0))
    rows, columns = (centre - expected).tolist()
    chance = SIGMAS * width / math.sqrt(max(float(light.sum()), 1.0))
    return (rows, columns) if math.hypot(rows, columns) > least_px + chance else None


def _centre_of_mass(light: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Row and column of the centre of mass, and the root mean squared distance from it."""
    places = np.indices(light.shape).reshape(2, -1)
    weights = light.ravel() / float(light.sum())
    centre = places @ weights
    return centre, math.sqrt(max(float(((places - centre[:, None]) ** 2).sum(axis=0) @ weights), 0.0))
