"""Tables of the network that is trained once: its errors and seconds beside those of the iterative methods."""

import math
import statistics
from collections.abc import Iterable

from table_rows import DOSES, ITERATIVE, NETWORK, BySeed, Cell, Contest, first, one, rows_of, shown, table

PRETRAINED, ADDED, STARTED = "pretrained", "pretrained_slow_phases", "pinn_pretrained"
SECONDS = "reconstruction_cpu_s"
PARTS = ("part_by_counts", "part_by_truth")
"""Columns of combinations.csv that are no errors."""


def pretrained(contest: Contest) -> str:
    """Every cell of pretrained.csv: errors, and processor seconds beside those of LSQML in the same run."""
    found = Contest(rows_of("pretrained.csv"))
    rows = []
    for cell in found.cells:
        name, view, dose = cell
        seconds, solver = _seconds(found, cell, PRETRAINED), _seconds(found, cell, "lsqml")
        errors = (found.values(cell, "lsqml"), first(contest.values(cell, "uniform")), found.values(cell, PRETRAINED))
        faster = solver / seconds if solver and seconds else None
        numbers = [
            one(_ratio(contest, found, cell), ".2f"),
            shown(found.values(cell, "lsqml", SECONDS), 1),
            shown(found.values(cell, PRETRAINED, SECONDS), 2),
            one(faster, ".1f"),
        ]
        rows.append([name, view, f"{dose:,}", *(shown(values, 4) for values in errors), *numbers])
    return table(
        [
            "object", "view", "photons / frame", "`lsqml`", "uniform object", "`pretrained`",
            "`pretrained` / best iterative", "`lsqml` [s]", "`pretrained` [s]", "times faster",
        ],
        rows,
    )  # fmt: skip


def with_slow_phases(contest: Contest) -> str:
    """Cells of pretrained.csv without and with slow phases, and geometric means over them by dose."""
    found = Contest(rows_of("pretrained.csv"))
    rows: list[list[str]] = []
    ratios: dict[int, list[tuple[float, ...]]] = {}
    for cell in found.cells:
        without, own = found.values(cell, PRETRAINED), found.values(cell, ADDED)
        over = [_ratio(contest, found, cell, method) for method in (PRETRAINED, ADDED)]
        if not own or not without or None in over:
            continue
        changed = statistics.mean(own.values()) / statistics.mean(without.values())
        numbers = (changed, *(ratio for ratio in over if ratio is not None))
        ratios.setdefault(cell[2], []).append(numbers)
        name, view, dose = cell
        rows.append([
            name, view, f"{dose:,}", shown(without, 4), shown(own, 4), *(f"{number:.2f}" for number in numbers),
            shown(found.values(cell, PRETRAINED, SECONDS), 2), shown(found.values(cell, ADDED, SECONDS), 2),
        ])  # fmt: skip
    for dose, values in ratios.items():
        means = [math.exp(statistics.mean(map(math.log, column))) for column in zip(*values, strict=True)]
        rows.append([f"all {len(values)}", "", f"{dose:,}", "", "", *(f"**{mean:.2f}**" for mean in means), "", ""])
    return table(
        [
            "object", "view", "photons / frame", "without", "with", "with / without", "without / best iterative",
            "with / best iterative", "without [s]", "with [s]",
        ],
        rows,
    )  # fmt: skip


def started(contest: Contest) -> str:
    """Cells of pretrained.csv in which the network of a cell started from the object of the one trained once."""
    found = Contest(rows_of("pretrained.csv"))
    rows: list[list[str]] = []
    ratios: dict[int, list[tuple[float, float]]] = {}
    for cell in found.cells:
        own = found.values(cell, STARTED)
        if not own:
            continue
        name, view, dose = cell
        other, ratio = contest.values(cell, NETWORK), _ratio(contest, found, cell, STARTED)
        same = _of_seeds(other, own)
        against = statistics.mean(own.values()) / statistics.mean(same.values()) if same else None
        if ratio is not None and against is not None:
            ratios.setdefault(dose, []).append((against, ratio))
        errors = (found.values(cell, PRETRAINED), other, own)
        rows.append(
            [name, view, f"{dose:,}", *(shown(values, 4) for values in errors), one(against, ".2f"), one(ratio, ".2f")]
        )
    for dose, values in ratios.items():
        means = [math.exp(statistics.mean(map(math.log, column))) for column in zip(*values, strict=True)]
        rows.append([f"all {len(values)}", "", f"{dose:,}", "", "", "", *(f"**{mean:.2f}**" for mean in means)])
    return table(
        [
            "object", "view", "photons / frame", "`pretrained`", "`pinn`", "`pinn`, `start: pretrained`",
            "with / without", "with / best iterative",
        ],
        rows,
    )  # fmt: skip


def short_path(_contest: Contest) -> str:
    """Error of the network of a cell against the likelihood steps at each weight, and mean processor seconds."""
    rows = [row for row in rows_of("short_path.csv") if row["seed"] == "1"]
    steps = sorted({int(row["steps"]) for row in rows if row["start"] == "pretrained"})
    arms = [(start, str(count)) for start in ("likelihood", "pretrained") for count in steps]
    places = list(dict.fromkeys((row["object"], row["dose"]) for row in rows))
    values = {(row["object"], row["dose"], row["start"], row["steps"]): row for row in rows}
    places = [place for place in places if all((*place, *arm) in values for arm in arms)]
    lines = [
        [name, f"{int(dose):,}", *(f"{float(values[name, dose, *arm]['phase_rmse']):.4f}" for arm in arms)]
        for name, dose in places
    ]
    seconds = (statistics.mean(float(values[*place, *arm]["seconds"]) for place in places) for arm in arms)
    if places:
        lines.append(["processor seconds, mean", "", *(f"{value:.0f}" for value in seconds)])
    heads = [f"{count} steps{', `start: pretrained`' if start == 'pretrained' else ''}" for start, count in arms]
    return table(["object", "photons / frame", *heads], lines)


def steps(_contest: Contest) -> str:
    """Error of the network of a cell with twice the likelihood steps over that with the default, seed by seed."""
    default, more = "48", "96"
    values = {
        (row["object"], row["dose"], row["steps"], row["seed"]): row
        for row in rows_of("short_path.csv")
        if row["start"] == "likelihood"
    }
    lines, by_dose = [], dict[str, list[tuple[float, float]]]()
    for name, dose in dict.fromkeys(place[:2] for place in values):
        seeds = [seed for *place, count, seed in values if (*place, count) == (name, dose, more)]
        pairs = [(values.get((name, dose, default, seed)), values[name, dose, more, seed]) for seed in seeds]
        both = [(float(one["phase_rmse"]), float(two["phase_rmse"])) for one, two in pairs if one]
        if not both:
            continue
        ratios = [two / one for one, two in both]
        longer = [float(two["seconds"]) / float(one["seconds"]) for one, two in pairs if one]
        by_dose.setdefault(dose, []).append((geometric(ratios), geometric(longer)))
        errors = [shown(dict(enumerate(column)), 4) for column in zip(*both, strict=True)]
        apart = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
        lines.append(
            [
                name,
                f"{int(dose):,}",
                str(len(both)),
                *errors,
                f"{geometric(ratios):.3f}{apart}",
                f"{geometric(longer):.1f}",
            ]
        )
    for dose, pairs in by_dose.items():
        error, seconds = (geometric(column) for column in zip(*pairs, strict=True))
        lines.append([f"all {len(pairs)}", f"{int(dose):,}", "", "", "", f"**{error:.3f}**", f"**{seconds:.1f}**"])
    return table(
        [
            "object",
            "photons / frame",
            "seeds",
            f"{default} steps",
            f"{more} steps",
            "error, times",
            "processor seconds, times",
        ],
        lines,
    )


def geometric(values: Iterable[float]) -> float:
    return math.exp(statistics.mean(map(math.log, values)))


def combinations(_contest: Contest) -> str:
    """Geometric means of the errors over the likelihood's by dose, and means of the parts of the pretrained object."""
    rows = rows_of("combinations.csv")
    names = [name for name in (rows[0] if rows else {}) if name not in ("object", "view", "dose", "seed", *PARTS)]
    lines = []
    for dose in dict.fromkeys(row["dose"] for row in rows):
        own = [row for row in rows if row["dose"] == dose]
        ratios = ([float(row[name]) / float(row[names[0]]) for name in names] for row in own)
        means = (math.exp(statistics.mean(map(math.log, column))) for column in zip(*ratios, strict=True))
        parts = (statistics.mean(float(row[part]) for row in own) for part in PARTS)
        numbers = (f"{number:.2f}" for number in (*means, *parts))
        lines.append([f"{int(dose):,}", f"{len(own)}", *numbers])
    return table(["photons / frame", "rows", *names, "mean part by counts", "by the truth"], lines)


def pretrained_findings(contest: Contest) -> str:
    """Sentences: errors by dose over all objects, and speed over the demo."""
    found = Contest(rows_of("pretrained.csv"))
    lines = []
    for dose in DOSES:
        cells = [cell for cell in found.cells if cell[2] == dose]
        ratios = [ratio for cell in cells if (ratio := _ratio(contest, found, cell)) is not None]
        if ratios:
            mean = math.exp(statistics.mean(math.log(ratio) for ratio in ratios))
            lines.append(
                f"- At {dose:,} photons per frame its error is {mean:.2f} of the best iterative method's (geometric "
                f"mean over {len(ratios)} cells; {min(ratios):.2f} to {max(ratios):.2f})."
            )
    demo = [cell for cell in found.cells if cell[0] == "demo"]
    speeds = {
        cell: solver / own
        for cell in demo
        if (solver := _seconds(found, cell, "lsqml")) and (own := _seconds(found, cell, PRETRAINED))
    }
    if speeds:
        means = {
            cell: [statistics.mean(found.values(cell, method).values()) for method in (PRETRAINED, "lsqml")]
            for cell in speeds
        }
        better = sum(own <= solver for own, solver in means.values())
        many = sum(speed >= 10 for speed in speeds.values())
        lines.append(
            f"- On the demo it is {min(speeds.values()):.1f} to {max(speeds.values()):.0f} times faster than `lsqml` "
            f"to its stop, ten times or more in {many} of {len(speeds)} cells, at no larger error in {better}."
        )
    return "".join(f"{line}\n" for line in lines)


def _ratio(contest: Contest, found: Contest, cell: Cell, method: str = PRETRAINED) -> float | None:
    """Mean error over that of the iterative method with the smallest mean, over the seeds that the method has."""
    own = found.values(cell, method)
    known = (_of_seeds(contest.values(cell, name), own) for name in ITERATIVE)
    errors = [statistics.mean(values.values()) for values in known if values]
    return statistics.mean(own.values()) / min(errors) if errors and own else None


def _of_seeds(values: BySeed, others: BySeed) -> BySeed:
    """Those of the seeds that the others have."""
    return {seed: value for seed, value in values.items() if seed in others}


def _seconds(found: Contest, cell: Cell, method: str) -> float | None:
    values = found.values(cell, method, SECONDS)
    return statistics.mean(values.values()) if values else None
