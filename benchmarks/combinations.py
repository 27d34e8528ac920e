"""What the two objects are worth of which ``pinn: {start: pretrained}`` corrects a mean, without the network that does.

One is the likelihood's at the TV weight that counts kept aside choose, the other that of the network ``general``, both
with slow phases where they are worth adding. The mean has the part that the same counts choose, and, what no method can
have, the part by the truth. On objects that settings may be chosen on, test half; one of eight count splits is kept
aside.

Usage: OMP_NUM_THREADS=1 python benchmarks/combinations.py [--objects tune_slow ...] [--seeds 1] [--output FILE.csv]
"""

import argparse
import csv
import itertools
import math
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from cells import Cell, cell_of, design_of, errors, repeat_of
from objects import TUNING

from fly64_assets.pinn.pretrained.files import general_network
from fly64_assets.pinn.unrolled.count_splits import CountSplits
from fly64_assets.pinn.unrolled.model_error import SplitLikelihood
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.preparation import PARTS, RULES, lowest
from fly64_assets.pinn.unrolled.regularisation_path import RegularisedLikelihood, search
from fly64_assets.pinn.unrolled.slow_phases import with_slow_phases
from fly64_assets.pinn.unrolled.starts import Starts, pretrained_object
from fly64_assets.study.design import StudyDesign

RESULTS = Path(__file__).parents[1] / "docs" / "explanation" / "results" / "combinations.csv"
PLACE = ("object", "view", "dose", "seed")
COMBINATIONS = ("likelihood", "pretrained", "mean, part by counts", "mean, part by the truth")
SPLITS, KEPT_ASIDE, WEAKER = 8, 0, 2
TRIED = np.linspace(0, 1, 11)
"""Parts among which the truth chooses."""


@torch.no_grad()
def row_of(cell: Cell, design: StudyDesign, seed: int, scratch: Path) -> list[str]:
    """Errors [rad] of the combinations, and the part of ``general`` in the mean by the counts and by the truth."""
    scan = cell.test
    plane = ObjectPlane(scan, "cpu")
    frames = np.arange(scan.frames)
    splits = CountSplits.of(scan, frames, splits=SPLITS, kept=1, seed=seed, scratch=scratch)
    aside = SplitLikelihood(plane, splits, scan.intensity_scale * math.sqrt(1 / SPLITS))
    scale = scan.intensity_scale * math.sqrt(1 - 1 / SPLITS)
    counted = (lambda rows: torch.from_numpy(splits.without((KEPT_ASIDE,), rows))), scale

    def loss(obj: torch.Tensor) -> float:
        return aside.mean_loss(obj, KEPT_ASIDE, frames, aside.background(obj, KEPT_ASIDE, frames[:256]))

    of_counts = RegularisedLikelihood(plane, *counted)
    minimised = partial(of_counts.minimised, iterations=design.pinn.parameters()["level_iterations"])
    path, losses = search(design.pinn.parameters()["levels"], minimised, loss, WEAKER)
    best = path[int(np.argmin(losses))]
    objects = {"likelihood": best, "pretrained": pretrained_object(general_network(), plane, *counted, best)}
    for name, obj in objects.items():
        changed = with_slow_phases(plane, of_counts, obj, RULES[name].least_frames_per_cosine)
        if RULES[name].worth_adding(changed.gain / (1 - 1 / SPLITS)):
            objects[name] = changed.object
    starts = Starts(path, *objects.values())

    def mean(part: float) -> torch.Tensor:
        return starts.network_input(plane.illumination, part).obj

    def error(part: float) -> float:
        return errors(cell, plane.on_grid(mean(part)), design.evaluation.max_shift_px)[0]

    by_counts = lowest(PARTS, [loss(mean(part)) for part in PARTS])
    by_truth = float(min(TRIED, key=error))
    parts = (0.0, 1.0, by_counts, by_truth)
    return [*(f"{error(part):.5f}" for part in parts), f"{by_counts:.2f}", f"{by_truth:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", nargs="+", default=list(TUNING), choices=TUNING)
    parser.add_argument("--views", nargs="+", default=["dense", "sparse"])
    parser.add_argument("--doses", nargs="+", type=lambda text: int(float(text)), default=[1_000, 10_000, 100_000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with options.output.open("w", newline="") as file, tempfile.TemporaryDirectory() as scratch:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*PLACE, *COMBINATIONS, "part_by_counts", "part_by_truth"])
        for name, dose, view, seed in itertools.product(options.objects, options.doses, options.views, options.seeds):
            design = repeat_of(design_of(name), seed)
            cell = cell_of(design, view, dose)
            assert isinstance(cell, Cell)
            row = row_of(cell, design, design.repeat_seeds(1)["grouping"], Path(scratch))
            writer.writerow([name, view, dose, seed, *row])
            file.flush()
            print(name, view, dose, seed, *row, flush=True)


if __name__ == "__main__":
    main()
