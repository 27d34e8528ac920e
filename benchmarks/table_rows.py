"""Rows of the result files, and how their numbers are written in a table: what all tables of :mod:`tables` share."""

import csv
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "explanation" / "results"
MISSING = "–"

ITERATIVE = ("lsqml", "lsqml_tv", "tv_ml")
NETWORK = "pinn"
TITLES = {
    "lsqml": "`lsqml`", "lsqml_tv": "`lsqml` with TV", "tv_ml": "`tv_ml`", "pinn": "`pinn`",
    "uniform": "uniform object", "pretrained": "`pretrained`",
}  # fmt: skip
GAP_TITLES = TITLES | {"lsqml_poisson": "`lsqml`, Poisson noise", "cnn": "`cnn`"}
"""Methods of detector_gaps.csv, in the order of its table, which has no uniform object."""
PACKAGES = (*ITERATIVE, NETWORK, "pty-chi", "PtyPy", "cdtools")
"""First words of the methods in peers.csv, in the order of its tables."""
VIEWS = ("baseline", "dense", "sparse")
DOSES = (1_000, 10_000, 100_000)
OTHER_OBJECTS = ("slow", "particles", "texture")
CONTEST_CELLS = tuple(
    (name, view, dose)
    for name, views in (("demo", VIEWS), ("fly64", VIEWS), *((name, ("dense",)) for name in OTHER_OBJECTS))
    for view in views
    for dose in DOSES
)
"""All cells of the contest."""
AIMS = {1_000: 0.85, 10_000: 0.95, 100_000: 1.0}
"""Network over best iterative method that the project aims at, geometric mean over all objects."""

TARGET_RAD = 0.1
"""Phase error for which the tables say how many photons it takes."""

EFFICIENT = ("pinn", "lsqml", "tv_ml")
"""Methods whose errors are shown beside photons and bounds."""
ANSWERED = ("pinn", "lsqml", "tv_ml", "pretrained")
"""Methods of a study, whose photons for :data:`TARGET_RAD` are shown."""

Cell = tuple[str, str, int]
"""Object, view, photons per frame."""
BySeed = dict[int, float]
Row = dict[str, str]


def rows_of(name: str) -> list[Row]:
    """Rows of a CSV file; none where it does not exist."""
    path = RESULTS / name
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def all_methods() -> "Contest":
    """The contest, and beside its methods the network that is trained once."""
    once = [row for row in rows_of("pretrained.csv") if row["method"] == "pretrained"]
    return Contest([*rows_of("contest.csv"), *once])


class Contest:
    """The rows of contest.csv, by cell, method and seed."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = {
            (row["object"], row["view"], int(row["dose"]), row["method"], int(row["seed"])): row for row in rows
        }

    def values(self, cell: Cell, method: str, column: str = "phase_rmse") -> BySeed:
        """A column by seed."""
        return {key[4]: float(row[column]) for key, row in self._rows.items() if key[:4] == (*cell, method)}

    @property
    def cells(self) -> list[Cell]:
        """All cells, in the order of the file."""
        return list(dict.fromkeys(key[:3] for key in self._rows))

    def fact(self, cell: Cell, column: str) -> float | None:
        """A column that is the same for every method and seed."""
        return next((float(row[column]) for key, row in self._rows.items() if key[:3] == cell), None)

    def best_method(self, cell: Cell) -> str:
        """The iterative method with the smallest mean error; an empty text where there is none."""
        found = {method: values for method in ITERATIVE if (values := self.values(cell, method))}
        return min(found, key=lambda method: statistics.mean(found[method].values()), default="")

    def ratio(self, cell: Cell, method: str = NETWORK, other: str = "") -> BySeed:
        """The error of a method over that of another, by default the best iterative one, for the seeds of both."""
        own, peer = self.values(cell, method), self.values(cell, other or self.best_method(cell))
        return {seed: own[seed] / peer[seed] for seed in sorted(own.keys() & peer.keys())}

    def geometric_mean(self, cells: Sequence[Cell]) -> BySeed:
        """Geometric mean over cells of network over best iterative method, for the seeds that all of them have."""
        ratios = [self.ratio(cell) for cell in cells]
        seeds = sorted(set.intersection(*(set(ratio) for ratio in ratios)))
        return {seed: math.exp(statistics.mean(math.log(ratio[seed]) for ratio in ratios)) for seed in seeds}


def shown(values: BySeed, digits: int) -> str:
    """Mean ± standard deviation; without one for a single seed."""
    if not values:
        return MISSING
    mean = f"{statistics.mean(values.values()):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values.values()):.{digits}f}" if len(values) > 1 else mean


def first(values: BySeed) -> BySeed:
    """The value of one seed: a uniform object is the same for all."""
    return dict(list(values.items())[:1])


def of_first_seed(values: BySeed) -> BySeed:
    """Those of the study itself, whose frames others have reconstructed too."""
    return {seed: value for seed, value in values.items() if seed == 1}


def one(value: float | None, text: str) -> str:
    return MISSING if value is None else format(value, text)


def counted(photons: float | None) -> str:
    """Three digits, whole numbers from 100 on."""
    return one(photons, ",.0f" if photons and photons >= 100 else ".3g")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head, *body = ("| " + " | ".join(line) + " |\n" for line in (columns, *rows))
    return "".join([head, "|" + "---|" * len(columns) + "\n", *body])
