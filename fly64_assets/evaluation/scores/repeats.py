"""Repeats of a study: means, standard errors, and whether a difference between two arms is more than chance.

Belongs here: statistics over repeats. Does not belong here: scores of one repeat (``compare``) and words about who wins
(``summary``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.stats

ALPHA: Final = 0.05
"""Chance that two equal arms are called different."""

Samples = Mapping[int, float]
"""Values of one score by repeat."""


@dataclass(frozen=True)
class Mean:
    """Mean over repeats; ``standard_error`` is None for a single one."""

    value: float
    standard_error: float | None
    repeats: int


def mean(samples: Samples) -> Mean | None:
    """Mean and standard error of the mean; None where there is no value."""
    values = np.array(list(samples.values()))
    if not len(values):
        return None
    error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return Mean(float(values.mean()), error, len(values))


@dataclass(frozen=True)
class Difference:
    """Paired comparison of two arms.

    Attributes
    ----------
    repeats : int
        Repeats in which both have a value.
    p : float or None
        Chance of so large a mean difference between equal arms (paired t-test, two-sided); None with fewer than two.
    """

    repeats: int
    p: float | None

    @property
    def significant(self) -> bool | None:
        """Whether it is more than chance at the level :data:`ALPHA`; None where a single run cannot tell."""
        return None if self.p is None else self.p < ALPHA


def difference(first: Samples, second: Samples) -> Difference:
    """Compare two arms repeat by repeat: both saw the same noise, so that their differences are what counts."""
    common = sorted(set(first) & set(second))
    if len(common) < 2:
        return Difference(len(common), None)
    steps = np.array([first[repeat] - second[repeat] for repeat in common])
    spread = float(steps.std(ddof=1))
    if spread <= 1e-12 * float(np.abs(steps).max(initial=0.0)):
        # Every repeat gives the same difference: certain if there is one at all.
        return Difference(len(common), 0.0 if steps.any() else 1.0)
    return Difference(len(common), float(scipy.stats.ttest_1samp(steps, 0.0).pvalue))


def split_samples(documents: Mapping[int, Mapping[str, Any]], split: str) -> dict[str, dict[str, dict[int, float]]]:
    """Scores of one split by arm, ``part metric`` and repeat, from the comparison documents of a cell by repeat."""
    samples: dict[str, dict[str, dict[int, float]]] = {}
    for repeat, document in documents.items():
        for row in _rows(document, split):
            by_metric = samples.setdefault(row["arm"], {})
            by_repeat = by_metric.setdefault(f"{row['part']} {row['metric']}", {})
            if row["value"] is not None:
                by_repeat[repeat] = float(row["value"])
    return samples


def _rows(document: Mapping[str, Any], split: str) -> Sequence[Mapping[str, Any]]:
    rows: Sequence[Mapping[str, Any]] = document["splits"].get(split, {}).get("rows", [])
    return rows
