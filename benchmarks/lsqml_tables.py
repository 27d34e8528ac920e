"""Tables of LSQML's settings, and of what it reaches in a study."""

import math
import statistics
from collections.abc import Sequence

from table_rows import DOSES, MISSING, VIEWS, Contest, Row, one, rows_of, shown, table

CHOSEN = "chosen"
TOTAL_VARIATION = "total variation "


def lsqml_settings(_contest: Contest) -> str:
    """Error of every variant at the epoch that it keeps over that of the chosen settings: means over the objects."""
    return _over_chosen("held_out", "variant")


def lsqml_weights(_contest: Contest) -> str:
    """The same of the results from all counts, for the weights of the total variation."""
    return _over_chosen("refit", "weight", TOTAL_VARIATION)


def lsqml_stopping(_contest: Contest) -> str:
    """Chosen settings: the epoch that is kept, the best, the last, and the result from all counts."""
    rows = [
        [
            row["object"], row["view"], f"{int(row['dose']):,}", row["held_out_epoch"], row["held_out"],
            row["best_epoch"], row["best"], row["epochs"], row["last"], row["refit"],
        ]
        for row in _rows()
        if row["variant"] == CHOSEN
    ]  # fmt: skip
    heads = ["object", "view", "photons / frame", "kept epoch", "error", "best epoch", "error", "last epoch", "error"]
    return table([*heads, "all counts"], rows)


def lsqml_fly64(contest: Contest) -> str:
    """LSQML in the cells of fly64: both errors, epochs that were kept, processor seconds."""
    rows = []
    for dose in DOSES:
        for view in VIEWS:
            cell = ("fly64", view, dose)
            numbers = [contest.values(cell, "lsqml", column) for column in ("phase_rmse", "amplitude_rmse")]
            epochs, seconds = (contest.values(cell, "lsqml", name) for name in ("epochs", "reconstruction_cpu_s"))
            ends = sorted({min(epochs.values()), max(epochs.values())}) if epochs else []
            kept = " to ".join(f"{count:.0f}" for count in ends) or MISSING
            mean = statistics.mean(seconds.values()) if seconds else None
            rows.append([view, f"{dose:,}", *(shown(values, 4) for values in numbers), kept, one(mean, ".0f")])
    heads = ["phase RMSE [rad]", "amplitude RMSE", "epochs", "processor seconds"]
    return table(["view", "photons / frame", *heads], rows)


def _rows() -> list[Row]:
    order = {(view, str(dose)): (dose, VIEWS.index(view)) for view in VIEWS for dose in DOSES}
    return sorted(rows_of("lsqml_settings.csv"), key=lambda row: order[row["view"], row["dose"]])


def _over_chosen(column: str, head: str, beginning: str = "") -> str:
    rows = [row for row in _rows() if row[column]]
    errors = {(row["object"], row["view"], row["dose"], row["variant"]): float(row[column]) for row in rows}
    objects = list(dict.fromkeys(row["object"] for row in rows))
    cells = list(dict.fromkeys((row["view"], row["dose"]) for row in rows))
    variants = [name for name in dict.fromkeys(row["variant"] for row in rows) if name.startswith(beginning)]

    def cell(variant: str, place: Sequence[str]) -> str:
        pairs = [(errors.get((name, *place, variant)), errors.get((name, *place, CHOSEN))) for name in objects]
        ratios = [math.log(own / peer) for own, peer in pairs if own and peer]
        return f"{math.exp(statistics.mean(ratios)):.2f}" if ratios and len(ratios) == len(objects) else ""

    heads = [f"{view} {int(dose):.0e}".replace("e+0", "e") for view, dose in cells]
    lines = ([name.removeprefix(beginning), *(cell(name, place) for place in cells)] for name in variants)
    return table([head, *heads], lines)
