"""Who wins in each cell of an atlas: geometric means, and paired tests corrected for the number of cells.

Errors of two methods are paired by sample; the test is Student's t on the logarithms of their ratios, and significance
is corrected for all tests of the atlas by Holm's method (Scand. J. Statist. 6, 65, 1979). (A signed-rank test of eight
samples has no p below 0.008: over twenty cells it could never be significant.)

Seeds of one kind of object and one probe are repeats, and no further kinds: their ratios are averaged before the test,
where enough kinds and probes are left (:func:`independent`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import t as student

from fly64_assets.evaluation.atlas.cells import UNIFORM, Row, by_sample, geometric_mean, methods_of

LEVEL: Final = 0.05
"""Chance of at least one false winner in the whole atlas."""
LEAST_PAIRS: Final = 4
"""Fewest pairs of a test; with fewer, their spread says too little."""


@dataclass(frozen=True)
class Contest:
    """The best method of a cell beside the second best.

    Attributes
    ----------
    dose, view : int, str
        The cell.
    errors : dict
        Geometric mean of the phase error of every method over the samples that all of them have [rad].
    uniform : float
        The same for the uniform object [rad].
    best, second : str
        Methods with the smallest means.
    ratio, low, high : float
        Error of the best over that of the second, geometric mean, and its 95 % confidence interval over samples.
    samples : int
        Independent samples that all methods have, as :func:`independent` counts them.
    p : float
        Two-sided p of the paired test; 1 where there are too few samples.
    p_holm : float
        The same, corrected for the number of cells.
    """

    dose: int
    view: str
    errors: dict[str, float]
    uniform: float
    best: str
    second: str
    ratio: float
    low: float
    high: float
    samples: int
    p: float
    p_holm: float

    @property
    def winner(self) -> str:
        """The best method where its lead is significant; empty where it is not."""
        return self.best if self.p_holm < LEVEL else ""


def contests(rows: Sequence[Row]) -> list[Contest]:
    """One contest for each cell in which at least two methods share a sample, in the order of dose and table.

    The best and the second best are chosen by looking at the cell, which favours the best a little where several are
    close; a method that was named before is compared with :func:`paired`.
    """
    methods = methods_of(rows)
    cells: dict[tuple[int, str], list[dict[str, Row]]] = {}
    for found in by_sample(rows).values():
        if all(method in found for method in methods):
            one = found[methods[0]]
            cells.setdefault((one.dose, one.view), []).append(found)
    views = list(dict.fromkeys(row.view for row in rows))
    made = [
        _contest(dose, view, methods, samples)
        for (dose, view), samples in sorted(cells.items(), key=lambda cell: (cell[0][0], views.index(cell[0][1])))
        if len(methods) > 1
    ]
    corrected = holm([contest.p for contest in made])
    return [Contest(**{**vars(contest), "p_holm": p_holm}) for contest, p_holm in zip(made, corrected, strict=True)]


def _contest(dose: int, view: str, methods: Sequence[str], samples: Sequence[dict[str, Row]]) -> Contest:
    errors = {method: geometric_mean([found[method].error for found in samples]) for method in methods}
    best, second = sorted(methods, key=errors.__getitem__)[:2]
    pairs = independent([(found[best], found[second]) for found in samples])
    ratio, low, high, p = paired(pairs)
    uniform = [found[UNIFORM].error for found in samples if UNIFORM in found]
    return Contest(
        dose=dose,
        view=view,
        errors=errors,
        uniform=geometric_mean(uniform) if uniform else math.nan,
        best=best,
        second=second,
        ratio=ratio,
        low=low,
        high=high,
        samples=len(pairs),
        p=p,
        p_holm=p,
    )


def independent(pairs: Sequence[tuple[Row, Row]]) -> list[tuple[float, float]]:
    """Pairs of errors of which each says something of its own: geometric means, for each kind and probe.

    With fewer than four kinds and probes there is a pair for every base, so for every seed; a test then speaks of these
    kinds alone.
    """
    means = _means(pairs, lambda row: (row.kind, row.probe))
    return means if len(means) >= LEAST_PAIRS else _means(pairs, lambda row: row.sample[:1])


def _means(pairs: Sequence[tuple[Row, Row]], group_of: Callable[[Row], tuple[str, ...]]) -> list[tuple[float, float]]:
    groups: dict[tuple[str, ...], list[tuple[float, float]]] = {}
    for one, other in pairs:
        groups.setdefault(group_of(one), []).append((one.error, other.error))
    both = ([geometric_mean(errors) for errors in zip(*group, strict=True)] for group in groups.values())
    return [(one, other) for one, other in both]


def paired(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    """Ratio of paired errors: geometric mean, its 95 % interval, and the two-sided p, by Student's t on logarithms.

    Where there are fewer than four pairs, p is 1; with one pair the interval is infinite.

    Examples
    --------
    >>> ratio, low, high, p = paired([(0.5, 1.0), (0.25, 0.51), (0.6, 1.2), (0.1, 0.2), (0.3, 0.6), (0.4, 0.79)])
    >>> round(ratio, 2), p < 1e-6
    (0.5, True)
    """
    logs = np.array([math.log(one / other) for one, other in pairs])
    mean, count = float(logs.mean()), len(logs)
    if count < 2:
        return math.exp(mean), 0.0, math.inf, 1.0
    error = float(logs.std(ddof=1)) / math.sqrt(count)
    half = float(student.ppf(0.975, count - 1)) * error
    p = 1.0
    if count >= LEAST_PAIRS and mean != 0:
        p = float(2 * student.sf(abs(mean) / error, count - 1)) if error > 0 else 0.0
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half), p


def holm(p: Sequence[float]) -> list[float]:
    """Values of p corrected for their number, in the same order (Holm's step-down method).

    Examples
    --------
    >>> [round(value, 3) for value in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(np.asarray(p), kind="stable")
    corrected, highest = [0.0] * len(p), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = highest
    return corrected
