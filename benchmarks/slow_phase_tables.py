"""Table of what slow phases give: ``tv_ml`` and ``pinn`` with and without them."""

import statistics

from table_rows import NETWORK, VIEWS, BySeed, Cell, Contest, one, rows_of, shown, table

WITH = {"tv_ml": "tv_ml_slow_phases", NETWORK: "pinn_slow_phases"}
"""Methods of slow_phases.csv, by the method that they change."""


def slow_phases(contest: Contest) -> str:
    """Every cell of slow_phases.csv: errors with and without, and their ratio over the seeds of both."""
    found = Contest(rows_of("slow_phases.csv"))
    lines = []
    names = list(dict.fromkeys(name for name, *_ in found.cells))
    for cell in sorted(found.cells, key=lambda cell: (names.index(cell[0]), VIEWS.index(cell[1]), cell[2])):
        name, view, dose = cell
        line = [name, view, f"{dose:,}"]
        for method, changed in WITH.items():
            own, same = found.values(cell, changed), _without(contest, found, cell, method)
            seeds = own.keys() & same.keys()
            own, same = ({seed: values[seed] for seed in sorted(seeds)} for values in (own, same))
            ratio = statistics.mean(own.values()) / statistics.mean(same.values()) if same else None
            line += [shown(same, 4), shown(own, 4), one(ratio, ".2f")]
        lines.append(line)
    return table(
        [
            "object", "view", "photons / frame", "`tv_ml`", "`tv_ml`, `slow_phases: true`", "with / without",
            "`pinn`", "`pinn`, `start: slow_phases`", "with / without",
        ],
        lines,
    )  # fmt: skip


def _without(contest: Contest, found: Contest, cell: Cell, method: str) -> BySeed:
    """Errors of a method as it is: from the contest, the same file or, of the network, short_path.csv."""
    if values := contest.values(cell, method) or found.values(cell, method):
        return values
    name, _view, dose = cell
    place = {"object": name, "dose": str(dose), "start": "likelihood", "steps": "48"}
    return {
        int(row["seed"]): float(row["phase_rmse"])
        for row in rows_of("short_path.csv")
        if method == NETWORK and cell[1] == "dense" and place.items() <= row.items()
    }
