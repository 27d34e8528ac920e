"""Who beats whom in a cell, in plain words.

Belongs here: verdicts against a flat object and between arms. Does not belong here: scores (``metrics``), verdicts over
repeats (``repeats``).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any, Final

LEVEL: Final = 0.02
"""Relative difference of the primary score below which two arms of a single run are called level."""

SAME: Final = 1e-6
"""Relative difference below which an arm *is* flat."""


def flat_verdict(error: float | None, flat: float | None) -> str | None:
    """``better than flat``, ``worse than flat`` or ``level with flat``; None where there is nothing to judge."""
    if error is None or flat is None:
        return None
    if abs(error - flat) <= SAME * flat:
        return "level with flat"
    return "better than flat" if error < flat else "worse than flat"


def contests(errors: Mapping[str, float | None], primary: str) -> tuple[Mapping[str, Any], ...]:
    """Every pair of scored arms in plain words, by the RMSE of the primary part."""
    unit = " rad" if primary == "phase" else ""
    found: list[dict[str, Any]] = []
    scored = [(arm, error) for arm, error in errors.items() if error is not None]
    for pair in combinations(scored, 2):
        (winner, low), (loser, high) = sorted(pair, key=lambda entry: entry[1])
        percent = 100 * (1 - low / high) if high > 0 else 0.0
        numbers = f"({primary} RMSE {low:.3g} against {high:.3g}{unit})"
        if percent < 100 * LEVEL:
            sentence = f"{winner} and {loser} are level {numbers}"
            found.append({"winner": None, "loser": None, "percent": percent, "sentence": sentence})
        else:
            sentence = f"{winner} beats {loser} by {percent:.0f} % {numbers}"
            found.append({"winner": winner, "loser": loser, "percent": percent, "sentence": sentence})
    return tuple(found)
