"""Rows of the atlas for further seeds, computed in one process: objects and diffusers of their own.

The bases, frames, views, methods and scores are those of `fly64 campaign`, called one after the other without files,
engine processes and Dagster, which cost most of the time of cells as small as the atlas's. A row of seed 1 computed
here is that of the campaign to the digits of the table (--check). Seconds are those of the processor in the
reconstruction; those of the campaign are by the clock and include the start of a process.

Cells that are in the file already are not computed again.

Usage: OMP_NUM_THREADS=1 python benchmarks/atlas/seeds.py --output TABLE.csv [--seeds 2 3] [--objects ...]
       [--jobs 2] [--check N]
"""

from __future__ import annotations

import argparse
import csv
import itertools
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fly64_assets.contract.schema import Base, Dataset
from fly64_assets.engines.execution import Execution, torch_settings
from fly64_assets.evaluation.bound.limit import LimitProblem, UnitLimit, dose_limit
from fly64_assets.evaluation.scores.compare import TRUTH, SplitComparison, SplitInput, compare_split
from fly64_assets.evaluation.scores.region import scan_box
from fly64_assets.lsqml import engine
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.probe_overlap import probe_overlap
from fly64_assets.physics.scan import JUDGED_SPLIT, SPLITS
from fly64_assets.pinn.pretrained.files import general_network
from fly64_assets.pinn.pretrained.inference import reconstruct as apply_pretrained
from fly64_assets.simulation.frames import simulate, split_metadata
from fly64_assets.simulation.objects.describing import describe_object
from fly64_assets.simulation.objects.kinds import TUNABLE
from fly64_assets.simulation.objects.making import generated_base
from fly64_assets.simulation.views import exposure, split_view
from fly64_assets.study.campaign import COLUMNS, CampaignBase, load_campaign
from fly64_assets.study.design import StudyDesign
from fly64_assets.tv_ml import solver

FILE = Path(__file__).with_name("campaign.yaml")
PACKAGED = Path(__file__).resolve().parents[2] / "fly64_assets" / "evaluation" / "atlas" / "atlas.csv"
OBJECTS = ("texture", "cells", "circuit", "smooth", "grains")
"""Kinds of the table: four that only results are for, and one on which settings were chosen."""
COMPARED = ("frames", "photons_per_pixel", "linear_overlap", "covered_fraction", "phase_rmse", "phase_frc_half_bit")
"""Columns in which --check compares rows of both ways."""


def silent(*_: object) -> None:
    """A progress that nobody reads."""


# -- one cell ---------------------------------------------------------------------------------------------------------


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
def campaign() -> Any:
    return load_campaign(FILE)


@lru_cache(maxsize=1)
def design() -> StudyDesign:
    return campaign().design()


@lru_cache(maxsize=1)
def base_of(base: CampaignBase) -> Base:
    return generated_base(base.recipe, design().patch_size_pixels, base.name)


@lru_cache(maxsize=1)
def data_sets(base: CampaignBase, dose: int) -> dict[str, Dataset]:
    """Both halves of the full scan at one dose."""
    made, settings = base_of(base), design()
    scan = simulate(
        made,
        dose=dose,
        scan=settings.scan,
        axis=settings.train_test_split_axis,
        seed=settings.rng_seeds["simulation"],
        repeat=settings.repeat_seed(1),
    )
    found = {}
    for split in SPLITS:
        index = scan.halves[split]
        frames = np.concatenate(list(scan.amplitude_blocks(split)))
        metadata = split_metadata(scan, split, patches=False, base_name=base.name, base_sha256="", parameters_sha256="")
        x, y = scan.positions.x[index], scan.positions.y[index]
        found[split] = Dataset(frames, made.object, made.probe, x, y, index, None, metadata)
    return found


def measured(place: Place, split: str) -> Measurement | str:
    """What the methods get of one half of a cell, or why the cell does not exist."""
    data, settings = data_sets(place.base(), place.dose)[split], design()
    rule = settings.view_rule(place.view)
    view = split_view(data, rule, place.dose, split)
    if view.skipped:
        return view.reason
    kept = view.kept
    exposed = exposure(data, rule, kept, dose=place.dose, seed=settings.rng_seeds["simulation"], repeat=1)
    frames = data.diffraction[kept] if exposed is None else np.concatenate(list(exposed.amplitude_blocks(data, kept)))
    scale = data.intensity_scale if exposed is None else exposed.scale
    x, y, index = data.x[kept], data.y[kept], data.scan_index[kept]
    return Measurement(frames, scale, data.probe, x, y, data.object.shape, index)


def lsqml(m: Measurement, seed: int) -> np.ndarray:
    return engine.reconstruct(m, design().lsqml, Execution(), seed, silent).object


def tv_ml(m: Measurement, seed: int) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        return solver.reconstruct(m, design().tv_ml, Execution(), seed, silent, scratch=Path(folder)).object


def pretrained(m: Measurement, _seed: int) -> np.ndarray:
    with torch_settings(Execution()):
        return apply_pretrained(network(), m, "cpu").object


network = lru_cache(maxsize=1)(general_network)
METHODS: dict[str, Callable[[Measurement, int], np.ndarray]] = {
    "lsqml": lsqml,
    "tv_ml": tv_ml,
    "pretrained": pretrained,
}


bounds: dict[str, UnitLimit] = {}
"""Bounds of this process by the SHA256 of their problems: they do not depend on the dose."""


def bound(problem: LimitProblem) -> UnitLimit:
    digest = problem.sha256()
    if digest not in bounds:
        bounds[digest] = dose_limit(problem)
    return bounds[digest]


def rows_of(place: Place) -> tuple[Place, list[dict[str, Any]] | str]:
    """Rows of all methods in one cell, or why there is none."""
    torch.set_num_threads(1)
    base, settings = place.base(), design()
    halves = {split: measured(place, split) for split in SPLITS}
    test, train = halves[JUDGED_SPLIT], halves["train"]
    if isinstance(test, str):
        return place, test
    seed = settings.repeat_seeds(1)["grouping"]
    objects: dict[str, np.ndarray | str] = {}
    seconds: dict[str, float] = {}
    for name, method in METHODS.items():
        begin = time.process_time()
        objects[name] = method(test, seed)
        seconds[name] = time.process_time() - begin
    truth, whole = base_of(base).object, data_sets(base, place.dose)[JUDGED_SPLIT]
    compared = compare_split(
        JUDGED_SPLIT,
        truth,
        SplitInput(test, objects, scan_box(whole.scan), learned=frozenset({"pretrained"})),
        evaluation=settings.evaluation,
        metrics=settings.metrics_config,
        train_scan=None if isinstance(train, str) else train.scan,
        limit=bound,
    )
    return place, list(table_rows(place, test, compared, seconds))


def table_rows(
    place: Place, test: Measurement, compared: SplitComparison, seconds: dict[str, float]
) -> Iterator[dict[str, Any]]:
    base, found = place.base(), probe_overlap(np.c_[test.x, test.y], test.modes)
    assert found is not None
    assert found.windows is not None
    disc, document = found.of("half_energy"), compared.to_dict()
    values = {(row.method, row.part, row.metric): row.value for row in compared.rows}
    about = {
        "base": base.name,
        "object": base.object,
        "probe": base.probe,
        "seed": base.seed,
        "tunable": base.object in TUNABLE,
        **vars(describe_object(base_of(base).object)),
        "dose": place.dose,
        "view": place.view,
        "repeat": 1,
        "split": JUDGED_SPLIT,
        "frames": document["photons"]["frames"],
        "photons_per_pixel": document["photons"]["photons_per_pixel"],
        "probe_diameter_px": disc.diameter_px,
        "linear_overlap": disc.linear.nearest,
        "linear_overlap_low": disc.linear.nearest_low,
        "area_overlap_six": disc.area.six,
        "window_overlap": found.windows.nearest,
        "covered_fraction": document["region"]["covered_fraction"],
        "phase_floor": document["photons"]["phase_floor_rad"],
    }
    for method, result in document["arms"].items():
        if method == TRUTH:
            continue
        row = about | {
            "method": method,
            "phase_rmse": values.get((method, "phase", "rmse")),
            "amplitude_rmse": values.get((method, "amplitude", "rmse")),
            "phase_frc_half_bit": values.get((method, "phase", "frc_half_bit")),
            "efficiency": values.get((method, "phase", "efficiency")),
            "seconds": seconds.get(method),
            "training_seconds": None,
            "outcome": result["outcome"],
            "reason": result["reason"],
        }
        yield {name: as_text(row[name]) for name in COLUMNS}


def as_text(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


# -- the table --------------------------------------------------------------------------------------------------------


def places(seeds: Sequence[int], objects: Sequence[str] = OBJECTS) -> Iterator[Place]:
    """Views of one dose one after the other, all doses of a base one after the other."""
    settings, file = design(), campaign()
    for seed, kind, probe in itertools.product(seeds, objects, file.probes):
        for dose, view in itertools.product(settings.doses, settings.views):
            yield Place(kind, probe, seed, view, dose)


def read(path: Path) -> dict[tuple[str, str, str], list[dict[str, str]]]:
    found: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    if path.exists():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                found.setdefault((row["base"], row["dose"], row["view"]), []).append(row)
    return found


def check(number: int) -> int:
    """Compute cells of seed 1 anew and compare them with the packaged table; how many values differ."""
    packaged, wrong = read(PACKAGED), 0
    cells = [place for place in places([1]) if place.known_by in packaged]
    for place in cells[3 :: len(cells) // number + 1]:
        _, rows = rows_of(place)
        assert not isinstance(rows, str), rows
        theirs = {row["method"]: row for row in packaged[place.known_by]}
        for row in rows:
            for name in COMPARED:
                ours, there = str("" if row[name] is None else row[name]), theirs[row["method"]][name]
                if ours != there:
                    wrong += 1
                    print(f"{' '.join(place.known_by)} {row['method']} {name}: {ours}, and {there} in the table")
        print(f"{' '.join(place.known_by)}: compared", flush=True)
    print(f"{number} cells, {wrong} values differ")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--objects", nargs="+", choices=OBJECTS, default=OBJECTS)
    parser.add_argument("--jobs", type=int, default=1, help="processes, each of one thread")
    parser.add_argument("--check", type=int, default=0, metavar="N", help="compare N cells of seed 1, and end")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if options.check:
        sys.exit(check(options.check) > 0)
    if options.output is None:
        parser.error("--output is missing")
    done = read(options.output)
    todo = [place for place in places(options.seeds, options.objects) if place.known_by not in done]
    fresh = not options.output.exists()
    with options.output.open("a", newline="") as file, multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if fresh:
            writer.writeheader()
        for place, rows in pool.imap_unordered(rows_of, todo, chunksize=len(design().views)):
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
