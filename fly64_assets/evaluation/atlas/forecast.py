"""What a method is expected to reach on an object of a kind that the atlas does not hold, with an interval.

The interval is made with kinds of objects as the unit. Each kind is left out in turn, and predicted by the law of the
others. 80 % of the deviations that are found so, where every kind counts the same, lie within the half width. (The 10 %
and 90 % quantiles of deviations from laws that know the kind in question cover too little, Student's t for the mean
deviation of a kind covers too much, and a conformal interval of 80 % with kinds as the unit is infinite for fewer than
four of them.)

Deviations are measured in units that shrink where the law is close to saturation, since no kind can deviate there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.evaluation.atlas.cells import Row
from fly64_assets.evaluation.atlas.law import (
    NYQUIST_PX,
    Conditions,
    Law,
    Quantity,
    Real,
    conditions_of,
    fit_law,
    found_values,
)

LEVEL: Final = 0.8
"""Part of the values that an interval should hold."""
LEAST_KINDS: Final = 2
"""Fewest kinds of objects from which an interval is made."""
SATURATED: Final = 0.2
"""Width of the interval at saturation, as a part of that far below it."""
AT_CEILING: Final = 0.9
"""Part of the coarsest resolution from which on nothing is said to be resolved."""


@dataclass(frozen=True)
class Forecast:
    """The law of a method with the half width of its 80 % interval in the logarithm, far below saturation."""

    law: Law
    half_width: float
    kinds: tuple[str, ...]

    def expect(self, at: Conditions) -> tuple[Real, Real, Real]:
        """Expected values and the ends of their interval, each (n,): errors [rad] or resolutions [px].

        More photons never raise any of the three. A resolution is never finer than the Nyquist period, and no end lies
        above the worst that the table has of objects with such a spread.
        """
        value, free = self.law.log_value(at)
        half = self.half_width * _scale(free, self.half_width)
        least = math.log(NYQUIST_PX) if self.law.quantity == "resolution" else -math.inf
        highest = np.minimum(value + half, self.law.log_most(at))
        middle, low, high = (np.exp(np.maximum(found, least)) for found in (value, value - half, highest))
        return middle, low, high


def _scale(free: Real, half_width: float) -> Real:
    """Width of an interval where the law is ``free`` of saturation, as a part of that far below it.

    It grows with the photons more slowly than the expected value falls, so that the upper end falls too.
    """
    least = max(SATURATED, 1 - 1 / half_width) if half_width > 0 else SATURATED
    return least + (1 - least) * free**2


def forecast(rows: Sequence[Row], method: str, quantity: Quantity = "error") -> Forecast:
    """The law of a method, and an interval from kinds that are left out in turn.

    Raises ``ValueError`` for fewer than two kinds of objects, or too few rows.
    """
    own = [row for row in rows if row.method == method]
    kinds = sorted({row.kind for row in own})
    if len(kinds) < LEAST_KINDS:
        raise ValueError(f"{method}: {len(kinds)} kind(s) of objects; an interval needs at least {LEAST_KINDS}")
    deviations, weights = [], []
    for kind in kinds:
        left = [row for row in own if row.kind == kind]
        law = fit_law([row for row in own if row.kind != kind], method, quantity)
        deviations.append(np.abs(_deviations(law, left)))
        weights.append(np.full(len(left), 1 / len(left)))
    half_width = _weighted_quantile(np.concatenate(deviations), np.concatenate(weights), LEVEL)
    return Forecast(fit_law(own, method, quantity), half_width, tuple(kinds))


def _weighted_quantile(values: Real, weights: Real, level: float) -> float:
    """The smallest value with at least a part ``level`` of the weights at or below it."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, level * total[-1] * (1 - 1e-12))])


def _deviations(law: Law, rows: Sequence[Row]) -> Real:
    """Deviations of rows from a law in the logarithm, in units of :func:`_scale`; 0 where a censored row agrees."""
    value, free = law.log_value(conditions_of(rows))
    found = found_values(rows, law.quantity)
    if law.quantity == "resolution":
        coarsest = math.exp(law.ceiling)
        value = np.clip(value, math.log(NYQUIST_PX), math.log(AT_CEILING * coarsest))
        found = np.clip(found, NYQUIST_PX, AT_CEILING * coarsest)
    away: Real = (np.log(found) - value) / _scale(free, 1.0)
    return away


@dataclass(frozen=True)
class Judgement:
    """How well a method's forecast is for kinds of objects that it was not made from.

    ``kinds`` has for every kind the root mean square of log(expected / found); ``error`` is that over all rows, as a
    factor minus one (0.2 is 20 per cent); ``coverage`` is the part of the rows inside the 80 % interval, by kind in
    ``covered``; ``quantiles`` is the coverage that the 10 % and 90 % quantiles of the other kinds' deviations have.
    """

    method: str
    rows: int
    kinds: dict[str, float]
    error: float
    coverage: float
    covered: dict[str, float]
    quantiles: float


def judge(rows: Sequence[Row], method: str, quantity: Quantity = "error") -> Judgement:
    """Leave out one kind of object after the other, and forecast it from the rest, law and interval.

    Raises ``ValueError`` for fewer than three kinds, or too few rows.
    """
    own = [row for row in rows if row.method == method]
    kinds = sorted({row.kind for row in own})
    if len(kinds) <= LEAST_KINDS:
        raise ValueError(f"{method}: {len(kinds)} kind(s) of objects; leaving one out needs at least {LEAST_KINDS + 1}")
    away: dict[str, Real] = {}
    inside: dict[str, NDArray[np.bool_]] = {}
    for kind in kinds:
        left = [row for row in own if row.kind == kind]
        made = forecast([row for row in own if row.kind != kind], method, quantity)
        middle, low, high = made.expect(conditions_of(left))
        found = found_values(left, quantity)
        if quantity == "resolution":
            coarsest = AT_CEILING * math.exp(made.law.ceiling)
            found, middle, high = (np.minimum(values, coarsest) for values in (found, middle, high))
        away[kind] = np.log(middle / found)
        inside[kind] = (found >= low * (1 - 1e-9)) & (found <= high * (1 + 1e-9))
    within = 0
    for kind in kinds:
        others = np.concatenate([away[other] for other in kinds if other != kind])
        low, high = np.quantile(others, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
        within += int(((away[kind] >= low) & (away[kind] <= high)).sum())
    everything = np.concatenate(list(away.values()))
    return Judgement(
        method=method,
        rows=len(own),
        kinds={kind: float(np.sqrt((values**2).mean())) for kind, values in away.items()},
        error=math.expm1(float(np.sqrt((everything**2).mean()))),
        coverage=float(np.concatenate(list(inside.values())).mean()),
        covered={kind: float(values.mean()) for kind, values in inside.items()},
        quantiles=within / len(own),
    )
