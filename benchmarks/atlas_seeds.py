"""Rows of the atlas for further seeds, computed in one process: objects and diffusers of their own.

The bases, frames, views, methods and scores are those of `fly64 campaign`, called one after the other without files,
engine processes and Dagster, which cost most of the time of cells as small as the atlas's. A row of seed 1 computed
here is that of the campaign to the digits of the table (--check). Seconds are those of the processor in the
reconstruction; those of the campaign are by the clock and include the start of a process.

Rows are appended to the table; cells that are in it already are not computed again. With ``--renew`` all cells of the
table are, by one method, whose rows are replaced but for their seconds.

Usage: OMP_NUM_THREADS=1 python benchmarks/atlas_seeds.py --output TABLE.csv [--seeds 2 3] [--objects ...]
       [--jobs 2] [--check N] [--renew pretrained]
"""

from __future__ import annotations

import argparse
import csv
import itertools
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import contest
import numpy as np
import torch
from cells import cell_of

from fly64_assets.engines.execution import Execution
from fly64_assets.evaluation.bound.limit import LimitProblem, UnitLimit, dose_limit
from fly64_assets.evaluation.scores.compare import SplitInput, compare_split
from fly64_assets.physics.scan import JUDGED_SPLIT
from fly64_assets.study.campaign import (
    COLUMNS,
    Campaign,
    CampaignBase,
    about_base,
    as_texts,
    load_campaign,
    method_rows,
    overlap_columns,
)

FILE = Path(__file__).parent / "atlas" / "campaign.yaml"
PACKAGED = Path(__file__).parents[1] / "fly64_assets" / "evaluation" / "atlas" / "atlas.csv"
HELD_OUT = ("texture", "cells", "circuit", "smooth")
"""Kinds that only results are for; their rows of seed 1 are the campaign's."""
OBJECTS = (*HELD_OUT, "grains")
"""Kinds of the table: those, and one on which settings were chosen."""
METHODS = {name: contest.METHODS[name][0] for name in ("lsqml", "tv_ml", "pretrained")}
TIMES = ("seconds", "training_seconds")


@dataclass(frozen=True)
class Place:
    """A cell of a base."""

    object: str
    probe: str
    seed: int
    view: str
    dose: int

    def base(self) -> CampaignBase:
        return CampaignBase(campaign(), self.object, self.probe, self.seed)

    @property
    def known_by(self) -> tuple[str, str, str]:
        return self.base().name, str(self.dose), self.view


@lru_cache(maxsize=1)
def campaign() -> Campaign:
    return load_campaign(FILE)


bounds: dict[str, UnitLimit] = {}
"""Bounds of this process by the SHA256 of their problems: they do not depend on the dose."""


def bound(problem: LimitProblem) -> UnitLimit:
    digest = problem.sha256()
    if digest not in bounds:
        bounds[digest] = dose_limit(problem)
    return bounds[digest]


def rows_of(place: Place, methods: Sequence[str] = tuple(METHODS)) -> tuple[Place, list[dict[str, Any]] | str]:
    """Rows of methods in one cell, or why there is none."""
    torch.set_num_threads(1)
    base, design = place.base(), campaign().design()
    cell = cell_of(design, place.view, place.dose, base.recipe)
    if isinstance(cell, str):
        return place, cell
    objects, seconds = {}, {}
    for name in methods:
        begin = time.process_time()
        objects[name] = METHODS[name](cell, design, design.repeat_seeds(1)["grouping"], Execution()).object
        seconds[name] = time.process_time() - begin
    compared = compare_split(
        JUDGED_SPLIT,
        cell.truth,
        SplitInput(cell.test, objects, cell.box, learned=frozenset({"pretrained"})),
        evaluation=design.evaluation,
        metrics=design.metrics_config,
        train_scan=cell.train.scan,
        limit=bound,
    )
    same = about_base(base, cell.truth) | overlap_columns(np.c_[cell.test.x, cell.test.y], cell.test.modes)
    same |= {"dose": place.dose, "view": place.view, "repeat": 1, "split": JUDGED_SPLIT, "training_seconds": None}
    rows = (same | row | {"seconds": seconds.get(row["method"])} for row in method_rows(compared.to_dict()))
    return place, [as_texts({name: row[name] for name in COLUMNS}) for row in rows]


# -- the table --------------------------------------------------------------------------------------------------------


def places(seeds: Sequence[int], objects: Sequence[str] = OBJECTS) -> Iterator[Place]:
    """Views of one dose one after the other, all doses of a base one after the other."""
    design = campaign().design()
    for seed, kind, probe in itertools.product(seeds, objects, campaign().probes):
        for dose, view in itertools.product(design.doses, design.views):
            yield Place(kind, probe, seed, view, dose)


def read(path: Path) -> dict[tuple[str, str, str], list[dict[str, str]]]:
    found: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    if path.exists():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                found.setdefault((row["base"], row["dose"], row["view"]), []).append(row)
    return found


def check(number: int) -> int:
    """Compute cells of the campaign anew and compare them with the packaged table; how many values differ."""
    packaged, wrong = read(PACKAGED), 0
    cells = list(places([1], HELD_OUT))
    chosen = [cells[round(index)] for index in np.linspace(0, len(cells) - 1, number)]
    for place in chosen:
        _, rows = rows_of(place)
        assert not isinstance(rows, str), rows
        theirs = {row["method"]: row for row in packaged[place.known_by]}
        for row, name in itertools.product(rows, [name for name in COLUMNS if name not in TIMES]):
            ours, there = "" if row[name] is None else str(row[name]), theirs[row["method"]][name]
            if ours != there:
                wrong += 1
                print(f"{' '.join(place.known_by)} {row['method']} {name}: {ours}, and {there} in the table")
        print(f"{' '.join(place.known_by)}: compared", flush=True)
    print(f"{len(chosen)} cells, {wrong} values differ")
    return wrong


def renew(path: Path, method: str, jobs: int) -> None:
    """Compute the rows of one method in all cells of a table again."""
    with path.open(newline="") as file:
        table = list(csv.DictReader(file))
    wanted = {(row["base"], row["dose"], row["view"]) for row in table if row["method"] == method}
    cells = [place for place in places(sorted({int(row["seed"]) for row in table})) if place.known_by in wanted]
    if len(cells) != len(wanted):
        sys.exit(f"{path}: {len(wanted) - len(cells)} of its {len(wanted)} cells are not of this campaign")
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        chunk = len(campaign().design().views)
        for place, rows in pool.imap_unordered(partial(rows_of, methods=(method,)), cells, chunksize=chunk):
            assert not isinstance(rows, str), f"{place.known_by}: {rows}"
            found[place.known_by] = next(row for row in rows if row["method"] == method)
            print(f"{' '.join(place.known_by)}: {found[place.known_by]['phase_rmse']}", file=sys.stderr, flush=True)
    new_path = path.with_suffix(".new")
    with new_path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in table:
            new = found[row["base"], row["dose"], row["view"]] if row["method"] == method else {}
            writer.writerow(row | {name: value for name, value in new.items() if name not in TIMES})
    new_path.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--objects", nargs="+", choices=OBJECTS, default=OBJECTS)
    parser.add_argument("--jobs", type=int, default=1, help="processes, each of one thread")
    parser.add_argument("--check", type=int, default=0, metavar="N", help="compare N cells of seed 1, and end")
    parser.add_argument("--renew", choices=METHODS, help="compute this method's rows in all cells of the table again")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if options.check:
        sys.exit(check(options.check) > 0)
    if options.output is None:
        parser.error("--output is missing")
    if options.renew:
        renew(options.output, options.renew, options.jobs)
        return
    done = read(options.output)
    missing = [place for place in places(options.seeds, options.objects) if place.known_by not in done]
    fresh = not options.output.exists()
    with options.output.open("a", newline="") as file, multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if fresh:
            writer.writeheader()
        for place, rows in pool.imap_unordered(rows_of, missing, chunksize=len(campaign().design().views)):
            name = " ".join(place.known_by)
            if isinstance(rows, str):
                print(f"{name}: {rows}", file=sys.stderr, flush=True)
                continue
            writer.writerows(rows)
            file.flush()
            errors = ", ".join(f"{row['method']} {row['phase_rmse']}" for row in rows)
            print(f"{name}: {errors}", file=sys.stderr, flush=True)
        pool.close()
        pool.join()


if __name__ == "__main__":
    main()
