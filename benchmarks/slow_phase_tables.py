"""Tables of what slow phases give: ``tv_ml`` and ``pinn`` with and without them, and the weights that counts choose."""

import statistics

from objects import PICTURES, TUNING
from table_rows import CONTEST_CELLS, DOSES, NETWORK, TITLES, VIEWS, BySeed, Cell, Contest, one, rows_of, shown, table

METHODS = ("tv_ml", NETWORK)
PLACE = ("method", "object", "view", "dose", "frames_per_cosine")
TUNING_CELLS = tuple(
    (name, view, dose) for name in TUNING for view in (VIEWS if name in PICTURES else ("dense",)) for dose in DOSES
)
"""Cells of the tuning objects; those made of pictures have three views."""


def slow_phases(contest: Contest) -> str:
    """Errors with and without slow phases, and their ratio over the seeds of both, in every cell that has both."""
    beside, lines = Contest(rows_of("slow_phases.csv")), []
    for cell in (*CONTEST_CELLS, *TUNING_CELLS):
        line = [cell[0], cell[1], f"{cell[2]:,}"]
        for method in METHODS:
            own, same = _with(contest, beside, cell, method), _without(beside, cell, method)
            own, same = ({seed: values[seed] for seed in sorted(own.keys() & same.keys())} for values in (own, same))
            ratio = statistics.mean(own.values()) / statistics.mean(same.values()) if same else None
            line += [shown(same, 4), shown(own, 4), one(ratio, ".2f")]
        lines.append(line)
    columns = (
        column for method in METHODS for column in (f"{TITLES[method]} without", TITLES[method], "with / without")
    )
    return table(["object", "view", "photons / frame", *columns], lines)


def chosen_weights(contest: Contest) -> str:
    """The weight that counts choose on the two pictures, and how far its error is above that of the best weight."""
    rows, beside, lines = rows_of("tv_weights.csv"), Contest(rows_of("slow_phases.csv")), []
    for cell in (cell for cell in TUNING_CELLS if cell[0] in PICTURES):
        own = [row for row in rows if (row["object"], row["view"], int(row["dose"])) == cell]
        chosen, best = (next(row for row in own if row[mark] == "1") for mark in ("chosen", "best"))
        least, error = float(best["phase_rmse"]), float(chosen["phase_rmse"])
        (added,) = _with(contest, beside, cell, "tv_ml").values()
        lines.append([
            cell[0], cell[1], f"{cell[2]:,}", chosen["level"], f"{error:.4f}", f"{error / least - 1:.1%}",
            f"{added:.4f}", f"{added / least - 1:.1%}",
        ])  # fmt: skip
    return table(
        [
            "object", "view", "photons / frame", "chosen weight", "its error", "above the best weight's",
            "`tv_ml`, with slow phases", "above the best weight's without",
        ],
        lines,
    )  # fmt: skip


def gains(_contest: Contest) -> str:
    """By cell of the tuning objects: the least and largest gain of all seeds, and the ratio of the errors."""
    lines = []
    rows = rows_of("slow_phase_gains.csv")
    for place in dict.fromkeys(tuple(row[name] for name in PLACE) for row in rows):
        own = [row for row in rows if tuple(row[name] for name in PLACE) == place]
        gained = sorted(float(row["gain_per_cosine"]) for row in own)
        ratios = sorted(float(row["phase_rmse_added"]) / float(row["phase_rmse"]) for row in own)
        spans = (f"{values[0]:.2f} to {values[-1]:.2f}" for values in (gained, ratios))
        method, name, view, dose, frames = place
        lines.append([f"`{method}`", name, view, f"{int(dose):,}", frames, *spans])
    columns = ("method", "object", "view", "photons / frame", "frames per cosine")
    return table([*columns, "gain per cosine [nats]", "error with / without"], lines)


def scales(_contest: Contest) -> str:
    """The slow part of the error of ``tv_ml``, and what a search leaves of it where no details are missing."""
    columns = {
        "phase_rmse": "error", "fast": "fast part", "slow": "slow part", "slow_before": "before slow phases",
        "slow_true_details": "true details", "slow_from_truth": "from the truth",
    }  # fmt: skip
    lines = [
        [row["object"], f"{int(row['dose']):,}", *(f"{float(row[name]):.4f}" for name in columns)]
        for row in rows_of("error_scales.csv")
    ]
    return table(["object", "photons / frame", *columns.values()], lines)


def _with(contest: Contest, beside: Contest, cell: Cell, method: str) -> BySeed:
    """Errors of a method as it is: from the contest, or of a tuning object."""
    return contest.values(cell, method) or beside.values(cell, method)


def _without(beside: Contest, cell: Cell, method: str) -> BySeed:
    """Errors without slow phases; of the network on tuning objects, from short_path.csv."""
    if values := beside.values(cell, f"{method}_without_slow_phases"):
        return values
    name, view, dose = cell
    place = {"object": name, "dose": str(dose), "start": "likelihood", "steps": "48"}
    return {
        int(row["seed"]): float(row["phase_rmse"])
        for row in rows_of("short_path.csv")
        if method == NETWORK and view == "dense" and place.items() <= row.items()
    }
