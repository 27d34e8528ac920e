"""The answer: scans and methods with what to expect of them, as plain values and as text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from fly64_assets.evaluation.advice.known import Illumination, Specimen
from fly64_assets.evaluation.advice.question import UNITS, Question
from fly64_assets.evaluation.atlas.law import NYQUIST_PX


@dataclass(frozen=True)
class Expected:
    """An expected value, and the interval that holds the value of a new kind of object in 80 % of the cases."""

    expected: float
    low: float
    high: float


@dataclass(frozen=True)
class Option:
    """A scan, a dose and a method.

    Attributes
    ----------
    overlap : float
        Linear overlap of nearest probes, 1 - d/D, D at half of the probe's energy.
    step_px : float [px]
        Distance d of neighbouring positions.
    rows, columns : int
        Positions along the field's height and width.
    photons_per_pixel, photons_per_frame : float
        Photons that arrive at the detector.
    method : str
        Method of reconstruction.
    phase_error_rad : Expected [rad]
        Root mean square of the phase's error.
    resolution_px : Expected [px]
        Full period at which the ring correlation with the truth falls below the half-bit curve.
    """

    overlap: float
    step_px: float
    rows: int
    columns: int
    photons_per_pixel: float
    photons_per_frame: float
    method: str
    phase_error_rad: Expected
    resolution_px: Expected

    @property
    def frames(self) -> int:
        """Number of positions."""
        return self.rows * self.columns


@dataclass(frozen=True)
class Advice:
    """What to do, what to expect, and how far that can be trusted.

    Attributes
    ----------
    question, specimen, illumination
        What was asked, and what is known of object and probe.
    best : Option
        The recommended scan and method: the coarsest step that costs at most 5 % more than the best one.
    others : tuple of Option
        Other methods with this scan, then the best method for other overlaps.
    twice : Option
        The recommended one with twice the photons.
    overlapping : Option or None
        The recommended one with 20 points more overlap and as many photons per pixel; None beyond the atlas.
    photons_to_be_sure : float or None
        Of a goal: photons per pixel at which the upper end of the interval reaches it; None where none up to
        ``most_photons`` do.
    most_photons : float
        Most photons per pixel that were tried for a goal: ten times those of the atlas.
    photon_floor_rad : float [rad]
        1 / (2 sqrt n): no measurement with n photons through a pixel tells its phase better without a prior.
    kinds : tuple of str
        Kinds of objects on which the answer rests.
    outside : tuple of str
        Sentences on where this lies outside of the atlas.
    notes : tuple of str
        What was assumed, and what the atlas itself has nearby.
    """

    question: Question
    specimen: Specimen
    illumination: Illumination
    best: Option
    others: tuple[Option, ...]
    twice: Option
    overlapping: Option | None
    photons_to_be_sure: float | None
    most_photons: float
    photon_floor_rad: float
    kinds: tuple[str, ...]
    outside: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; lengths in nm too where the pixel size is known."""
        document = asdict(self)
        scale = self.question.pixel_size_nm
        options = [document["best"], document["twice"], *document["others"]]
        for option in [*options, *([document["overlapping"]] if self.overlapping else [])]:
            option["frames"] = option["rows"] * option["columns"]
            option["total_photons"] = option["frames"] * option["photons_per_frame"]
            if scale is not None:
                option["step_m"] = option["step_px"] * scale * 1e-9
                option["photons_per_nm2"] = option["photons_per_pixel"] / scale**2
                option["resolution_m"] = {name: px * scale * 1e-9 for name, px in option["resolution_px"].items()}
        return document

    def __str__(self) -> str:
        return text_of(self)


# -- as text ----------------------------------------------------------------------------------------------------------

HARDLY_BETTER: Final = 0.9
"""Part of the uniform object's error from which on an expected error is hardly smaller."""
HEAD: Final = (
    "",
    "overlap",
    "step",
    "frames",
    "photons/px",
    "photons/frame",
    "method",
    "phase error [rad]",
    "resolution [px]",
)


def text_of(advice: Advice) -> str:
    """The whole answer."""
    return "\n".join([_asked(advice), "", *_table(advice), "", *_sentences(advice)])


def _asked(advice: Advice) -> str:
    question, probe = advice.question, advice.illumination
    value = f"{question.value:,.4g} {UNITS[question.ask]}"
    field = " x ".join(f"{side:g}" for side in question.field_px)
    asked = f"at most {value}" if question.goal != "error" else f"a phase error of {value}"
    if question.goal is None:
        asked = value
    return (
        f"{asked[0].upper()}{asked[1:]}; an object {advice.specimen.name}; probe {probe.name}, "
        f"{probe.diameter_px:.1f} px wide (half of its energy); field {field} px."
    )


def _table(advice: Advice) -> Iterator[str]:
    rows = [HEAD, *(_row(option, advice) for option in (advice.best, *advice.others))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    for row in rows:
        yield "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()


def _row(option: Option, advice: Advice) -> tuple[str, ...]:
    return (
        "→" if option is advice.best else "",
        f"{100 * option.overlap:.0f} %",
        f"{option.step_px:.1f} px{_length(option.step_px, advice)}",
        f"{option.frames:,}",
        _count(option.photons_per_pixel),
        _count(option.photons_per_frame),
        option.method,
        _range(option.phase_error_rad, 3),
        _resolution(option.resolution_px),
    )


def _length(px: float, advice: Advice) -> str:
    """The same length in nm, where the pixel size is known."""
    scale = advice.question.pixel_size_nm
    return "" if scale is None else f" ({px * scale:.3g} nm)"


def _count(photons: float) -> str:
    """Two digits, or three of small numbers.

    Examples
    --------
    >>> [_count(photons) for photons in (1.234, 23456.0, 4.56e9)]
    ['1.23', '23,000', '4.6e+09']
    """
    if photons < 100:
        return f"{photons:.3g}"
    return f"{float(f'{photons:.2g}'):,.0f}" if photons < 1e7 else f"{photons:.2g}"


def _range(value: Expected, digits: int) -> str:
    return f"{value.expected:.{digits}f} ({value.low:.{digits}f}–{value.high:.{digits}f})"


def _resolution(value: Expected) -> str:
    ends = ("≤ 2" if px <= NYQUIST_PX else f"{px:.1f}" for px in (value.expected, value.low, value.high))
    return "{} ({}–{})".format(*ends)


def _sentences(advice: Advice) -> Iterator[str]:
    best = advice.best
    yield (
        f"Recommended (→): {best.rows} x {best.columns} positions {best.step_px:.1f} px"
        f"{_length(best.step_px, advice)} apart, {_count(best.photons_per_frame)} photons each; reconstruct with "
        f"{best.method}. It is the coarsest step that costs at most 5 % more than the best one."
    )
    if advice.question.goal is not None:
        sure = advice.photons_to_be_sure
        yield (
            f"In half of the cases that suffices. For nine cases in ten: {_count(sure)} photons per pixel."
            if sure is not None
            else "In half of the cases that suffices. For nine cases in ten no dose up to "
            f"{_count(advice.most_photons)} photons per pixel does, ten times the atlas's most."
        )
    yield "Brackets: 80 % of new kinds of objects are expected within."
    yield "Probe and positions count as known: where they must be found from the same frames, take more overlap."
    yield f"Twice the photons: {_gain(advice.twice, best)}."
    if advice.overlapping is not None:
        more = advice.overlapping
        yield (
            f"An overlap of {100 * more.overlap:.0f} % with as many photons per pixel ({more.frames:,} frames, "
            f"{_count(more.photons_per_frame)} photons each): {_gain(more, best)}."
        )
    yield (
        f"Photon floor: {advice.photon_floor_rad:.3f} rad, what the photons tell without a prior. A uniform object has "
        f"{advice.specimen.spread:.3f} rad."
    )
    if best.phase_error_rad.expected > HARDLY_BETTER * advice.specimen.spread:
        yield "The expected error is hardly smaller than that: so few photons hardly show such an object."
    yield from (f"{note[0].upper()}{note[1:]}." for note in advice.notes)
    yield from (f"Extrapolated: {sentence}." for sentence in advice.outside)
    yield f"It rests on {len(advice.kinds)} kinds of objects: {', '.join(advice.kinds)}."


def _gain(other: Option, best: Option) -> str:
    change = 100 * (other.phase_error_rad.expected / best.phase_error_rad.expected - 1)
    resolution = _resolution(other.resolution_px).partition(" (")[0]
    return f"{other.phase_error_rad.expected:.3f} rad ({change:+.0f} %), {resolution} px"
