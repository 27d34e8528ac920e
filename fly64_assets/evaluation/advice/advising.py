"""From what is asked and known to the scan, the dose and the method: by the forecasts of the atlas."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from fly64_assets.errors import AdviceError
from fly64_assets.evaluation.advice.answer import Advice, Expected, Option
from fly64_assets.evaluation.advice.known import TOLERANCE, Illumination, Specimen
from fly64_assets.evaluation.advice.question import Question
from fly64_assets.evaluation.atlas.cells import Row, means_over_seeds, methods_of
from fly64_assets.evaluation.atlas.forecast import Forecast, forecast
from fly64_assets.evaluation.atlas.law import Conditions, Quantity, Real
from fly64_assets.pinn.pretrained.pretrained_spec import Applicability, read_pretrained
from fly64_assets.pinn.pretrained.settings import GENERAL

PRETRAINED: Final = "pretrained"
"""The method whose network says for which scans it was trained."""
FORGIVEN: Final = 1.05
"""Factor of error, or of photons, at which a coarser step is preferred to the best one."""
OVERLAP_STEP: Final = 0.05
"""Distance of the overlaps that are tried."""
MORE_OVERLAP: Final = 0.2
"""Gain in overlap whose effect is told."""
SHOWN_OVERLAPS: Final = 3
"""Other overlaps that are shown beside the recommended one."""
DOSES: Final = 241
"""Doses, evenly in the logarithm, among which that for a goal is sought."""
BEYOND: Final = 10.0
"""Factor by which the dose for a goal may lie beyond those of the atlas."""


@dataclass(frozen=True)
class Atlas:
    """The forecasts of all methods that a table holds enough of, and what the table covers."""

    rows: tuple[Row, ...]
    errors: Mapping[str, Forecast]
    resolutions: Mapping[str, Forecast]

    @property
    def photons(self) -> tuple[float, float]:
        """Fewest and most photons per object pixel."""
        return min(row.photons for row in self.rows), max(row.photons for row in self.rows)

    @property
    def overlaps(self) -> tuple[float, float]:
        """Least and largest linear overlap, means over the bases of a view."""
        means = [
            math.fsum(row.overlap for row in self.rows if row.view == view)
            / sum(1 for row in self.rows if row.view == view)
            for view in {row.view for row in self.rows}
        ]
        return min(means), max(means)


def atlas_of(rows: tuple[Row, ...]) -> Atlas:
    """The forecasts from a table. Raises :class:`AdviceError` where no method has rows of two kinds of objects."""
    errors: dict[str, Forecast] = {}
    resolutions: dict[str, Forecast] = {}
    reasons = []
    for method in methods_of(rows):
        try:
            errors[method] = forecast(rows, method)
        except ValueError as error:
            reasons.append(str(error))
            continue
        resolutions[method] = forecast(rows, method, "resolution")
    if not errors:
        raise AdviceError(["the table is too small for an answer", *reasons])
    return Atlas(rows, errors, resolutions)


def advise(atlas: Atlas, question: Question, specimen: Specimen, illumination: Illumination) -> Advice:
    """Answer a question.

    Raises :class:`AdviceError` for a method that the atlas lacks, a field smaller than the probe, or a goal that no
    dose reaches.
    """
    return _Advisor(atlas, question, specimen, illumination).advice()


class _Advisor:
    def __init__(self, atlas: Atlas, question: Question, specimen: Specimen, illumination: Illumination) -> None:
        self.atlas, self.question, self.specimen, self.probe = atlas, question, specimen, illumination
        unknown = [method for method in question.methods if method not in atlas.errors]
        if unknown:
            raise AdviceError([f"method = {unknown[0]}: is not in the atlas ({', '.join(atlas.errors)})"])
        if min(question.field_px) < illumination.diameter_px:
            raise AdviceError(
                [
                    f"field = {' x '.join(f'{side:g}' for side in question.field_px)} px: is smaller than the probe, "
                    f"which is {illumination.diameter_px:.1f} px wide; nothing is scanned there"
                ]
            )
        if question.ask == "phase_error_rad" and question.value >= specimen.spread:
            without = f"a uniform object has {specimen.spread:.3f} rad without a photon"
            raise AdviceError([f"phase error = {question.value:g} rad: {without}"])
        self.methods = question.methods or tuple(atlas.errors)

    def advice(self) -> Advice:
        question = self.question
        by_overlap = {overlap: self._best_method(overlap) for overlap in self._overlaps()}
        reached = {overlap: option for overlap, option in by_overlap.items() if option is not None}
        if not reached:
            raise AdviceError([self._out_of_reach()])
        least = min(map(self._cost, reached.values()))
        chosen = min(overlap for overlap, option in reached.items() if self._cost(option) <= FORGIVEN * least)
        best = reached[chosen]
        more = min(chosen + MORE_OVERLAP, self.atlas.overlaps[1])
        return Advice(
            question=question,
            specimen=self.specimen,
            illumination=self.probe,
            best=best,
            others=self._others(best, reached),
            twice=self._option(best.overlap, best.method, 2 * best.photons_per_pixel),
            overlapping=self._option(more, best.method, best.photons_per_pixel) if more > chosen + 0.02 else None,
            photons_to_be_sure=self._photons_for(best.overlap, best.method, 2) if question.goal else None,
            most_photons=self.atlas.photons[1] * BEYOND,
            photon_floor_rad=1 / (2 * math.sqrt(best.photons_per_pixel)),
            kinds=self.atlas.errors[best.method].kinds,
            outside=(*self._outside(best), *self.specimen.outside, *self.probe.outside),
            notes=(*self.specimen.notes, *self._measured(best)),
        )

    def _overlaps(self) -> list[float]:
        """Overlaps that come into question: the given one, or those between the atlas's least and largest."""
        if self.question.overlap is not None:
            return [self.question.overlap]
        low, high = self.atlas.overlaps
        first, last = math.ceil(low / OVERLAP_STEP - 0.4), math.floor(high / OVERLAP_STEP + 0.4)
        return [round(OVERLAP_STEP * number, 2) for number in range(first, last + 1)]

    def _cost(self, option: Option) -> float:
        """What is kept small: the photons for a goal, or the phase error at a dose."""
        return option.photons_per_pixel if self.question.goal else option.phase_error_rad.expected

    def _best_method(self, overlap: float) -> Option | None:
        """The best method at an overlap; None where none reaches the goal."""
        options = []
        for method in self.methods:
            photons = self._photons_for(overlap, method, 0) if self.question.goal else self._given(overlap)
            if photons is not None:
                options.append(self._option(overlap, method, photons))
        return min(options, key=self._cost) if options else None

    def _others(self, best: Option, reached: Mapping[float, Option]) -> tuple[Option, ...]:
        """Other methods with the same scan and dose, then the best method of other overlaps."""
        same = [
            self._option(best.overlap, method, best.photons_per_pixel)
            for method in self.methods
            if method != best.method
        ]
        same.sort(key=lambda option: option.phase_error_rad.expected)
        rest = sorted(overlap for overlap in reached if overlap != best.overlap)
        places = np.linspace(0, len(rest) - 1, min(SHOWN_OVERLAPS, len(rest))).round().astype(int)
        return (*same, *(reached[rest[place]] for place in places[::-1]))

    def _given(self, overlap: float) -> float:
        step, rows, columns = self._scan(overlap)
        return self.question.photons_per_pixel(rows * columns, step)

    def _scan(self, overlap: float) -> tuple[float, int, int]:
        """Step [px], and positions along height and width: one for each step, the last one begun."""
        step = (1 - overlap) * self.probe.diameter_px
        rows, columns = (max(1, math.ceil(side / step - 1e-9)) for side in self.question.field_px)
        return step, rows, columns

    def _conditions(self, photons: Real, overlap: float) -> Conditions:
        like = np.ones_like(photons)
        return Conditions(
            photons=photons,
            overlap=overlap * like,
            spread=self.specimen.spread * like,
            bandwidth=self.specimen.bandwidth * like,
            sparsity=self.specimen.gradient_sparsity * like,
            probes={name: share * like for name, share in self.probe.shares.items()},
        )

    def _expected(self, quantity: Quantity, method: str, photons: Real, overlap: float) -> tuple[Real, Real, Real]:
        forecasts = self.atlas.errors if quantity == "error" else self.atlas.resolutions
        return forecasts[method].expect(self._conditions(photons, overlap))

    def _photons_for(self, overlap: float, method: str, end: int) -> float | None:
        """Fewest photons per pixel at which the expected value (0), or the upper end (2), reaches the goal, or None."""
        assert self.question.goal is not None
        low, high = self.atlas.photons
        doses = np.geomspace(low / BEYOND, high * BEYOND, DOSES)
        values = self._expected(self.question.goal, method, doses, overlap)[end]
        enough = np.flatnonzero(values <= self.question.value)
        if not len(enough):
            return None
        first = int(enough[0])
        if first == 0:
            return float(doses[0])
        # Between two doses, in the logarithms.
        a, b = np.log(values[first - 1]), np.log(values[first])
        share = (a - math.log(self.question.value)) / (a - b)
        return float(doses[first - 1] * (doses[first] / doses[first - 1]) ** share)

    def _option(self, overlap: float, method: str, photons: float) -> Option:
        step, rows, columns = self._scan(overlap)
        at = np.array([photons])
        error, resolution = (
            Expected(*(float(part[0]) for part in self._expected(quantity, method, at, overlap)))
            for quantity in ("error", "resolution")
        )
        return Option(overlap, step, rows, columns, photons, photons * step**2, method, error, resolution)

    def _out_of_reach(self) -> str:
        most = np.array([self.atlas.photons[1] * BEYOND])
        goal = self.question.goal
        assert goal is not None
        least, method, overlap = min(
            (float(self._expected(goal, method, most, overlap)[0][0]), method, overlap)
            for method in self.methods
            for overlap in self._overlaps()
        )
        words, unit = ("phase error", "rad") if goal == "error" else ("resolution", "px")
        return (
            f"{words} = {self.question.value:g} {unit}: out of reach; the least expected is {least:.3g} {unit}, of "
            f"{method} at an overlap of {100 * overlap:.0f} % and {most[0]:.2g} photons per pixel, {BEYOND:.0f} times "
            "the atlas's most"
        )

    def _outside(self, best: Option) -> list[str]:
        found = []
        low, high = self.atlas.photons
        if not low / TOLERANCE <= best.photons_per_pixel <= high * TOLERANCE:
            theirs = f"those of the atlas are {low:.2g} to {high:.2g}"
            found.append(f"the dose is {best.photons_per_pixel:.3g} photons per pixel; {theirs}")
        least, most = self.atlas.overlaps
        if not least - OVERLAP_STEP / 2 <= best.overlap <= most + OVERLAP_STEP / 2:
            theirs = f"those of the atlas are {100 * least:.0f} % to {100 * most:.0f} %"
            found.append(f"the overlap is {100 * best.overlap:.0f} %; {theirs}")
        if best.method == PRETRAINED:
            trained = Applicability.of(read_pretrained(GENERAL), GENERAL)
            terms = (
                ("photons per frame", best.photons_per_frame, trained.photons_per_frame),
                ("px^2 per frame", best.step_px**2, trained.area_per_frame),
            )
            found += [
                f"the scan has {value:.2g} {name}; `{GENERAL}` was trained for {least:.2g} to {most:.2g}"
                for name, value, (least, most) in terms
                if not least <= value <= most
            ]
        return found

    def _measured(self, best: Option) -> list[str]:
        """What the atlas has nearest to the recommended scan, for a kind that it holds."""
        kind = max(self.probe.shares, key=self.probe.shares.__getitem__, default="")
        own = means_over_seeds(
            row
            for row in self.atlas.rows
            if f"like `{row.kind}`" == self.specimen.name and row.probe == kind and row.method in self.methods
        )
        same = [row for row in own if row.method == best.method]
        if not same:
            return []

        def distance(row: Row) -> float:
            photons = math.log10(row.photons / best.photons_per_pixel)
            return math.hypot(photons, (row.overlap - best.overlap) / MORE_OVERLAP)

        row = min(same, key=distance)
        least = min((other for other in own if other.dose == row.dose), key=lambda other: other.error)
        found = [
            f"the atlas itself has for `{row.kind}`, probe `{row.probe}` and {row.method} {row.error:.3f} rad at "
            f"{row.photons:.3g} photons per pixel and an overlap of {100 * row.overlap:.0f} %"
        ]
        if row.error > FORGIVEN * least.error:
            found.append(
                f"at this dose its smallest error for this object and probe is {least.error:.3f} rad, of "
                f"{least.method} at an overlap of {100 * least.overlap:.0f} %: the law deviates from it"
            )
        return found
