"""Result tables of README.md and of the pages in docs/explanation, from the CSV files in docs/explanation/results.

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->`` and is written anew by this script. Values are means
over the seeds, ± the standard deviation between them; what has not been measured is a dash. *Best iterative* is the
iterative method with the smallest mean in the cell; the network is divided by it seed by seed.

====================  ================================================================================================
combinations.csv      what two objects give without a network of the cell: ``benchmarks/combinations.py``
contest.csv           ``benchmarks/contest.py``: a row for each object, cell, seed and method; of several rows of one
                      the last counts
bounds.csv            bound of unbiased estimates of the demo's phase, from the report of ``make study``
detector_gaps.csv     what gaps of the detector cost: ``benchmarks/detector_gaps.py``
gpu.csv               what the parts of the engines cost on a GPU: ``benchmarks/gpu.py``
independent.csv       regularised maximum likelihood on the files of the demo by an independent implementation, one seed
(the package)         ``fly64_assets/evaluation/atlas/atlas.csv``, the table of the atlas
judge.csv             whether fresh counts rank objects as the truth does: ``benchmarks/judge_without_truth.py``
literature.csv        rings at a correlation of 0.5, dose by dose: ``benchmarks/literature.py``
judge_null.csv        how often they call equal objects different: the same with ``--null``
lsqml_settings.csv    settings and engines of the iterative method: ``benchmarks/lsqml_settings.py``
minutes.csv           processor minutes of the demo by stage: ``stage``, ``before``, ``after``
peers.csv             other packages on exported files: ``benchmarks/peers/score.py``
pretrained.csv        the network of the package beside LSQML in the same run: ``benchmarks/contest.py``
short_path.csv        error of the network of a cell against its likelihood steps: ``benchmarks/short_path.py``
slow_phases.csv       ``tv_ml`` and the network without slow phases, and on tuning objects: ``benchmarks/contest.py``
slow_phase_gains.csv  what decides whether they are added: ``benchmarks/slow_phase_gains.py``
tv_weights.csv        errors by TV weight: ``benchmarks/tv_weights.py``
siemens_star.csv      rows of `study_metrics.csv` of the report on measured frames: ``fly64 --study measured run``
====================  ================================================================================================

Usage: python benchmarks/tables.py [--check]
"""

import argparse
import math
import re
import statistics
import sys
from collections.abc import Callable, Iterable

from atlas_tables import atlas, atlas_advised, atlas_answer, atlas_kinds
from literature_tables import literature, literature_overlap
from lsqml_tables import lsqml_fly64, lsqml_settings, lsqml_stopping, lsqml_weights
from measured_tables import gpu, judge, null, star, star_resolution
from pretrained_tables import (
    combinations,
    pretrained,
    pretrained_findings,
    short_path,
    started,
    steps,
    with_slow_phases,
)
from slow_phase_tables import chosen_weights, gains, scales, slow_phases
from table_rows import (
    AIMS,
    ANSWERED,
    CONTEST_CELLS,
    DOSES,
    EFFICIENT,
    GAP_TITLES,
    ITERATIVE,
    MISSING,
    NETWORK,
    OTHER_OBJECTS,
    PACKAGES,
    ROOT,
    TARGET_RAD,
    TITLES,
    VIEWS,
    BySeed,
    Cell,
    Contest,
    Row,
    all_methods,
    counted,
    first,
    of_first_seed,
    one,
    rows_of,
    shown,
    table,
)

from fly64_assets.evaluation.scores.dose_needed import photons_for
from fly64_assets.evaluation.scores.verdicts import LEAST_DIFFERENCE, difference

DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs" / "explanation").rglob("*.md")))
MARKED = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


# -- the tables -------------------------------------------------------------------------------------------------------


def results(contest: Contest, cell: Cell) -> list[str]:
    """Errors of the methods, and network over best iterative method."""
    errors = [shown(contest.values(cell, method), 4) for method in (*ITERATIVE, NETWORK)]
    return [*errors, shown(contest.ratio(cell), 2)]


RESULT_COLUMNS = [*(TITLES[method] for method in (*ITERATIVE, NETWORK)), "`pinn` / best iterative"]


def nine_cells(name: str) -> Callable[[Contest], str]:
    """Phase RMSE of every method in the nine cells of an object."""

    def made(contest: Contest) -> str:
        rows = [
            [
                f"{dose:,}",
                view,
                *results(contest, (name, view, dose)),
                shown(first(contest.values((name, view, dose), "uniform")), 4),
            ]
            for dose in DOSES
            for view in VIEWS
        ]
        return table(["photons / frame", "view", *RESULT_COLUMNS, TITLES["uniform"]], rows)

    return made


def short(contest: Contest) -> str:
    """The nine cells of the demo with their photons, means alone."""

    def mean(values: BySeed, digits: int) -> str:
        return one(statistics.mean(values.values()) if values else None, f".{digits}f")

    rows = []
    for dose in DOSES:
        for view in VIEWS:
            cell = ("demo", view, dose)
            photons, covered = contest.fact(cell, "photons_per_pixel"), contest.fact(cell, "covered_fraction")
            percent = MISSING if covered is None else f"{100 * covered:.0f} %"
            rows.append([
                f"{dose:,}", view, one(contest.fact(cell, "frames"), ".0f"), counted(photons), percent,
                *(mean(contest.values(cell, method), 4) for method in EFFICIENT),
                shown(contest.ratio(cell), 2), mean(contest.values(cell, "uniform"), 4),
                one(contest.fact(cell, "phase_floor"), ".4f"),
            ])  # fmt: skip
    columns = [
        "photons / frame", "view", "frames", "photons / px", "covered",
        *(TITLES[method] for method in EFFICIENT),
        "`pinn` / best iterative", TITLES["uniform"], "photon floor",
    ]  # fmt: skip
    return table(columns, rows)


def independent(contest: Contest) -> str:
    """LSQML and regularised maximum likelihood of this project beside those of an independent implementation."""
    rows = []
    for row in rows_of("independent.csv"):
        cell = ("demo", row["view"], int(row["dose"]))
        own = of_first_seed(contest.values(cell, "tv_ml"))
        ratio = own[1] / float(row["tv_ml_by_counts"]) if own else None
        lsqml = of_first_seed(contest.values(cell, "lsqml"))
        means = (
            statistics.mean(values.values()) / float(row["tv_ml_by_counts"]) if values else None
            for values in (contest.values(cell, method) for method in ("tv_ml", NETWORK))
        )
        rows.append([
            f"{cell[2]:,}", cell[1], shown(lsqml, 3), row["lsqml"], shown(own, 3), row["tv_ml_by_counts"],
            row["tv_ml_best_weight"], one(ratio, ".2f"), *(one(mean, ".2f") for mean in means),
        ])  # fmt: skip
    columns = [
        "photons / frame", "view", "`lsqml`, seed 1", "same object, independent score", "`tv_ml`, seed 1",
        "independent TV-ML, weight by counts", "its best weight", "`tv_ml`, seed 1 / independent, by counts",
        "`tv_ml`, mean of seeds / independent", "`pinn`, mean of seeds / independent",
    ]  # fmt: skip
    return table(columns, rows)


def tv_weights(contest: Contest) -> str:
    """The TV weight that the held-out counts choose beside the best by the truth; dense view, first seed."""
    rows, tuning = rows_of("tv_weights.csv"), Contest(rows_of("slow_phases.csv"))
    lines = []
    for name, dose in dict.fromkeys((row["object"], row["dose"]) for row in rows if row["view"] == "dense"):
        own = [row for row in rows if (row["object"], row["view"], row["dose"]) == (name, "dense", dose)]
        chosen, best = (next(row for row in own if row[mark] == "1") for mark in ("chosen", "best"))
        above = float(chosen["phase_rmse"]) / float(best["phase_rmse"]) - 1
        cell = (name, "dense", int(dose))
        found = ((contest.values(cell, method) or tuning.values(cell, method)) for method in ("tv_ml", NETWORK))
        both = (shown(of_first_seed(values), 4) for values in found)
        shown_weights = [text for row in (chosen, best) for text in (row["level"], f"{float(row['phase_rmse']):.4f}")]
        lines.append([name, f"{int(dose):,}", *shown_weights, f"{above:.0%}", *both])
    columns = ["object", "photons / frame", "chosen", "its error", "best by the truth", "its error", "above"]
    return table([*columns, TITLES["tv_ml"], TITLES[NETWORK]], lines)


def efficiencies(contest: Contest) -> str:
    """The bound of unbiased estimates in the demo, and bound over mean squared error of the methods."""
    rows = []
    for row in rows_of("bounds.csv"):
        cell = (row["object"], row["view"], int(row["dose"]))
        photons, floor = contest.fact(cell, "photons_per_pixel"), contest.fact(cell, "phase_floor")
        bound = None if row["phase_bound"] == "singular" else float(row["phase_bound"])
        errors = [list(contest.values(cell, method).values()) for method in EFFICIENT]
        values = [(bound / statistics.mean(found)) ** 2 if bound and found else None for found in errors]
        rows.append([
            f"{cell[2]:,}", cell[1], counted(photons), row["phase_bound"] if bound else "*singular*",
            one(floor, ".4f"), *(one(value, ".3g") for value in values),
        ])  # fmt: skip
    names = (f"efficiency of {TITLES[method]}" for method in EFFICIENT)
    return table(["photons / frame", "view", "photons / px", "bound [rad]", "1/(2√n) [rad]", *names], rows)


def needed(_contest: Contest) -> str:
    """Photons per frame for a phase error of :data:`TARGET_RAD`, by object, view and method, from means over seeds."""
    every, methods = all_methods(), (*ITERATIVE, NETWORK, "pretrained")
    places = dict.fromkeys(cell[:2] for cell in CONTEST_CELLS)
    rows = [[*place, *(_photons(every, *place, method) for method in methods)] for place in places]
    return table(["object", "view", *(TITLES[method] for method in methods)], rows)


def needed_demo(_contest: Contest) -> str:
    """The same for the methods of a study in the demo."""
    every = all_methods()
    rows = [[view, *(_photons(every, "demo", view, method) for method in ANSWERED)] for view in VIEWS]
    return table(["view", *(TITLES[method] for method in ANSWERED)], rows)


def _photons(contest: Contest, name: str, view: str, method: str) -> str:
    """Photons for the error; ≈ where the mean at the highest dose is above it by less than the seeds differ."""
    by_dose = {dose: contest.values((name, view, dose), method) for dose in DOSES}
    if not all(by_dose.values()):
        return MISSING
    sign, photons = photons_for({dose: statistics.mean(v.values()) for dose, v in by_dose.items()}, TARGET_RAD)
    if not sign:
        return f"{float(f'{photons:.2g}'):,.0f}"
    if sign == ">" and min(by_dose[DOSES[-1]].values()) <= TARGET_RAD:
        sign = "≈"
    return f"{sign} {photons:,.0f}"


def saved(contest: Contest) -> str:
    """Photons with which iterative methods reach the error that the network has at 10,000, over these 10,000."""
    dose, rows = 10_000, []
    for name, view in dict.fromkeys(cell[:2] for cell in CONTEST_CELLS):
        own = contest.values((name, view, dose), NETWORK)
        line = []
        for method in ("lsqml", "tv_ml"):
            factors = []
            for seed, error in own.items():
                errors = {d: found[seed] for d in DOSES if seed in (found := contest.values((name, view, d), method))}
                factors += [photons_for(errors, error)] if len(errors) == len(DOSES) else []
            ends = [f"{sign} {photons / dose:.2g}".strip() for sign, photons in sorted(factors, key=lambda f: f[1])]
            line.append(f"{ends[0]} … {ends[-1]}" if ends else MISSING)
        rows.append([name, view, shown(own, 3), *line])
    return table(["object", "view", f"error of the network at {dose:,} [rad]", "`lsqml`", "`tv_ml`"], rows)


def other_objects(contest: Contest) -> str:
    """Objects of other kinds, dense view."""
    rows = [
        [name, f"{dose:,}", *results(contest, cell), shown(first(contest.values(cell, "uniform")), 4)]
        for name in OTHER_OBJECTS
        for dose in DOSES
        for cell in [(name, "dense", dose)]
    ]
    return table(["object", "photons / frame", *RESULT_COLUMNS, TITLES["uniform"]], rows)


def ratios(contest: Contest) -> str:
    """Geometric means of network over best iterative method by object and dose, and over all cells."""
    rows = []
    for dose in DOSES:
        groups = [[(name, view, dose) for view in VIEWS] for name in ("demo", "fly64")]
        groups += [[(name, "dense", dose)] for name in OTHER_OBJECTS]
        groups.append([cell for cell in CONTEST_CELLS if cell[2] == dose])
        rows.append([f"{dose:,}", *(shown(contest.geometric_mean(cells), 3) for cells in groups), f"{AIMS[dose]:.2f}"])
    columns = ["photons / frame", "demo, 3 views", "fly64, 3 views", *OTHER_OBJECTS, "all 9 cells", "aim, at most"]
    return table(columns, rows)


def result_of(ratio: BySeed) -> str:
    """Whether the network is ``ahead`` of the best iterative method or ``behind``, or whether it is a ``tie``.

    By the rules of the report: a paired test over the seeds, or 5 % for a single one.
    """
    logarithms = {seed: math.log(value) for seed, value in ratio.items()}
    different = difference(logarithms, dict.fromkeys(ratio, 0.0)).significant
    mean = statistics.mean(logarithms.values())
    if different is None:
        different = abs(mean) >= -math.log(1 - LEAST_DIFFERENCE)
    return ("ahead" if mean < 0 else "behind") if different else "tie"


def findings(contest: Contest) -> str:
    """A sentence for each dose on network and best iterative method, and one on the best iterative method."""
    cells = [cell for cell in CONTEST_CELLS if contest.ratio(cell)]
    lines = []
    for dose in DOSES:
        own = {cell: contest.ratio(cell) for cell in cells if cell[2] == dose}
        if not own:
            continue
        results = [result_of(ratio) for ratio in own.values()]
        means = [statistics.mean(ratio.values()) for ratio in own.values()]
        lines.append(
            f"- At {dose:,} photons per frame the network's error is {shown(contest.geometric_mean(list(own)), 3)} "
            "of the best iterative method's (geometric mean over "
            f"{len(own)} cells; {min(means):.2f} to {max(means):.2f}). "
            f"It is smaller in {results.count('ahead')} of them, larger in {results.count('behind')}, not "
            f"distinguishable in {results.count('tie')}."
        )
    if cells:
        best = [contest.best_method(cell) for cell in cells]
        count = ", ".join(f"{TITLES[method]} in {best.count(method)}" for method in ITERATIVE if method in best)
        seeds = sorted({len(contest.ratio(cell)) for cell in cells})
        lines.append(
            f"- The best iterative method of the {len(cells)} cells is {count}. "
            f"Each has {' or '.join(map(str, seeds))} seed{'' if seeds == [1] else 's'}."
        )
    return "".join(f"{line}\n" for line in lines)


def spread(contest: Contest) -> str:
    """Standard deviation between seeds in per cent of the mean, over the cells with several seeds."""

    def row(title: str, by_cell: Iterable[BySeed]) -> list[str]:
        found = [values for values in by_cell if len(values) > 1]
        percent = sorted(100 * statistics.stdev(v.values()) / statistics.mean(v.values()) for v in found)
        numbers = [f"{statistics.median(percent):.1f}", f"{percent[-1]:.1f}"] if percent else [MISSING, MISSING]
        return [title, str(len(found)), *numbers]

    rows = [
        row(TITLES[method], (contest.values(cell, method) for cell in contest.cells))
        for method in (*ITERATIVE, NETWORK)
    ]
    rows.append(row("`tv_ml` / `lsqml`", (contest.ratio(cell, "tv_ml", "lsqml") for cell in contest.cells)))
    rows.append(row("`pinn` / best iterative", map(contest.ratio, contest.cells)))
    return table(["error of", "cells", "median [%]", "largest [%]"], rows)


def minutes(_contest: Contest) -> str:
    """Processor minutes of the demo by stage, with their sum."""
    found = rows_of("minutes.csv")
    rows = [[row["stage"], *(f"{float(row[column]):.1f}" for column in ("before", "after"))] for row in found]
    total = (f"**{sum(float(row[column]) for row in found):.1f}**" for column in ("before", "after"))
    return table(["stage", "before", "after"], [*rows, ["**all**", *total]] if rows else [])


def peers(ending: str, entry: Callable[[Row | None, Row | None], str]) -> Callable[[Contest], str]:
    """Methods on the demo's dense view by dose: this project's from contest.csv, others from peers.csv.

    ``ending`` names the exported files; for those of whole pixels all methods come from peers.csv.
    ``entry`` takes the row that the counts (or the method itself) choose, and the row that the truth chooses.
    """

    def made(contest: Contest) -> str:
        found = {(row["cell"], row["method"], row["chosen_by"] == "truth"): row for row in rows_of("peers.csv")}
        cells = [f"dense_{dose}{ending}" for dose in DOSES]
        names = {method for cell, method, _ in found if cell in cells}
        rows = [
            [
                TITLES[method],
                *(shown(of_first_seed(contest.values(("demo", "dense", dose), method)), 4) for dose in DOSES),
            ]
            for method in (*ITERATIVE, NETWORK)
            if entry is peer_errors and not ending
        ]
        rows += [
            [
                TITLES.get(name, name),
                *(entry(*(found.get((cell, name, truth)) for truth in (False, True))) for cell in cells),
            ]
            for name in sorted(names, key=lambda name: (PACKAGES.index(name.split()[0]), name))
        ]
        return table(["method", *(f"{dose:,} photons" for dose in DOSES)], rows)

    return made


def detector_gaps(_contest: Contest) -> str:
    """Phase RMSE without gaps, and over it the errors with a mask and with gaps that are taken for zeros."""
    found: dict[tuple[int, str], dict[str, list[float]]] = {}
    for row in rows_of("detector_gaps.csv"):
        cell = found.setdefault((int(row["dose"]), row["method"]), {})
        cell.setdefault(row["gaps"], []).append(float(row["phase_rmse"]))
    rows = []
    for dose, method in sorted(found, key=lambda key: (key[0], list(GAP_TITLES).index(key[1]))):
        means = {gaps: statistics.mean(values) for gaps, values in found[dose, method].items()}
        changes = [one(means[gaps] / means["none"] - 1, "+.1%") for gaps in ("masked", "as_zeros")]
        whole, masked, zeros = (f"{means[gaps]:.4f}" for gaps in ("none", "masked", "as_zeros"))
        rows.append([f"{dose:,}", GAP_TITLES[method], whole, masked, changes[0], zeros, changes[1]])
    columns = ["photons / frame", "method", "no gaps", "with the mask", "change", "gaps as zeros", "change"]
    return table(columns, rows)


def peer_errors(chosen: Row | None, best: Row | None) -> str:
    """Phase RMSE, and in brackets that of the setting that only the truth can choose."""
    if chosen is None:
        return MISSING
    return chosen["phase_rmse"] + (f" ({best['phase_rmse']})" if best else "")


def peer_choices(chosen: Row | None, _best: Row | None) -> str:
    """Setting, iterations and seconds of a row."""
    if chosen is None:
        return MISSING
    setting = f"{chosen['settings']}, " if chosen["settings"] else ""
    return f"{setting}{chosen['iterations']} iterations, {float(chosen['seconds']):.1f} s"


TABLES: dict[str, Callable[[Contest], str]] = {
    "demo": nine_cells("demo"),
    "fly64": nine_cells("fly64"),
    "short": short,
    "independent": independent,
    "tv_weights": tv_weights,
    "efficiencies": efficiencies,
    "other_objects": other_objects,
    "ratios": ratios,
    "needed": needed,
    "needed_demo": needed_demo,
    "saved": saved,
    "findings": findings,
    "spread": spread,
    "minutes": minutes,
    "detector_gaps": detector_gaps,
    "gpu": gpu,
    "judge": judge,
    "null": null,
    "literature": literature,
    "literature_overlap": literature_overlap,
    "pretrained": pretrained,
    "pretrained_findings": pretrained_findings,
    "combinations": combinations,
    "short_path": short_path,
    "slow_phases": slow_phases,
    "chosen_weights": chosen_weights,
    "slow_phase_gains": gains,
    "error_scales": scales,
    "started": started,
    "pretrained_slow_phases": with_slow_phases,
    "steps": steps,
    "lsqml_settings": lsqml_settings,
    "lsqml_weights": lsqml_weights,
    "lsqml_stopping": lsqml_stopping,
    "lsqml_fly64": lsqml_fly64,
    "atlas": atlas,
    "atlas_advised": atlas_advised,
    "atlas_answer": atlas_answer,
    "atlas_kinds": atlas_kinds,
    "star": star,
    "star_resolution": star_resolution,
    "peers": peers("", peer_errors),
    "peers_whole": peers("_whole", peer_errors),
    "peers_choices": peers("", peer_choices),
    "peers_choices_whole": peers("_whole", peer_choices),
}


def regenerated(text: str, contest: Contest) -> str:
    """A document with its tables written anew. Raises KeyError for a table that does not exist."""
    return MARKED.sub(lambda match: match[1] + TABLES[match[2]](contest) + match[3], text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a table is not up to date")
    options = parser.parse_args()
    contest = Contest(rows_of("contest.csv"))
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        new = regenerated(text, contest)
        if new != text:
            if options.check:
                sys.exit(f"{path.name}: run python benchmarks/tables.py")
            path.write_text(new, encoding="utf-8")
            print(f"{path.name}: tables written")


if __name__ == "__main__":
    main()
