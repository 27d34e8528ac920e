"""What a summary says in sentences: the best method at each dose, what was repeated, what the detector misses.

Does not belong here: the numbers that the sentences are about (``summary``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fly64_assets.evaluation.report.outside import is_outside
from fly64_assets.evaluation.scores.compare import REFERENCES, UNIFORM
from fly64_assets.evaluation.scores.verdicts import LEAST_DIFFERENCE, Difference, difference
from fly64_assets.physics.probe_overlap import DIAMETERS
from fly64_assets.physics.scan import JUDGED_SPLIT

DECIDING_SCORE: Final = "phase rmse"
"""The score that verdicts are about."""


def detector_sentence(detector: Mapping[str, Any]) -> str:
    """What the simulated detector misses and adds, from the section of that name in a design.

    Examples
    --------
    >>> detector_sentence({"gap_rows": [[38, 4]], "read_noise": 0.5})[:73]
    'The simulated detector has a gap of 4 rows from 38 on, read-out noise of '
    """
    found = [f"the bad pixels of {detector['mask']}"] if detector.get("mask") else []
    for name in ("rows", "columns"):
        found += [f"a gap of {width} {name} from {first} on" for first, width in detector.get(f"gap_{name}", ())]
    if radius := detector.get("beamstop_radius"):
        found.append(f"a beamstop of {radius:g} px radius")
    if saturation := detector.get("saturation"):
        found.append(f"counts cut at {saturation:,}")
    if noise := detector.get("read_noise"):
        found.append(f"read-out noise of {noise:g} counts")
    return (
        f"The simulated detector has {', '.join(found) or 'no loss'}. The dose counts photons before these losses; "
        "methods know which pixels are bad, and take every other count for a Poisson number."
    )


def view_sentence(design: Mapping[str, Any]) -> str:
    """How the views of a design were made, where it is not as usual; empty where it is.

    Examples
    --------
    >>> view_sentence({"dose_per": "pixel"})[:74]
    'The dose is that of the full scan: frames of a thinned view have more phot'
    """
    found = []
    if design.get("overlap_of") == "probe":
        diameter = DIAMETERS[design.get("probe_diameter", "half_energy")]
        found.append(
            "Views are named by the linear overlap of nearest probes on average, 1 - d/D, that they aim at; D is "
            f"{diameter}."
        )
    if design.get("dose_per") == "pixel":
        found.append(
            "The dose is that of the full scan: frames of a thinned view have more photons each, so that all views "
            "spend as many on a pixel of the object."
        )
    return " ".join(found)


def seeds_sentence(seeds: Mapping[str, Any]) -> str:
    """What was repeated with which seeds, and from which difference on two methods count as different.

    Examples
    --------
    >>> seeds_sentence({"simulation": 42, "repeats": [1], "training": [123]})[:73]
    'One run per cell: noise of seed 42, training and count splits of seed 123'
    """
    repeats, training = list(map(str, seeds["repeats"])), list(map(str, seeds["training"]))
    if len(repeats) == 1:
        which = f", repeat {repeats[0]}" if repeats[0] != "1" else ""
        return (
            f"One run per cell: noise of seed {seeds['simulation']}{which}, training and count splits of seed "
            f"{training[0]}. How much the errors vary with the seeds is not known from one run; methods less than "
            f"{100 * LEAST_DIFFERENCE:.0f} % apart, whose order another seed may well reverse, are called not "
            "distinguishable."
        )
    return (
        f"Means ± standard errors over {len(repeats)} repeats ({listed(repeats)}) of the noise of seed "
        f"{seeds['simulation']}, with training and count splits of seeds {listed(training)}; pictures "
        "are of the first. Methods are called not distinguishable where a paired t-test over the repeats finds their "
        "difference no larger than chance."
    )


def dose_sentence(dose: int, cells: Iterable[Mapping[str, Any]]) -> str:
    """The best method at one dose on the test split, view by view, in one sentence."""
    parts = []
    for cell in cells:
        if cell["dose"] != dose:
            continue
        split = cell["splits"].get(JUDGED_SPLIT)
        result = _best(split) if split and split["arms"] else f"no result ({brief(cell)})"
        parts.append(f"{cell['view']}: {result}")
    return f"At {dose:,} photons per frame, on the test half, which no method was trained on: {'; '.join(parts)}."


def brief(cell: Mapping[str, Any]) -> str:
    """Why a cell has no result, without its name and without the other split's like reason."""
    name = cell_name(cell)
    first = str(cell["reason"]).split(f"; {name}: ")[0]
    return first.removeprefix(f"{name}: ").removesuffix(" (view skipped)") or "not compared yet"


def _best(split: Mapping[str, Any]) -> str:
    """The best method, or those that are not distinguishable from it, with all errors in rising order."""
    values = {name: entry["values"].get(DECIDING_SCORE) for name, entry in split["arms"].items()}
    uniform = values.get(UNIFORM)
    errors = {name: float(v) for name, v in values.items() if v is not None and name not in REFERENCES}
    if not errors:
        return "no method has a result"
    ranking = sorted(errors, key=errors.__getitem__)
    best = ranking[0]
    spreads = {name: split["arms"][name].get("standard_errors", {}).get(DECIDING_SCORE) for name in ranking}
    numbers = ", ".join(f"{name} {with_spread(errors[name], spreads[name])}" for name in ranking)
    if uniform is not None:
        numbers += f", uniform object {three_digits(uniform)} rad"
        if errors[best] >= uniform:
            remark = outside_remark(split, ranking)
            return f"no method is better than a uniform object ({numbers}{remark})"
        worse = [name for name in ranking if errors[name] >= uniform]
        numbers += f"; {listed(worse)} worse than the uniform object" if worse else ""
    numbers += outside_remark(split, ranking)
    tied = [best, *(name for name in ranking[1:] if not _distinguishable(split, best, name))]
    if len(tied) == 1:
        return f"{best} is best ({numbers}{_evidence(split, best, ranking[1:])})"
    behind = next((name for name in ranking if name not in tied), None)
    clear = behind is not None and all(_distinguishable(split, name, behind) for name in tied)
    ahead = f", ahead of {behind}" if clear else ""
    reason = _evidence(split, best, tied[1:]) or f"; less than {100 * LEAST_DIFFERENCE:.0f} % apart"
    return f"{listed(tied)} are not distinguishable{ahead} ({numbers}{reason})"


def outside_remark(split: Mapping[str, Any], names: Sequence[str]) -> str:
    """Which of some methods are outside of their training, as the end of a list; empty where none is."""
    outside = [name for name in names if is_outside(split, name)]
    return f"; {listed(outside)} outside of its training" if outside else ""


def listed(names: Sequence[str]) -> str:
    """Names with commas and an *and*."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def with_spread(value: float, spread: float | None) -> str:
    """Three digits of a value, and its standard error where there is one.

    Examples
    --------
    >>> with_spread(0.05, None), with_spread(0.04194, 0.00123)
    ('0.0500', '0.0419 ± 0.001')
    """
    return three_digits(value) if spread is None else f"{three_digits(value)} ± {spread:.1g}"


def three_digits(value: float) -> str:
    """Three significant digits, zeros at the end too.

    Examples
    --------
    >>> three_digits(0.05), three_digits(2.0), three_digits(345.6), three_digits(0.0)
    ('0.0500', '2.00', '346', '0')
    """
    return f"{value:#.3g}".removesuffix(".") if value else "0"


def _distinguishable(split: Mapping[str, Any], first: str, second: str) -> bool:
    """Whether two methods differ by more than chance over the repeats or, in a single run, by the least difference."""
    significant = _difference(split, first, second).significant
    if significant is not None:
        return significant
    low, high = sorted(split["arms"][name]["values"][DECIDING_SCORE] for name in (first, second))
    return bool(high - low >= LEAST_DIFFERENCE * high)


def _evidence(split: Mapping[str, Any], best: str, others: Sequence[str]) -> str:
    """What the repeats say about the difference between the best method and others; empty for a single run.

    Of several others the p of the least certain statement is given: the largest of significant differences, the
    smallest of differences that are not.
    """
    differences = [_difference(split, best, other) for other in others]
    tested = [(d.p, d.repeats, bool(d.significant)) for d in differences if d.p is not None]
    if not tested:
        return ""
    significant = all(entry[2] for entry in tested)
    p, repeats, _ = max(tested) if significant else min(entry for entry in tested if not entry[2])
    sign = "=" if len(tested) == 1 else "≤" if significant else "≥"
    words = "significant" if significant else "the difference is not significant"
    return f"; {words}, p {sign} {p:.2g} over {repeats} repeats"


def _difference(split: Mapping[str, Any], first: str, second: str) -> Difference:
    samples = [split["arms"][name].get("samples", {}) for name in (first, second)]
    return difference(*({int(repeat): value for repeat, value in entry.items()} for entry in samples))


def cell_name(cell: Mapping[str, Any]) -> str:
    """Name of a cell in messages and lists."""
    return f"dose_{cell['dose']}/{cell['view']}"
