"""What a user knows of the object and of the probe, in the numbers by which the atlas's law goes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.errors import AdviceError
from fly64_assets.evaluation.atlas.cells import UNIFORM, Row, geometric_mean
from fly64_assets.physics.illumination import probe_diameter_px
from fly64_assets.simulation.objects.describing import describe_object
from fly64_assets.simulation.objects.kinds import OBJECT_KINDS, PROBE_KINDS, GeneratedBase
from fly64_assets.simulation.objects.making import make_object, make_probe

EXAMPLE_PX: Final = 160
"""Side of the object of a kind that the atlas does not hold, made to be described; as wide as those of the atlas."""
LARGEST_RANGE: Final = 1000.0
"""Of a phase that does not wrap [rad]."""
LARGEST_SPREAD: Final = math.pi / math.sqrt(3)
"""Standard deviation of a phase that is equally often everywhere on the circle [rad]."""
TOLERANCE: Final = 1.1
"""Factor by which a number may lie outside of the atlas's before it counts as outside."""
GENERATED_N: Final = 64
"""Width of the frames of generated probes; their number of spots does not depend on it."""


@dataclass(frozen=True)
class ObjectNumbers:
    """An object in the numbers by which the law goes.

    Attributes
    ----------
    phase_range : float [rad]
        Between the 1st and the 99th percentile of the unwrapped phase.
    bandwidth : float or None [cycles/px]
        Spatial frequency below which 90 % of the variance lies; None where it is unknown.
    gradient_sparsity : float or None
        1 - (mean g)^2 / mean(g^2) with the magnitude g of the gradient; None where it is unknown.
    spread : float or None [rad]
        Root mean square of the phase about that of the mean transmission, wrapped: the phase error of a uniform object.
        None where it is unknown; it then follows from the range.
    """

    phase_range: float
    bandwidth: float | None = None
    gradient_sparsity: float | None = None
    spread: float | None = None

    def problems(self) -> Iterator[str]:
        """What is no number of an object."""
        if not 0 < self.phase_range <= LARGEST_RANGE:
            yield f"phase range = {self.phase_range}: must be in (0, {LARGEST_RANGE:g}] [rad]"
        if self.bandwidth is not None and not 0 < self.bandwidth <= math.sqrt(0.5):
            yield f"bandwidth = {self.bandwidth}: must be in (0, 0.707] cycles/px, which a pixel grid can hold"
        if self.gradient_sparsity is not None and not 0 <= self.gradient_sparsity < 1:
            yield f"sparsity = {self.gradient_sparsity}: must be in [0, 1)"
        if self.spread is not None and not 0 < self.spread <= LARGEST_SPREAD:
            yield f"spread = {self.spread}: must be in (0, {LARGEST_SPREAD:.2f}] [rad]"


@dataclass(frozen=True)
class Specimen:
    """An object as the law sees it, with its ``name`` in words and ``notes`` on what was assumed or lies outside."""

    name: str
    spread: float
    bandwidth: float
    gradient_sparsity: float
    notes: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Illumination:
    """A probe as the law sees it.

    ``diameter_px`` is that of the disc with half of its energy; ``spots`` its space-bandwidth product in one dimension,
    diameter x diameter of the diffraction cone / N: how many of the smallest possible spots lie side by side across it
    (0.7 for a disc of one phase). ``shares`` are those of the atlas's kinds of probes between which it lies.
    """

    name: str
    diameter_px: float
    spots: float
    shares: Mapping[str, float]
    outside: tuple[str, ...] = ()


def spread_of(obj: NDArray[np.complexfloating]) -> float:
    """Phase error [rad] of a uniform object in the place of one (H, W) complex.

    Examples
    --------
    >>> round(spread_of(np.exp(0.3j * np.sign(np.arange(-32, 32)[:, None] + 0.5) * np.ones(64))), 3)
    0.3
    """
    values = obj.astype(np.complex128)
    return float(np.sqrt((np.angle(values * np.conj(values.mean())) ** 2).mean()))


def kinds_of(rows: Sequence[Row]) -> dict[str, Specimen]:
    """The atlas's kinds of objects, with geometric means over their bases."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.method == UNIFORM:
            found.setdefault(row.kind, []).append(row)
    return {
        kind: Specimen(
            name=f"like `{kind}`",
            spread=geometric_mean([row.error for row in own]),
            bandwidth=geometric_mean([row.number("bandwidth") for row in own]),
            gradient_sparsity=float(np.mean([row.number("gradient_sparsity") for row in own])),
        )
        for kind, own in sorted(found.items())
    }


def specimen(what: str | ObjectNumbers | NDArray[np.complexfloating], rows: Sequence[Row], name: str = "") -> Specimen:
    """What is known of an object: a kind by name, its numbers, or a similar object (H, W) complex.

    Raises :class:`AdviceError` for an unknown kind, numbers out of their range, or an object that cannot be described.
    """
    known = kinds_of(rows)
    if isinstance(what, str):
        if what in known:
            return known[what]
        if what not in OBJECT_KINDS:
            raise AdviceError([f"object = {what!r}: is no kind ({', '.join(OBJECT_KINDS)})"])
        made = _described(make_object(what, EXAMPLE_PX, seed=1), f"like `{what}`, which the atlas does not hold")
    elif isinstance(what, ObjectNumbers):
        made = _of_numbers(what, rows, known)
    else:
        made = _described(np.asarray(what), name or "as the given object")
    return _compared(made, known)


def _described(obj: NDArray[np.complexfloating], name: str) -> Specimen:
    if obj.ndim != 2 or obj.dtype.kind != "c" or min(obj.shape) < 16:
        raise AdviceError(
            [f"the object is {obj.dtype} of shape {obj.shape}: expected complex (H, W), at least 16 wide"]
        )
    try:
        numbers = describe_object(obj)
    except ValueError as error:
        raise AdviceError([str(error)]) from error
    return Specimen(name, spread_of(obj), numbers.bandwidth, numbers.gradient_sparsity)


def _of_numbers(given: ObjectNumbers, rows: Sequence[Row], known: Mapping[str, Specimen]) -> Specimen:
    if problems := list(given.problems()):
        raise AdviceError(problems)
    notes = []
    spread = given.spread
    if spread is None:
        ratio = geometric_mean([row.error / row.number("phase_range") for row in rows if row.method == UNIFORM])
        spread = min(LARGEST_SPREAD, ratio * given.phase_range)
        notes.append(f"the phase's spread is unknown: {spread:.2g} rad, {ratio:.2f} of its range, as in the atlas")
    bandwidth, sparsity = given.bandwidth, given.gradient_sparsity
    if bandwidth is None:
        bandwidth = geometric_mean([one.bandwidth for one in known.values()])
        notes.append(f"the bandwidth is unknown: {bandwidth:.2g} cycles/px, the middle of the atlas, was taken")
    if sparsity is None:
        sparsity = float(np.mean([one.gradient_sparsity for one in known.values()]))
        notes.append(f"the gradient's sparsity is unknown: {sparsity:.2f}, the middle of the atlas, was taken")
    return Specimen(f"of a phase range of {given.phase_range:g} rad", spread, bandwidth, sparsity, tuple(notes))


def _compared(made: Specimen, known: Mapping[str, Specimen]) -> Specimen:
    """The same with a sentence for each number that lies outside of the atlas's."""
    outside = []
    for field, words, unit in (
        ("spread", "spread of the phase", " rad"),
        ("bandwidth", "bandwidth", " cycles/px"),
        ("gradient_sparsity", "sparsity of the gradient", ""),
    ):
        value, others = getattr(made, field), [getattr(one, field) for one in known.values()]
        if not min(others) / TOLERANCE <= value <= max(others) * TOLERANCE:
            outside.append(
                f"the object's {words} is {value:.2g}{unit}; those of the atlas are {min(others):.2g} to "
                f"{max(others):.2g}{unit}"
            )
    return Specimen(made.name, made.spread, made.bandwidth, made.gradient_sparsity, made.notes, tuple(outside))


def probe_spots(probe: NDArray[np.complexfloating]) -> float:
    """Diameter of a probe (N, N) times that of its diffraction cone over N, both of the discs with half of the energy.

    Examples
    --------
    A Gaussian has the smallest product that a smooth probe can have, 2 ln 2 / pi:

    >>> radius = np.hypot(*np.meshgrid(np.arange(-64, 64), np.arange(-64, 64)))
    >>> round(probe_spots(np.exp(-(radius**2) / (4 * 8.0**2)).astype(complex)), 2)
    0.44
    """
    far = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(probe.astype(np.complex128))))
    return probe_diameter_px(probe) * probe_diameter_px(far) / len(probe)


def illumination_of(
    what: str | NDArray[np.complexfloating], rows: Sequence[Row], diameter_px: float | None, name: str = ""
) -> Illumination:
    """A probe: a kind by name, as wide as those of the atlas or ``diameter_px``, or an array (N, N) complex.

    Raises :class:`AdviceError` for an unknown kind, :class:`~fly64_assets.errors.ProbeError` for an array whose
    diameter cannot be measured.
    """
    widths = [row.number("probe_diameter_px") for row in rows]
    if isinstance(what, str):
        if what not in PROBE_KINDS:
            raise AdviceError([f"probe = {what!r}: is no kind ({', '.join(PROBE_KINDS)})"])
        spots, name = _spots_of_kind(what), f"`{what}`"
        diameter = geometric_mean(widths) if diameter_px is None else diameter_px
    else:
        probe = np.asarray(what)
        if probe.ndim != 2 or probe.shape[0] != probe.shape[1] or probe.dtype.kind not in "fc":
            raise AdviceError([f"the probe is {probe.dtype} of shape {probe.shape}: expected complex (N, N)"])
        if diameter_px is not None:
            raise AdviceError(["a probe's diameter is measured on the given array: expected none beside it"])
        spots, diameter, name = probe_spots(probe), probe_diameter_px(probe), name or "as given"
    known = {kind: _spots_of_kind(kind) for kind in sorted({row.probe for row in rows}) if kind in PROBE_KINDS}
    outside = []
    if not min(widths) / TOLERANCE <= diameter <= max(widths) * TOLERANCE:
        outside.append(
            f"the probe is {diameter:.1f} px wide (half of its energy); those of the atlas are {min(widths):.1f} px"
            + (f" to {max(widths):.1f} px" if max(widths) > min(widths) * 1.01 else "")
        )
    if not min(known.values()) / TOLERANCE <= spots <= max(known.values()) * TOLERANCE:
        side = "less" if spots < min(known.values()) else "more"
        closest = min(known, key=known.__getitem__) if side == "less" else max(known, key=known.__getitem__)
        outside.append(
            f"the probe is {side} structured than those of the atlas ({spots:.1f} of the smallest possible spots side "
            f"by side; theirs {min(known.values()):.1f} to {max(known.values()):.1f}): it is taken for `{closest}`"
        )
    return Illumination(name, diameter, spots, _shares(spots, known), tuple(outside))


def _spots_of_kind(kind: str) -> float:
    """Spots of a generated probe of the first seed, with the radius and edge of a campaign."""
    return probe_spots(make_probe(kind, GENERATED_N, GeneratedBase.probe_radius, GeneratedBase.probe_edge, seed=1))


def _shares(spots: float, known: Mapping[str, float]) -> dict[str, float]:
    """Shares of the two kinds between which a number of spots lies, by their logarithms; the nearest one outside."""
    names = sorted(known, key=known.__getitem__)
    place = np.interp(np.log(spots), np.log([known[name] for name in names]), np.arange(len(names)))
    return {name: max(0.0, 1 - abs(float(place) - index)) for index, name in enumerate(names)}
