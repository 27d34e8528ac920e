"""Whether a method is better than a uniform object, and whether two methods are distinguishable.

Belongs here: verdicts on one run and statistics over repeats. Does not belong here: scores (``metrics``) and sentences
about a whole study (``report.summary``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import scipy

LEAST_DIFFERENCE: Final = 0.05
"""Relative difference of the primary score below which two methods of a single run are not distinguishable.

Larger than what seeds or another processor change in most cells: ``comparison.md`` of the documentation has what was
measured.
"""

EQUAL: Final = 1e-6
"""Relative difference below which a reconstruction *is* the uniform object."""

ALPHA: Final = 0.05
"""Probability that two equal methods are called different."""

VERDICT_TEXTS: Final = {
    "better than flat": "better than the uniform object",
    "worse than flat": "worse than the uniform object",
    "level with flat": "equal to the uniform object",
    "unclear from flat": "not distinguishable from the uniform object",
}
"""What readers see for the verdicts in files."""


def uniform_verdict(error: float | None, uniform: float | None) -> str | None:
    """Verdict on an error, as in files (a key of :data:`VERDICT_TEXTS`); None where an error is missing."""
    if error is None or uniform is None:
        return None
    if abs(error - uniform) <= EQUAL * uniform:
        return "level with flat"
    return "better than flat" if error < uniform else "worse than flat"


def contests(errors: Mapping[str, float | None], primary: str) -> tuple[Mapping[str, Any], ...]:
    """A sentence on every pair of scored methods, by the RMSE of the primary part."""
    unit = " rad" if primary == "phase" else ""
    documents: list[dict[str, Any]] = []
    scored = [(method, error) for method, error in errors.items() if error is not None]
    for pair in combinations(scored, 2):
        (winner, low), (loser, high) = sorted(pair, key=lambda entry: entry[1])
        percent = 100 * (1 - low / high) if high > 0 else 0.0
        numbers = f"({primary} RMSE {low:.3g} against {high:.3g}{unit})"
        document = {"winner": winner, "loser": loser, "percent": percent}
        document["sentence"] = f"{winner} beats {loser} by {percent:.0f} % {numbers}"
        if percent < 100 * LEAST_DIFFERENCE:
            sentence = f"{winner} and {loser} are not distinguishable {numbers}"
            document |= {"winner": None, "loser": None, "sentence": sentence}
        documents.append(document)
    return tuple(documents)


def repeated_contests(samples: Mapping[str, Mapping[int, float]], primary: str) -> tuple[str, ...]:
    """A sentence on every pair of methods over the repeats, by the RMSE (repeat -> value) of the primary part.

    Examples
    --------
    >>> repeated_contests({"pinn": {1: 0.1, 2: 0.12, 3: 0.11}, "lsqml": {1: 0.2, 2: 0.22, 3: 0.21}}, "phase")
    ('pinn beats lsqml by 48 % (phase RMSE 0.11 against 0.21 rad; p = 0 over 3 repeats)',)
    """
    unit = " rad" if primary == "phase" else ""
    sentences = []
    for names in combinations((method for method, values in samples.items() if values), 2):
        averages = {name: float(np.mean(list(samples[name].values()))) for name in names}
        winner, loser = sorted(names, key=averages.__getitem__)
        low, high = averages[winner], averages[loser]
        found = difference(samples[winner], samples[loser])
        chance = "too few repeats in common" if found.p is None else f"p = {found.p:.2g} over {found.repeats} repeats"
        numbers = f"({primary} RMSE {low:.3g} against {high:.3g}{unit}; {chance})"
        if found.significant:
            sentences.append(f"{winner} beats {loser} by {100 * (1 - low / high):.0f} % {numbers}")
        else:
            sentences.append(f"{winner} and {loser} are not distinguishable {numbers}")
    return tuple(sentences)


def mean(samples: Mapping[int, float]) -> tuple[float | None, float | None]:
    """Mean of a score over repeats, None where there is no value, and its standard error, None for a single one.

    Examples
    --------
    >>> mean({1: 0.25, 2: 0.75})
    (0.5, 0.25)
    """
    values = np.array(list(samples.values()))
    if not len(values):
        return None, None
    error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return float(values.mean()), error


@dataclass(frozen=True)
class Difference:
    """Paired comparison of two methods over the repeats in which both have a value.

    ``p`` is the probability of so large a mean difference between equal methods (paired t-test, two-sided); None with
    fewer than two repeats.
    """

    repeats: int
    p: float | None

    @property
    def significant(self) -> bool | None:
        """Whether p is below :data:`ALPHA`; None where there is no p."""
        return None if self.p is None else self.p < ALPHA


def difference(first: Mapping[int, float], second: Mapping[int, float], *, shared: float = 0.0) -> Difference:
    """Compare two methods repeat by repeat: both had the same noise, so that their differences are what counts.

    ``shared`` is the share of their photons that two repeats have in common on average, where they draw them from one
    measurement. Their scatter s then lacks what is common: of the variance v of independent repeats it has (1 - shared)
    v, and the mean over R repeats has s^2 / R + s^2 shared / (1 - shared), to first order in the counts.

    Examples
    --------
    >>> first, second = {1: 1.0, 2: 1.2, 3: 1.1}, {1: 0.7, 2: 1.0, 3: 0.8}
    >>> [round(float(difference(first, second, shared=shared).p), 3) for shared in (0.0, 0.01, 0.5)]
    [0.015, 0.016, 0.057]
    """
    common = sorted(set(first) & set(second))
    if len(common) < 2:
        return Difference(len(common), None)
    differences = np.array([first[repeat] - second[repeat] for repeat in common])
    spread = float(differences.std(ddof=1))
    if spread <= 1e-12 * float(np.abs(differences).max(initial=0.0)):
        # Every repeat gives the same difference: certain if there is one at all.
        return Difference(len(common), 0.0 if differences.any() else 1.0)
    if not shared:
        return Difference(len(common), float(scipy.stats.ttest_1samp(differences, 0.0).pvalue))
    error = spread * math.sqrt(1 / len(common) + shared / (1 - shared))
    return Difference(len(common), 2 * float(scipy.stats.t.sf(abs(differences.mean()) / error, len(common) - 1)))


def split_samples(documents: Mapping[int, Mapping[str, Any]], split: str) -> dict[str, dict[str, dict[int, float]]]:
    """Scores of one split by method, ``part metric`` and repeat, from the comparison documents of a cell by repeat."""
    samples: dict[str, dict[str, dict[int, float]]] = {}
    for repeat, document in documents.items():
        rows: Sequence[Mapping[str, Any]] = document["splits"].get(split, {}).get("rows", [])
        for row in rows:
            by_repeat = samples.setdefault(row["arm"], {}).setdefault(f"{row['part']} {row['metric']}", {})
            if row["value"] is not None:
                by_repeat[repeat] = float(row["value"])
    return samples
