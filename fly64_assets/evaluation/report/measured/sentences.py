"""What the report of a measured study says in sentences: who predicts the counts kept aside best, and what that means.

Does not belong here: the numbers that the sentences are about (``summary``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fly64_assets.evaluation.counts.contests import repeated_tests
from fly64_assets.evaluation.counts.judge import PRIMARY
from fly64_assets.evaluation.report.sentences import brief, listed, outside_remark
from fly64_assets.evaluation.scores.compare import REFERENCES, UNIFORM
from fly64_assets.evaluation.scores.verdicts import ALPHA
from fly64_assets.physics.scan import JUDGED_SPLIT

COMPLEMENT: Final = PRIMARY
"""The deciding score: negative log-likelihood of the counts kept aside of the same frames, above the reference's."""
LEFT_OUT: Final = "counts left_out"
"""The same for all counts of frames that the view left out."""
BETTER: Final = "better than flat"
LEAST_P: Final = 1e-6
"""Probabilities below are not told apart: that far out the normal distribution of a mean is not certain."""

MEANING: Final = (
    "A method is judged by photons that it never had: every measured count was split at random into a part that the "
    "methods got and a part kept aside, and the two are independent. One nat per frame above the reference means that "
    "the counts kept aside of a frame are e = 2.7 times less probable by the method's object than by the reference "
    "object."
)
CALIBRATED_REFERENCE: Final = (
    "The reference object was reconstructed from all counts, those kept aside included, by the solver of the "
    "calibration (LSQML): it is no truth, it has seen the counts that judge the methods, and a small distance to it "
    "favours methods that make the same errors as that solver."
)
GIVEN_REFERENCE: Final = (
    "The reference object is that of the file (measured.calibrate: false): where it was made from these counts, "
    "it has seen those that judge the methods, and a small distance to it favours methods that make the same errors as "
    "the solver that made it."
)


def verdict(dose: int, cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Who predicts the counts kept aside of the test half best at one dose: in one sentence, and for each view.

    ``views`` holds for each view ``leaders``, the best method or those that are not distinguishable from it, empty if
    there is none; ``headline`` and ``details``, which say it in short and with the numbers. Where no view has a result
    for one and the same reason, ``views`` is empty and ``reason`` says why.
    """
    found = [cell for cell in cells if cell["dose"] == dose]
    head = f"At {dose:,} photons per frame"
    reasons = {brief(cell) for cell in found}
    if len(reasons) == 1 and not any(_scores(cell) for cell in found):
        reason = reasons.pop()
        sentence = f"{head} there is no result in any view: {reason}."
        return {"dose": dose, "sentence": sentence, "reason": reason, "views": {}}
    views = {cell["view"]: _best_in(cell) for cell in found}
    parts = [f"{view}: {one['headline']} ({one['details']})" for view, one in views.items()]
    sentence = (
        f"{head}, by counts kept aside of the test half, on which no method was trained (nats per frame above the "
        f"reference, lower is better): {'; '.join(parts)}."
    )
    return {"dose": dose, "sentence": sentence, "reason": None, "views": views}


def _best_in(cell: Mapping[str, Any]) -> dict[str, Any]:
    scores = _scores(cell)
    return {"leaders": [], "headline": "no result", "details": brief(cell)} if scores is None else best(scores)


def best(split: Mapping[str, Any]) -> dict[str, Any]:
    """The method that predicts the counts kept aside best, or those that are not distinguishable from it."""
    ranking = Ranking.of(split, COMPLEMENT)
    if not ranking.names:
        reasons = dict.fromkeys(
            f"{name}: {entry['reason']}" for name, entry in split["arms"].items() if entry["reason"]
        )
        return {"leaders": [], "headline": "no method has a result", "details": "; ".join(reasons) or "none has run"}
    details = ", ".join(f"{name} {score_text(split, name, COMPLEMENT)}" for name in ranking.names)
    if (uniform := score_text(split, UNIFORM, COMPLEMENT)) is not None:
        details += f", uniform object {uniform}"
    details += outside_remark(split, ranking.names)
    good = [name for name in ranking.names if split["arms"][name]["verdict"] == BETTER]
    if not good:
        return {"leaders": [], "headline": "no method is shown to be better than a uniform object", "details": details}
    bad = [name for name in ranking.names if name not in good]
    details += f"; {listed(bad)} not better than the uniform object" if bad else ""
    details += f"; {evidence}" if (evidence := ranking.evidence()) else ""
    details += _other_frames(split, ranking.leaders)
    leaders = listed(ranking.leaders)
    if len(ranking.leaders) == 1:
        headline = f"{leaders} is best"
    else:
        ahead = f", ahead of {ranking.behind}" if ranking.behind else ""
        headline = f"{leaders} are not distinguishable{ahead}"
    return {"leaders": list(ranking.leaders), "headline": headline, "details": details}


def _other_frames(split: Mapping[str, Any], leaders: Sequence[str]) -> str:
    """Whether frames that the view left out say the same; empty where there are none."""
    other = Ranking.of(split, LEFT_OUT).leaders
    if not other:
        return ""
    if set(other) == set(leaders):
        return "; frames that the view left out say the same"
    verb = "is best" if len(other) == 1 else "are best and not distinguishable"
    return f"; by frames that the view left out {listed(other)} {verb}"


@dataclass(frozen=True)
class Ranking:
    """Methods by rising score, lower being better, and which of them a paired test tells apart.

    ``leaders`` are the best and all that are not distinguishable from it; ``behind`` is the first that every leader is
    distinguishably better than, if it is the next; ``tests`` are those that decide about the leaders.
    """

    names: Sequence[str]
    leaders: Sequence[str]
    behind: str | None
    tests: Sequence[PairTest]

    @classmethod
    def of(cls, split: Mapping[str, Any], score: str) -> Ranking:
        """Rank the methods of a split, as :func:`~.summary.measured_summary` describes it, by ``PART METRIC``."""
        values = {
            name: value
            for name, entry in split["arms"].items()
            if name not in REFERENCES and (value := entry["values"].get(score)) is not None
        }
        names = sorted(values, key=values.__getitem__)
        if not names:
            return cls((), (), None, ())
        first = names[0]
        tests = {name: pair_test(split, score, first, name) for name in names[1:]}
        tied = [name for name, test in tests.items() if test is None or not test.significant]
        leaders = [first, *tied]
        behind = next((name for name in names if name not in leaders), None)
        clear = behind is not None and all(
            (test := pair_test(split, score, leader, behind)) is not None and test.significant for leader in leaders
        )
        deciding = [test for name, test in tests.items() if test is not None and (name in tied or not tied)]
        return cls(names, leaders, behind if clear else None, deciding)

    def evidence(self) -> str:
        """What the tests say about the leaders; of several the least certain statement."""
        if not self.tests:
            return ""
        over = self.tests[0].over
        if len(self.leaders) > 1:
            return f"no significant difference over {over}"
        p = max(test.p for test in self.tests)
        sign = "=" if len(self.tests) == 1 else "≤"
        return f"significant, {'p < 1e-6' if p < LEAST_P else f'p {sign} {p:.2g}'} over {over}"


@dataclass(frozen=True)
class PairTest:
    """Whether two methods differ: over the repeats or, in a single run, over the frames (as adjusted in the document).

    ``p`` is 1 where the document has no pair that differs.
    """

    p: float
    significant: bool
    over: str


def pair_test(split: Mapping[str, Any], score: str, first: str, second: str) -> PairTest | None:
    """The test of two methods, None where there is none; adjusted for the number of pairs (Holm)."""
    if len(split["repeats"]) > 1:
        samples = {
            name: {int(repeat): value for repeat, value in entry["samples"].get(score, {}).items()}
            for name, entry in split["arms"].items()
            if name not in REFERENCES
        }
        found = repeated_tests(samples, split["measured"]["fraction"]).get(frozenset((first, second)))
        return (
            None if found is None or found.p is None else PairTest(found.p, found.p < ALPHA, f"{found.repeats} repeats")
        )
    tests = [test for test in split["tests"] if f"counts {test['score']}" == score]
    for test in tests:
        if {first, second} == {test["winner"], test["loser"]}:
            return PairTest(test["p"], True, f"{test['frames']:,} frames")
    return PairTest(1.0, False, f"{tests[0]['frames']:,} frames") if tests else None


def score_text(split: Mapping[str, Any], name: str, score: str) -> str | None:
    """A score with its standard error: over repeats, or in a single run over frames; None without a value."""
    entry = split["arms"].get(name, {"values": {}})
    value = entry["values"].get(score)
    if value is None:
        return None
    return nats(value, entry["standard_errors"].get(score) or entry["values"].get(f"{score}_error"))


def nats(value: float, error: float | None = None) -> str:
    """A difference of log-likelihoods, to two digits of its standard error.

    Examples
    --------
    >>> nats(1234.567, 8.91), nats(0.1234, 0.056), nats(-12.3), nats(0.00123)
    ('1,234.6 ± 8.9', '0.123 ± 0.056', '-12.3', '0.00123')
    """
    if error is None or not error > 0:
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:,.{digits}f} ± {error:,.{digits}f}"


def repeated_contests(split: Mapping[str, Any]) -> list[str]:
    """A sentence on every pair of methods over the repeats, by the counts kept aside."""
    names = Ranking.of(split, COMPLEMENT).names
    sentences = []
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            test = pair_test(split, COMPLEMENT, first, second)
            numbers = " against ".join(str(score_text(split, name, COMPLEMENT)) for name in (first, second))
            chance = "too few repeats in common" if test is None else f"p = {test.p:.2g} over {test.over}"
            words = f"{first} predicts the counts kept aside better than {second}"
            if test is None or not test.significant:
                words = f"{first} and {second} are not distinguishable"
            sentences.append(f"{words} ({numbers} nats per frame above the reference; {chance})")
    return sentences


def seeds(found: Mapping[str, Any], rule: str) -> str:
    """Which photons belong to a dose, what was repeated with which seeds, and when two methods count as different."""
    repeats, training = list(map(str, found["repeats"])), list(map(str, found["training"]))
    parts = "a lower dose is a part of the next higher one" if rule == "nested" else "no photon belongs to two doses"
    thinned = f"thinned from the measured counts with seed {found['simulation']} ({parts})"
    if len(repeats) == 1:
        which = f", repeat {repeats[0]}" if repeats[0] != "1" else ""
        return (
            f"One run per cell: frames {thinned}{which}; training and count splits of seed {training[0]}. ± is the "
            "standard error over frames. Methods are called not distinguishable where a paired test over the frames "
            "finds their difference no larger than chance; how much results vary with the seeds is not known from one "
            "run."
        )
    return (
        f"Means ± standard errors over {len(repeats)} repeats ({listed(repeats)}): frames {thinned}, training and "
        f"count splits of seeds {listed(training)}; pictures are of the first. Repeats draw other photons of the same "
        "measurement and share some, so that ± is too small at doses near the measured one; a paired t-test over the "
        "repeats allows for it. Methods are called not distinguishable where it finds their difference no larger than "
        "chance."
    )


def _scores(cell: Mapping[str, Any]) -> Mapping[str, Any] | None:
    scores: Mapping[str, Any] | None = cell["splits"].get(JUDGED_SPLIT)
    return scores if scores and scores["arms"] else None
