"""Lower doses of measured counts: which photons of a measurement belong to a dose, and which are left to judge it.

A Poisson count of which every photon is kept with the probability p is a Poisson count at p times the dose, and what
was taken away is another one, independent of it, at 1 - p times the dose (binomial thinning, Lewis and Shedler, Naval
Research Logistics Quarterly 26, 403, 1979). No object, probe or position is needed. Files are in ``doses``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.metadata import transformation
from fly64_assets.errors import ContractError
from fly64_assets.physics.counts import frame_generator, thin_counts
from fly64_assets.physics.measurement import Measurement

THINNED: Final = "thinned from measured frames"
"""The entry in the history of a data set whose counts are a part of measured ones."""
PHOTONS: Final = 2
"""Stream of a frame's generator that decides which photons belong to a dose."""
NESTED: Final = "nested"


@dataclass(frozen=True)
class Thinning:
    """Which measured photons belong to a dose.

    Attributes
    ----------
    dose : int
        Photons per frame of this dose, averaged over all frames of the scan.
    measured_photons : float
        Measured photons per frame, averaged likewise.
    rule : ``nested`` or ``independent``
        Whether a dose is a part of the next higher one, or no photon belongs to two doses.
    doses : tuple of int
        The doses from which the photons are dealt out, falling; ``dose`` is among them.
    seed, repeat : int
        With the index of a frame in the scan they fix the choice of its photons.

    Examples
    --------
    >>> thinning = Thinning(100, 1000.0, "nested", (1000, 500, 100), seed=42)
    >>> thinning.fraction, list(thinning.steps()), thinning.reason
    (0.1, [(500, 0.5), (100, 0.2)], '')
    >>> Thinning(1000, 1000.0, "nested", (1000,), seed=42).reason
    'the frames hold 1000 photons on average, and thinning can only take some away: a dose of 1000 is skipped'
    """

    dose: int
    measured_photons: float
    rule: str
    doses: tuple[int, ...]
    seed: int
    repeat: int = 1

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Self:
        """The thinning that the ``_metadata`` document of a thinned data set records, or of a view of one.

        Raises :class:`ContractError` where it records none.
        """
        for step in reversed(metadata.get("data_transformations", [])):
            if step.get("operation") == THINNED:
                values = {name: step["parameters"][name] for name in cls.__dataclass_fields__}
                return cls(**values | {"doses": tuple(values["doses"])})
        raise ContractError(f"the data set was not {THINNED}: its _metadata has no such entry in data_transformations")

    @property
    def fraction(self) -> float:
        """Probability p that a measured photon belongs to the dose."""
        return self.dose / self.measured_photons

    @property
    def reason(self) -> str:
        """Why the dose does not exist, with numbers; empty where it does."""
        if self.dose >= self.measured_photons:
            return (
                f"the frames hold {self.measured_photons:.6g} photons on average, and thinning can only take some "
                f"away: a dose of {self.dose} is skipped"
            )
        left = self.measured_photons
        dealt: list[str] = []
        if self.rule != NESTED:
            for dose, part in self.steps():
                if dose != self.dose:
                    left, dealt = left * (1 - part), [*dealt, str(dose)]
        if self.dose > left:
            return (
                f"of {self.measured_photons:.6g} measured photons per frame {left:.6g} are left by the independent "
                f"doses {', '.join(dealt)}: a dose of {self.dose} is skipped"
            )
        return ""

    def steps(self) -> Iterator[tuple[int, float]]:
        """Doses whose photons are drawn one after the other, the last being this one, each with its probability.

        It is the part of the photons that are there then: those of the dose before for ``nested``, those that no dose
        before has taken for ``independent``. Doses for which too few are left are left out.
        """
        left = self.measured_photons
        for dose in self.doses:
            if self.dose <= dose < self.measured_photons and dose <= left:
                yield dose, dose / left
                left = dose if self.rule == NESTED else left - dose

    def step(self) -> dict[str, Any]:
        """The entry in the history of the thinned data set, from which :meth:`of` makes this again."""
        return transformation(THINNED, {**asdict(self), "doses": list(self.doses), "fraction": self.fraction})

    def scale(self, intensity_scale: float) -> float:
        """Intensity scale s of the thinned counts, given that of the measured ones."""
        return intensity_scale * math.sqrt(self.fraction)

    def complement_scale(self, intensity_scale: float) -> float:
        """Intensity scale s of the measured photons that do not belong to the dose, given that of all of them."""
        return intensity_scale * math.sqrt(1 - self.fraction)


def thinned(counts: NDArray[np.floating], frames: NDArray[np.integer], thinning: Thinning) -> NDArray[np.float64]:
    """Counts of a dose, out of measured ones.

    The choice depends on the seed, the repeat, the doses and the index of the frame, and on nothing else: neither
    blocks nor threads nor the order of frames change it.

    Parameters
    ----------
    counts : (b, N, N)
        Measured photons, whole numbers.
    frames : (b,) int
        Index of each frame in the scan (``scan_index``).
    thinning : Thinning

    Returns
    -------
    (b, N, N) float64
        Whole numbers, nowhere more than ``counts``.

    Raises
    ------
    ContractError
        If the dose does not exist (:attr:`Thinning.reason`).
    """
    if thinning.reason:
        raise ContractError(thinning.reason)
    steps = list(thinning.steps())
    result = np.empty(counts.shape, np.float64)
    for row, frame in enumerate(frames):
        available = chosen = np.asarray(counts[row], np.float64)
        for dose, part in steps:
            generator = frame_generator(thinning.seed, dose, int(frame), thinning.repeat, PHOTONS)
            left, chosen = thin_counts(available, part, generator)
            available = chosen if thinning.rule == NESTED else left
        result[row] = chosen
    return result


def complement(measured: Measurement, metadata: Mapping[str, Any], frames: NDArray[np.integer]) -> NDArray[np.float64]:
    """Measured photons that do not belong to a dose: Poisson counts that are independent of the dose's own.

    Their expectation is (1 - p) times that of the measured counts; see :meth:`Thinning.complement_scale`.

    Parameters
    ----------
    measured : Measurement
        All measured frames at full counts.
    metadata : mapping
        The ``_metadata`` document of the thinned data set, or of a view of it.
    frames : (b,) int
        The ``scan_index`` of the frames that are wanted.

    Returns
    -------
    (b, N, N) float64
        Measured minus thinned counts, whole numbers, 0 at bad pixels.

    Raises
    ------
    ContractError
        If the document records no thinning, or a frame is not among the measured ones.
    """
    counts = measured.counts(rows_of(measured, frames))
    rest: NDArray[np.float64] = counts - thinned(counts, frames, Thinning.of(metadata))
    return rest


def rows_of(measured: Measurement, frames: NDArray[np.integer]) -> NDArray[np.int64]:
    """Rows of the measured frames that have the given indices in the scan (``scan_index``), in their order.

    Raises :class:`ContractError` if an index is not there, occurs twice among the measured frames, or is negative.
    """
    own, first, times = np.unique(measured.scan_index, return_index=True, return_counts=True)
    if len(own) and (own[0] < 0 or times.max() > 1):
        index = own[0] if own[0] < 0 else own[np.argmax(times)]
        raise ContractError(
            f"scan_index {index} of the measured frames occurs {times[own == index][0]} time(s); expected every index "
            "once and none below 0, because the photons of a dose are drawn by it"
        )
    place = np.minimum(np.searchsorted(own, frames), max(len(own) - 1, 0))
    found = np.isin(frames, own)
    if not found.all():
        raise ContractError(
            f"{np.count_nonzero(~found)} of {len(frames)} frames are not among the {len(own)} measured ones, the first "
            f"with scan_index {np.asarray(frames)[~found][0]}"
        )
    rows: NDArray[np.int64] = first[place].astype(np.int64)
    return rows
