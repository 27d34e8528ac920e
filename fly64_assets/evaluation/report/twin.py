"""A study of measured frames beside its simulated twin: did the simulation predict who wins, and by how much?

Belongs here: the summary of both, from their comparison documents. Does not belong here: how it looks
(``twin_page``), which files hold the documents (``study.twin``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import scipy

from fly64_assets.evaluation.counts.contests import repeated_tests
from fly64_assets.evaluation.scores.compare import REFERENCES
from fly64_assets.evaluation.scores.verdicts import VERDICT_TEXTS, mean, split_samples
from fly64_assets.physics.scan import JUDGED_SPLIT

SCORE: Final = "complement"
"""The score that verdicts of measured frames are about, by its name in contests."""
DECIDING: Final = f"counts {SCORE}"
RELATIVE: Final = "counts complement_relative"
BOTH: Final = (
    DECIDING,
    "counts complement_error",
    RELATIVE,
    "counts left_out",
    "complex frc_photons_half_bit",
    "complex frc_frames_half_bit",
)
"""Scores that are shown of the measured study and of its twin."""
TRUE: Final = ("phase rmse_to_reference", "amplitude rmse_to_reference")
"""Scores of the twin that are errors: its reference is the object of which its frames were simulated."""
FACTOR: Final = 2.0
"""Differences of two methods are called alike where their ratio is between 1 / 2 and 2."""
LEAST_RANKED: Final = 3
"""Fewest methods of which a rank correlation says anything."""

AGREEMENT: Final = {
    "same": "the same winner",
    "opposite": "the other winner",
    "only measured": "decided on measured frames only",
    "only twin": "decided in the twin only",
    "neither": "decided in neither",
}
"""What readers see for the verdicts on a pair of methods."""

REFERENCE_CAUSE: Final = (
    "The reference of the measured study was found from all counts, those that judge among them, and has noise; that "
    "of the twin is the object of which its frames were made. Scores are counted from different points: their size "
    "may differ between the studies for all methods alike, and the order and the differences of methods compare."
)
NOT_TESTED: Final = (
    "Each was fitted to the residual of the calibration, at all counts. Which of them makes a single cell deviate was "
    "not tested."
)

CellName = tuple[int, str]
Comparisons = Mapping[int, Mapping[str, Any]]
"""Comparison documents of a cell by repeat."""


@dataclass(frozen=True)
class Side:
    """One of the two studies: comparison documents by cell and repeat, and why a cell has none."""

    study: str
    base_id: str
    cells: Mapping[CellName, Comparisons]
    reasons: Mapping[CellName, str]


def twin_summary(measured: Side, twin: Side, *, calibration: Mapping[str, Any]) -> dict[str, Any]:
    """Both studies in one document, plain JSON types, for the judged half of the scan.

    ``cells`` hold, by method, the scores of both sides, for every pair of methods whether the twin has the same winner
    and how large the differences are, the methods that are best in each; ``sentences`` say what that comes to,
    ``deviations`` list where the two part, and ``causes`` what the calibration found in its residual.
    """
    names = list(dict.fromkeys((*measured.cells, *measured.reasons)))
    cells = [_cell(name, measured, twin) for name in names]
    compared = [cell for cell in cells if cell["reason"] is None]
    return {
        "measured": {"study": measured.study, "base_id": measured.base_id},
        "twin": {"study": twin.study, "base_id": twin.base_id},
        "split": JUDGED_SPLIT,
        "methods": list(dict.fromkeys(name for cell in compared for name in cell["methods"])),
        "sentences": list(_sentences(compared)),
        "deviations": [sentence for cell in compared for sentence in _deviations(cell)],
        "causes": list(calibration_causes(calibration)),
        "cells": cells,
    }


def calibration_causes(calibration: Mapping[str, Any]) -> Iterator[str]:
    """What the calibration of the measured frames found that the twin has not, a sentence each; the last is a caveat.

    ``calibration`` is the document ``calibration.json`` of the base.
    """
    if calibration.get("calibrated"):
        yield REFERENCE_CAUSE
    found, expected = calibration.get("deviance"), calibration.get("expected_deviance")
    if found is not None and expected is not None:
        excess = "The twin has no such excess." if found > expected else "That is no excess: the model holds."
        yield (
            f"With the object, probe and positions of the base the measured frames have a deviance of {found:.4f} per "
            f"pixel, and {expected:.4f} would be expected of Poisson counts. {excess}"
        )
    deviations = calibration.get("deviations") or {}
    for entry in deviations.values():
        sentence = str(entry["sentence"])
        yield f"{sentence[0].upper()}{sentence[1:]}."
    positions = calibration.get("positions") or {}
    if positions.get("refined"):
        yield (
            f"Refining the positions moved them by {positions['rms_shift_px']:.2f} px (root mean square; at most "
            f"{positions['largest_shift_px']:.2f} px). The twin's positions are the refined ones, without an error."
        )
    else:
        yield "Errors of the positions were not measured: the calibration did not refine them."
    if deviations:
        yield NOT_TESTED


# -- one cell ------------------------------------------------------------------------------------------------------


def _cell(name: CellName, measured: Side, twin: Side) -> dict[str, Any]:
    dose, view = name
    cell: dict[str, Any] = {"dose": dose, "view": view, "reason": _no_result(name, measured, twin)}
    if cell["reason"] is not None:
        return cell
    sides = {"measured": measured.cells[name], "twin": twin.cells[name]}
    samples = {side: split_samples(documents, JUDGED_SPLIT) for side, documents in sides.items()}
    methods = [method for method in _methods(sides.values()) if method not in REFERENCES]
    pairs = [_pair(one, other, sides, samples) for one, other in combinations(methods, 2)]
    return cell | {
        "methods": {method: _scores(method, sides, samples) for method in methods},
        "pairs": [pair for pair in pairs if pair is not None],
        "best": {side: _best(methods, sides[side], samples[side]) for side in sides},
        "rank_correlation": _rank_correlation(methods, samples),
    }


def _no_result(name: CellName, measured: Side, twin: Side) -> str | None:
    """Why a cell cannot be put side by side; None where it can be."""
    for side, title in ((measured, "measured"), (twin, "twin")):
        if name not in side.cells:
            return f"{title}: {side.reasons.get(name, 'not compared')}"
        for document in side.cells[name].values():
            split = document["splits"].get(JUDGED_SPLIT, {"outcome": "missing", "reason": "not compared"})
            if split["outcome"] != "compared":
                return f"{title}: {split['reason']}"
    return None


def _methods(sides: Any) -> list[str]:
    named = [
        method
        for documents in sides
        for document in documents.values()
        for method in document["splits"][JUDGED_SPLIT]["arms"]
    ]
    return list(dict.fromkeys(named))


Samples = Mapping[str, Mapping[str, Mapping[int, float]]]
"""Scores by method, ``part metric`` and repeat."""


def _scores(method: str, sides: Mapping[str, Comparisons], samples: Mapping[str, Samples]) -> dict[str, Any]:
    """Means over the repeats of what is shown of a method, and the reason where it has no result."""
    found: dict[str, Any] = {}
    for side, documents in sides.items():
        shown = (*BOTH, *TRUE) if side == "twin" else BOTH
        values = samples[side].get(method, {})
        first = next(iter(documents.values()))["splits"][JUDGED_SPLIT]["arms"].get(method, {"reason": "missing"})
        found[side] = {
            "values": {metric: mean(values.get(metric, {}))[0] for metric in shown},
            "reason": first.get("reason"),
            "verdict": first.get("verdict"),
        }
    return found


def _pair(
    one: str, other: str, sides: Mapping[str, Comparisons], samples: Mapping[str, Samples]
) -> dict[str, Any] | None:
    """Two methods in both studies; None where one of them has no score in one of the studies.

    ``nats`` is the score of the first less that of the second, ``relative`` the same in parts of the distance between
    the reference and the uniform object; ``ratio`` is that of the twin over the measured one.
    """
    found: dict[str, Any] = {"first": one, "second": other}
    for side, documents in sides.items():
        both = [samples[side].get(method, {}) for method in (one, other)]
        nats = [mean(values.get(DECIDING, {}))[0] for values in both]
        first, second = (mean(values.get(RELATIVE, {}))[0] for values in both)
        if nats[0] is None or nats[1] is None:
            return None
        found[side] = {
            "nats": nats[0] - nats[1],
            "relative": None if first is None or second is None else first - second,
            "winner": _winner(one, other, documents, samples[side]),
        }
    winners = [found[side]["winner"] for side in ("measured", "twin")]
    found["agreement"] = (
        ("neither" if winners[1] is None else "only twin")
        if winners[0] is None
        else ("only measured" if winners[1] is None else "same" if winners[0] == winners[1] else "opposite")
    )
    here, there = found["measured"]["relative"], found["twin"]["relative"]
    found["ratio"] = None if not here or there is None else there / here
    return found


def _winner(one: str, other: str, documents: Comparisons, samples: Samples) -> str | None:
    """The better method of a pair by the test over frames, or over several repeats; None where neither is."""
    if len(documents) == 1:
        (document,) = documents.values()
        for contest in document["splits"][JUDGED_SPLIT]["contests"]:
            if contest.get("score") == SCORE and {contest["winner"], contest["loser"]} == {one, other}:
                return str(contest["winner"])
        return None
    scores = {name: found.get(DECIDING, {}) for name, found in samples.items() if name not in REFERENCES}
    fraction = float(next(iter(documents.values()))["splits"][JUDGED_SPLIT]["measured"]["fraction"])
    test = repeated_tests(scores, fraction).get(frozenset((one, other)))
    if test is None or not test.significant:
        return None
    first, second = (float(np.mean(list(scores[method].values()))) for method in (one, other))
    return one if first < second else other


def _best(methods: Sequence[str], documents: Comparisons, samples: Samples) -> list[str]:
    """The method with the smallest score, and those that are not distinguishable from it, by rising score."""
    scores = {method: mean(samples.get(method, {}).get(DECIDING, {}))[0] for method in methods}
    ranking = sorted((score, method) for method, score in scores.items() if score is not None)
    if not ranking:
        return []
    first = ranking[0][1]
    return [first, *(name for _, name in ranking[1:] if _winner(first, name, documents, samples) != first)]


def _rank_correlation(methods: Sequence[str], samples: Mapping[str, Samples]) -> float | None:
    """Spearman's correlation of the two orders of the methods; None with fewer than three methods."""
    both = [
        [mean(samples[side].get(method, {}).get(DECIDING, {}))[0] for method in methods]
        for side in ("measured", "twin")
    ]
    common = [pair for pair in zip(*both, strict=True) if None not in pair]
    if len(common) < LEAST_RANKED:
        return None
    found = float(scipy.stats.spearmanr(np.array(common, dtype=np.float64)).statistic)
    return found if np.isfinite(found) else None


# -- sentences -----------------------------------------------------------------------------------------------------


def _sentences(cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What the comparison of both studies comes to."""
    if not cells:
        yield "No cell has a result in both studies."
        return
    agreed = [cell for cell in cells if set(cell["best"]["measured"]) & set(cell["best"]["twin"])]
    yield (
        f"In {len(agreed)} of {len(cells)} cells the simulation names a method as the best, or as not distinguishable "
        "from it, that is so on measured frames too."
    )
    pairs = [pair for cell in cells for pair in cell["pairs"]]
    if not pairs:
        yield "There is no pair of methods to compare."
        return
    counts = {name: sum(pair["agreement"] == name for pair in pairs) for name in AGREEMENT}
    decided = counts["same"] + counts["opposite"] + counts["only measured"]
    yield (
        f"Measured frames decide {decided} of {len(pairs)} pairs of methods. Of these the twin decides "
        f"{counts['same']} the same way and {counts['opposite']} the other way, and leaves {counts['only measured']} "
        f"open; it decides {counts['only twin']} that measured frames leave open."
    )
    ratios = [pair["ratio"] for pair in pairs if pair["agreement"] == "same" and pair["ratio"] is not None]
    if ratios:
        alike = sum(_alike(ratio) for ratio in ratios)
        yield (
            f"Where both have the same winner, the difference in the twin is {float(np.median(ratios)):.2g} times that "
            f"on measured frames (median; both in parts of the distance between reference and uniform object), and "
            f"{alike} of {len(ratios)} agree within a factor of {FACTOR:g}."
        )


def _alike(ratio: float) -> bool:
    return 1 / FACTOR <= ratio <= FACTOR


def _deviations(cell: Mapping[str, Any]) -> Iterator[str]:
    """Where the two studies part in a cell, a sentence each."""
    place = f"{cell['dose']:,}/{cell['view']}"
    for method, scores in cell["methods"].items():
        here, there = (VERDICT_TEXTS.get(scores[side]["verdict"]) for side in ("measured", "twin"))
        if here and there and here != there:
            yield f"{place}: {method} is {here} on measured frames and {there} in the twin"
    for pair in cell["pairs"]:
        names = f"{pair['first']} and {pair['second']}"
        here, there = pair["measured"], pair["twin"]
        if pair["agreement"] == "opposite":
            yield (
                f"{place}: {here['winner']} wins on measured frames and {there['winner']} in the twin "
                f"({names}: {here['nats']:+.3g} and {there['nats']:+.3g} nats per frame)"
            )
        elif pair["agreement"] in ("only measured", "only twin"):
            side = "measured" if pair["agreement"] == "only measured" else "twin"
            where = "on measured frames" if side == "measured" else "in the twin"
            other = "the twin leaves it open" if side == "measured" else "measured frames leave it open"
            yield (
                f"{place}: {pair[side]['winner']} wins {where}, {other} "
                f"({names}: {here['nats']:+.3g} and {there['nats']:+.3g} nats per frame)"
            )
        elif pair["agreement"] == "same" and pair["ratio"] is not None and not _alike(pair["ratio"]):
            yield (
                f"{place}: {here['winner']} wins in both, but the difference in the twin is {pair['ratio']:.2g} times "
                f"that on measured frames ({names})"
            )
