"""The answer of a simulated study: how many photons per frame each method needs, view by view, for the wanted error.

Belongs here: the document ``answer`` of the summary, and its sentences. Does not belong here: how it looks
(``heat_map``, ``page``), and the formula (``scores.dose_needed``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fly64_assets.evaluation.report.outside import MARK, is_outside
from fly64_assets.evaluation.report.sentences import DECIDING_SCORE, listed
from fly64_assets.evaluation.scores.dose_needed import photon_ratios, photons_for
from fly64_assets.physics.overlap import BASELINE
from fly64_assets.physics.scan import JUDGED_SPLIT

Errors = Mapping[int, float]
"""Phase error [rad] by dose, in rising order."""


def study_answer(
    threshold_rad: float, views: Sequence[str], methods: Sequence[str], cells: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Photons needed and saved by view and method, plain JSON types, and both in sentences.

    Parameters
    ----------
    threshold_rad : float
        The phase error that is wanted [rad].
    cells : sequence of mapping
        Summaries of cells, as in :func:`~fly64_assets.evaluation.report.summary.study_summary`.

    Returns
    -------
    dict
        ``threshold_rad``; ``needed``: view -> method -> ``sign`` (``<``, ``>`` or empty) and ``photons`` per frame, and
        the ``least`` and ``most`` of the repeats where every one has them between its doses, and
        ``outside_of_training`` where a cell of the view is; ``best``: view -> the
        method with the smallest errors, as a geometric mean over doses; ``ratios``: view -> method -> ``least`` and
        ``most`` photons per photon of the best method at equal error, ``beyond`` the doses of the study if the most is
        larger than that; ``sentence`` and ``saved``.
    """
    doses = sorted({cell["dose"] for cell in cells})
    errors = {view: {name: found for name in methods if (found := _errors(cells, view, name, doses))} for view in views}
    needed = {
        view: {name: _needed(cells, view, name, found, threshold_rad) for name, found in by_method.items()}
        for view, by_method in errors.items()
    }
    best = {view: min(found, key=lambda name: _level(found[name])) for view, found in errors.items() if found}
    ratios = {view: _ratios(errors[view], name) for view, name in best.items()}
    return {
        "threshold_rad": threshold_rad,
        "needed": needed,
        "best": best,
        "ratios": ratios,
        "sentence": _needed_sentence(threshold_rad, needed, doses),
        "saved": _saved_sentence(best, ratios),
    }


def photons_text(entry: Mapping[str, Any] | None) -> str:
    """Photons needed: two digits, and words where the doses of the study end.

    Examples
    --------
    >>> photons_text({"sign": "", "photons": 2789.0}), photons_text({"sign": "<", "photons": 1000.0})
    ('2,800', 'at most 1,000')
    >>> photons_text({"sign": ">", "photons": 100000.0}), photons_text(None)
    ('more than 100,000', '–')
    """
    if entry is None:
        return "–"
    sign, photons = entry["sign"], entry["photons"]
    return f"{_SIGNS[sign]} {photons:,.0f}" if sign else f"{float(f'{photons:.2g}'):,.0f}"


def ratio_text(entry: Mapping[str, Any] | None) -> str:
    """How many times the photons, over the doses of the study.

    Examples
    --------
    >>> ratio_text({"least": 1.21, "most": 6.4, "beyond": False})
    '1.2 to 6.4'
    >>> ratio_text({"least": 6.4, "most": 10, "beyond": True})
    '6.4 to more than 10'
    """
    if entry is None:
        return "–"
    least, most = (f"{entry[name]:.2g}" for name in ("least", "most"))
    if entry["beyond"]:
        return f"more than {most}" if least == most else f"{least} to more than {most}"
    return least if least == most else f"{least} to {most}"


_SIGNS: Final = {"<": "at most", ">": "more than"}


def scan_name(view: str) -> str:
    """A view in a sentence."""
    return "the full scan" if view == BASELINE else f"the view {view}"


def _errors(cells: Sequence[Mapping[str, Any]], view: str, method: str, doses: Sequence[int]) -> Errors:
    """Errors of a method in a view, of the half on which no method was trained; without doses that have none."""
    by_dose = {cell["dose"]: _result(cell, method) for cell in cells if cell["view"] == view}
    found = {dose: by_dose.get(dose, {}).get("values", {}).get(DECIDING_SCORE) for dose in doses}
    return {dose: error for dose, error in found.items() if error}


def _result(cell: Mapping[str, Any], method: str) -> Mapping[str, Any]:
    result: Mapping[str, Any] = cell["splits"].get(JUDGED_SPLIT, {"arms": {}})["arms"].get(method, {})
    return result


def _needed(
    cells: Sequence[Mapping[str, Any]], view: str, method: str, errors: Errors, threshold_rad: float
) -> dict[str, Any]:
    sign, photons = photons_for(errors, threshold_rad)
    by_repeat: dict[str, dict[int, float]] = {}
    for cell in sorted((cell for cell in cells if cell["view"] == view), key=lambda cell: int(cell["dose"])):
        for repeat, error in _result(cell, method).get("samples", {}).items():
            by_repeat.setdefault(repeat, {})[cell["dose"]] = error
    whole = [photons_for(found, threshold_rad) for found in by_repeat.values() if found.keys() == errors.keys()]
    spread = [value for inside, value in whole if not inside]
    several = len(spread) > 1 and len(spread) == len(by_repeat)
    outside = any(is_outside(cell["splits"].get(JUDGED_SPLIT), method) for cell in cells if cell["view"] == view)
    return {
        "sign": sign,
        "photons": photons,
        "least": min(spread) if several else None,
        "most": max(spread) if several else None,
    } | ({"outside_of_training": True} if outside else {})


def _level(errors: Errors) -> float:
    return sum(map(math.log, errors.values())) / len(errors)


def _ratios(errors: Mapping[str, Errors], best: str) -> dict[str, dict[str, Any]]:
    """Photons of every other method over those of the best one, wherever the doses of the study say it."""
    found = {}
    for name, own in errors.items():
        told = [(sign, ratio) for sign, ratio in photon_ratios(errors[best], own) if sign != "<"]
        if name != best and told:
            # That it is more than once as many, at the highest dose of the study, says little beside a number.
            ratios = [ratio for sign, ratio in told if not sign or ratio > 1] or [ratio for _, ratio in told]
            beyond = any(sign and ratio >= max(ratios) for sign, ratio in told)
            if beyond and max(ratios) <= 1:
                continue  # more than once as many: all that one dose can tell
            found[name] = {"least": min(ratios), "most": max(ratios), "beyond": beyond}
    return found


def _needed_sentence(
    threshold_rad: float, needed: Mapping[str, Mapping[str, Mapping[str, Any]]], doses: Sequence[int]
) -> str:
    parts = []
    for view, by_method in needed.items():
        reached = {name: entry for name, entry in by_method.items() if entry["sign"] != ">"}
        if not by_method:
            parts.append(f"{scan_name(view)} has no result")
        elif not reached:
            parts.append(f"in {scan_name(view)} no method reaches it with up to {max(doses):,}")
        else:
            parts.append(f"{scan_name(view)} takes {_by_photons(reached, by_method)}")
    if not parts:
        return ""
    return f"For a phase error of {threshold_rad:g} rad, in photons per frame: {'; '.join(parts)}."


def _by_photons(reached: Mapping[str, Mapping[str, Any]], all_methods: Mapping[str, Any]) -> str:
    """The fewest photons with their methods, and in brackets what the other methods need."""
    order = sorted(reached, key=lambda name: reached[name]["photons"])
    texts: dict[str, list[str]] = {}
    for name in order:
        texts.setdefault(photons_text(reached[name]), []).append(_marked(name, all_methods))
    unreached = [name for name in all_methods if name not in reached]
    (fewest, names), *others = texts.items()
    others_text = [f"{listed(others_names)} {text}" for text, others_names in others]
    if unreached:
        names_text = listed([_marked(name, all_methods) for name in unreached])
        others_text.append(f"{names_text} {photons_text(all_methods[unreached[0]])}")
    return f"{fewest} with {' or '.join(names)}" + (f" ({', '.join(others_text)})" if others_text else "")


def _marked(method: str, entries: Mapping[str, Mapping[str, Any]]) -> str:
    return f"{method} {MARK}" if entries[method].get("outside_of_training") else method


def _saved_sentence(best: Mapping[str, str], ratios: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    parts = []
    for view, found in ratios.items():
        texts = [f"{name} {ratio_text(entry)}" for name, entry in found.items()]
        if texts:
            parts.append(f"in {scan_name(view)} {listed(texts)} times the photons of {best[view]}")
    return f"At an equal error the other methods take: {'; '.join(parts)}." if parts else ""
