"""A short law of the error of a method, fitted to the table of a campaign and judged on kinds that it has not seen.

    log error = a + b log n + c overlap + d log n * overlap + e . (what is known of the object) + f . (the probe)

n is photons per object pixel and overlap the linear overlap of nearest probes. Many photons do not help where the
geometry is what limits: the error no longer falls. The law therefore has two regimes in the logarithm,
max(photon-limited, geometry-limited), of which the first has b and the second has b = 0; which of the two a row is in
is found by fitting both in turn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.evaluation.atlas.cells import Row

TURNS: Final = 60
"""Most turns in which rows are given to regimes."""
LEAST_ROWS: Final = 12
"""Fewest rows of a regime; with fewer, all are photon-limited."""
RIDGE: Final = 1e-3
"""Penalty on standardised coefficients, so that terms that do not vary in the table get none."""


@dataclass(frozen=True)
class Law:
    """The fitted law of one method.

    ``photon`` and ``geometry`` are the coefficients of the two regimes, by name of the term; ``probes`` are the kinds
    of probes that were seen, of which the first is the reference; ``geometry`` is empty where no row was in that
    regime; ``spread`` is the standard deviation of the log error about the law on the rows that it was fitted to.
    """

    method: str
    photon: dict[str, float]
    geometry: dict[str, float]
    probes: tuple[str, ...]
    spread: float

    def log_error(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Logarithm of the predicted phase error of rows [log rad]."""
        names, terms = _terms(rows, self.probes)
        photon: NDArray[np.float64] = terms @ np.array([self.photon[name] for name in names])
        if not self.geometry:
            return photon
        columns = [index for index, name in enumerate(names) if name in self.geometry]
        limited = terms[:, columns] @ np.array([self.geometry[names[index]] for index in columns])
        found: NDArray[np.float64] = np.maximum(photon, limited)
        return found


@dataclass(frozen=True)
class Judgement:
    """How well a law predicts kinds of objects that it was not fitted to.

    ``kinds`` has for every kind the root mean square of log(predicted / found); ``error`` is that over all rows, as a
    factor minus one (0.2 is 20 per cent); ``coverage`` is the part of the rows inside the interval that holds 80 % of
    the other kinds' deviations.
    """

    method: str
    rows: int
    kinds: dict[str, float]
    error: float
    coverage: float


def fit_law(rows: Sequence[Row], method: str) -> Law:
    """Fit the law to the rows of a method.

    Raises ``ValueError`` for fewer than 12 rows.
    """
    own = [row for row in rows if row.method == method]
    if len(own) < LEAST_ROWS:
        raise ValueError(f"{method}: {len(own)} rows; a law needs at least {LEAST_ROWS}")
    probes = tuple(sorted({row.probe for row in own}))
    names, terms = _terms(own, probes)
    log_error = np.log([row.error for row in own])
    still = [index for index, name in enumerate(names) if not name.startswith("log_photons")]
    # At first the rows with the most photons of each view are limited by geometry.
    log_n = terms[:, names.index("log_photons")]
    limited = log_n > np.median(log_n)
    photon, geometry = _solve(terms, log_error), None
    for _ in range(TURNS):
        if min(limited.sum(), (~limited).sum()) < LEAST_ROWS:
            return _law(own, method, names, _solve(terms, log_error), None, still, probes)
        photon = _solve(terms[~limited], log_error[~limited])
        geometry = _solve(terms[limited][:, still], log_error[limited])
        found = terms[:, still] @ geometry > terms @ photon
        if (found == limited).all():
            break
        limited = found
    both = _law(own, method, names, photon, geometry, still, probes)
    one = _law(own, method, names, _solve(terms, log_error), None, still, probes)
    return both if both.spread < one.spread else one


def _law(
    own: Sequence[Row],
    method: str,
    names: Sequence[str],
    photon: NDArray[np.float64],
    geometry: NDArray[np.float64] | None,
    still: Sequence[int],
    probes: tuple[str, ...],
) -> Law:
    limits = {} if geometry is None else {names[index]: float(g) for index, g in zip(still, geometry, strict=True)}
    law = Law(method, dict(zip(names, map(float, photon), strict=True)), limits, probes, math.nan)
    deviation = np.log([row.error for row in own]) - law.log_error(own)
    return Law(method, law.photon, law.geometry, probes, float(np.sqrt((deviation**2).mean())))


def judge_law(rows: Sequence[Row], method: str) -> Judgement:
    """Leave out one kind of object after the other, and predict it from the rest.

    The interval of a left-out kind is the 10 % and 90 % quantile of the deviations of the kinds that are left, each
    predicted without itself, as a user's interval would be made.

    Raises ``ValueError`` for fewer than four kinds, or too few rows.
    """
    own = [row for row in rows if row.method == method]
    kinds = sorted({row.kind for row in own})
    if len(kinds) < 4:
        raise ValueError(f"{method}: {len(kinds)} kinds of objects; leaving one out needs at least four")
    deviations = {}
    for kind in kinds:
        left = [row for row in own if row.kind == kind]
        law = fit_law([row for row in own if row.kind != kind], method)
        deviations[kind] = np.log([row.error for row in left]) - law.log_error(left)
    inside = 0
    for kind in kinds:
        others = np.concatenate([deviations[other] for other in kinds if other != kind])
        low, high = np.quantile(others, (0.1, 0.9))
        inside += int(((deviations[kind] >= low) & (deviations[kind] <= high)).sum())
    everything = np.concatenate(list(deviations.values()))
    return Judgement(
        method=method,
        rows=len(own),
        kinds={kind: float(np.sqrt((values**2).mean())) for kind, values in deviations.items()},
        error=math.expm1(float(np.sqrt((everything**2).mean()))),
        coverage=inside / len(own),
    )


def _terms(rows: Sequence[Row], probes: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
    """Names of the terms of the law, and their values (rows, terms)."""
    log_n = np.log([row.photons for row in rows])
    overlap = np.array([row.overlap for row in rows])
    columns = {
        "one": np.ones(len(rows)),
        "log_photons": log_n,
        "overlap": overlap,
        "log_photons_overlap": log_n * overlap,
        "log_bandwidth": np.log([max(row.number("bandwidth"), 1e-4) for row in rows]),
        "log_phase_range": np.log([max(row.number("phase_range"), 1e-4) for row in rows]),
        "gradient_sparsity": np.array([row.number("gradient_sparsity") for row in rows]),
    }
    for probe in probes[1:]:
        columns[f"probe_{probe}"] = np.array([float(row.probe == probe) for row in rows])
    return list(columns), np.column_stack(list(columns.values()))


def _solve(terms: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares with a slight penalty on all coefficients but the constant one, in units of their terms' spread."""
    spread = terms.std(axis=0)
    free = np.where(spread > 0, spread, 1.0)
    penalty = np.diag(np.where(spread > 0, math.sqrt(RIDGE * len(values)), math.sqrt(len(values))))
    penalty[0, 0] = 0.0
    stacked = np.vstack([(terms - _middle(terms)) / free, penalty])
    right = np.concatenate([values, np.zeros(len(penalty))])
    scaled = np.linalg.lstsq(stacked, right, rcond=None)[0]
    found: NDArray[np.float64] = scaled / free
    found[0] = scaled[0] - (_middle(terms)[1:] * found[1:]).sum()
    return found


def _middle(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of the terms, 0 for the constant one."""
    middle: NDArray[np.float64] = terms.mean(axis=0)
    middle[0] = 0.0
    return middle
