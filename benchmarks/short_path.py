"""How many likelihood steps the network of a cell needs: its error against ``pinn.level_iterations``.

On objects that settings may be chosen on, dense view, with and without ``start: pretrained``. A seed changes the noise
and the training. Seconds are those of the processor, for training and reconstruction together. Rows that the file has
are not measured again.

Usage: OMP_NUM_THREADS=1 python benchmarks/short_path.py [--objects tune_particles ...] [--doses 1e3 1e4]
       [--starts likelihood pretrained] [--steps 12 48 96] [--seeds 1 2 3] [--output FILE.csv]
"""

import argparse
import csv
import itertools
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from cells import Cell, cell_of, design_of, errors, repeat_of, silent
from objects import TUNING

from fly64_assets.engines.execution import Execution
from fly64_assets.pinn.bundle import Bundle
from fly64_assets.pinn.inference import reconstruct
from fly64_assets.pinn.training import train
from fly64_assets.study.design import StudyDesign

RESULTS = Path(__file__).parents[1] / "docs" / "explanation" / "results" / "short_path.csv"
PLACE = ("object", "dose", "start", "steps", "seed")
COLUMNS = (*PLACE, "phase_rmse", "seconds")


def measured(design: StudyDesign, cell: Cell, start: str, steps: int) -> dict[str, str]:
    settings = replace(design.pinn, start=start, level_iterations=steps)
    seed, begin = design.repeat_seeds(1)["grouping"], time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        trained = train(cell.train, settings, 1, design.neighbor_count, seed, Execution(), silent, scratch=scratch)
        bundle = Bundle({}, {"network": trained.spec.to_dict()}, trained.weights, trained.history)
        obj = reconstruct(bundle, cell.test, "cpu", scratch, silent).object
    seconds = time.process_time() - begin
    phase, _ = errors(cell, obj, design.evaluation.max_shift_px)
    return {"phase_rmse": f"{phase:.5f}", "seconds": f"{seconds:.1f}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", nargs="+", default=TUNING, choices=TUNING)
    parser.add_argument("--doses", nargs="+", type=lambda text: int(float(text)), default=[1_000, 10_000, 100_000])
    parser.add_argument("--starts", nargs="+", default=["likelihood"])
    parser.add_argument("--steps", nargs="+", type=int, default=[12, 48, 96])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = set()
    if options.output.exists():
        with options.output.open(newline="") as file:
            known = {tuple(row[name] for name in PLACE) for row in csv.DictReader(file)}
    for seed, name, dose in itertools.product(options.seeds, options.objects, options.doses):
        design = repeat_of(design_of(name), seed)
        cell = cell_of(design, "dense", dose)
        assert isinstance(cell, Cell)
        for start, steps in itertools.product(options.starts, options.steps):
            place = {"object": name, "dose": str(dose), "start": start, "steps": str(steps), "seed": str(seed)}
            if tuple(place.values()) in known:
                continue
            row = place | measured(design, cell, start, steps)
            fresh = not options.output.exists()
            with options.output.open("a", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                if fresh:
                    writer.writeheader()
                writer.writerow(row)
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
