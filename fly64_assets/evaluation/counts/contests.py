"""Which object is better by one kind of counts: differences of the likelihood over frames, and sentences on pairs.

Does not belong here: the test itself (``paired``), and which counts there are (``likelihood``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.evaluation.counts.paired import FrameTest, SharedLight, holm
from fly64_assets.evaluation.scores.verdicts import ALPHA, EQUAL, Difference, difference

LABELS: Final = {"complement": "complement", "left_out": "left-out frames"}
"""Kinds of counts in sentences."""


@dataclass(frozen=True)
class FrameJudge:
    """Negative log-likelihoods [nats] of the same counts by name of the object, (n,) each; smaller is better.

    ``score`` names them in rows and documents; ``reference`` and ``uniform`` are the objects with values 0 and 1 of the
    relative score.
    """

    score: str
    values: Mapping[str, NDArray[np.float64]]
    light: SharedLight
    reference: str
    uniform: str

    def mean(self, name: str, other: str) -> float:
        """Mean over frames of how much worse one object is than another."""
        return math.fsum((self.values[name] - self.values[other]).tolist()) / len(self.values[name])

    def against(self, name: str, other: str) -> FrameTest:
        """The same with its test."""
        return self.light.test(self.values[name] - self.values[other])

    def relative(self, name: str) -> float | str:
        """Where an object lies between the reference (0) and the uniform object (1), or why nowhere."""
        whole = self.mean(self.uniform, self.reference)
        if not whole > 0:
            return "the uniform object predicts these counts as well as the reference"
        return self.mean(name, self.reference) / whole

    def contests(self, methods: Sequence[str]) -> tuple[Mapping[str, Any], ...]:
        """A document with a sentence on every pair of methods that have values.

        Two are different where the probability, which Holm's procedure adjusts for the number of pairs, is below 0.05.
        ``percent`` is the difference in hundredths of that between the uniform object and the reference, None if that
        has the wrong sign.
        """
        pairs = list(combinations([name for name in methods if name in self.values], 2))
        tests = [self.against(*pair) for pair in pairs]
        adjusted = adjusted_probabilities(tests)
        return tuple(self._contest(*entry) for entry in zip(pairs, tests, adjusted, strict=True))

    def _contest(self, pair: tuple[str, str], test: FrameTest, p: float | None) -> dict[str, Any]:
        winner, loser = pair if test.mean < 0 else pair[::-1]
        whole = self.mean(self.uniform, self.reference)
        nats, error = abs(test.mean), "" if test.error is None else f" ± {test.error:.2g}"
        chance = str(test.reason) if p is None else f"p = {p:.2g} over {test.frames} frames"
        numbers = f"({LABELS[self.score]}, {nats:.3g}{error} nats per frame; {chance})"
        document: dict[str, Any] = {"score": self.score, "winner": None, "loser": None}
        document |= {"percent": 100 * nats / whole if whole > 0 else None, "nats": nats, "error": test.error, "p": p}
        document |= {"frames": test.frames, "independent_frames": test.independent}
        if p is None or p >= ALPHA:
            return document | {"sentence": f"{winner} and {loser} are not distinguishable {numbers}"}
        return document | {"winner": winner, "loser": loser, "sentence": f"{winner} beats {loser} {numbers}"}

    def verdicts(self, methods: Sequence[str]) -> dict[str, tuple[str, dict[str, Any]]]:
        """Every method against the uniform object: its verdict (a key of ``verdicts.VERDICT_TEXTS``) and the test.

        Adjusted for the number of methods as in :meth:`contests`.
        """
        tests = [self.against(name, self.uniform) for name in methods]
        whole = abs(self.mean(self.uniform, self.reference))
        found = {}
        for name, test, p in zip(methods, tests, adjusted_probabilities(tests), strict=True):
            if abs(test.mean) <= EQUAL * whole:
                verdict = "level with flat"
            elif p is None or p >= ALPHA:
                verdict = "unclear from flat"
            else:
                verdict = "better than flat" if test.mean < 0 else "worse than flat"
            found[name] = verdict, asdict(test) | {"p": p}
        return found


def repeated_tests(samples: Mapping[str, Mapping[int, float]], shared: float) -> dict[frozenset[str], Difference]:
    """Paired tests over repeats of every pair of methods that has one, with Holm's probabilities.

    ``samples`` holds a score by method and repeat, ``shared`` is the share of the measured photons that the methods
    had, and so that of its photons that a repeat has in common with another one.
    """
    pairs = {pair: difference(samples[pair[0]], samples[pair[1]], shared=shared) for pair in combinations(samples, 2)}
    found = {frozenset(pair): test for pair, test in pairs.items() if test.p is not None}
    adjusted = holm([test.p for test in found.values() if test.p is not None])
    return {pair: Difference(test.repeats, p) for (pair, test), p in zip(found.items(), adjusted, strict=True)}


def adjusted_probabilities(tests: Sequence[FrameTest]) -> list[float | None]:
    """Probabilities of several tests after Holm; None where a test has none."""
    known = [test.p for test in tests if test.p is not None]
    adjusted = iter(holm(known))
    return [None if test.p is None else next(adjusted) for test in tests]
