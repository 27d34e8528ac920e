"""What could still be gained from the two objects from which ``pinn: {start: pretrained}`` starts, without a network.

One is the likelihood's at the TV weight that counts kept aside choose, the other that of the network ``general``. They
are combined in several ways that are the same for every cell, and one that no method can have: the better of both by
the truth. On objects that settings may be chosen on, test half, seed 1; one of eight count splits is kept aside.

Usage: OMP_NUM_THREADS=1 python benchmarks/combinations.py [--objects tune_slow ...] [--output FILE.csv]
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
from cells import Cell, cell_of, design_of, errors
from objects import TUNING

from fly64_assets.pinn.pretrained.files import general_network
from fly64_assets.pinn.pretrained.inference import estimate
from fly64_assets.pinn.unrolled.count_splits import CountSplits
from fly64_assets.pinn.unrolled.model_error import SplitLikelihood
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import RegularisedLikelihood, search
from fly64_assets.pinn.unrolled.starts import Starts, with_slow_part
from fly64_assets.study.design import StudyDesign

RESULTS = Path(__file__).parents[1] / "docs" / "explanation" / "results" / "combinations.csv"
PLACE = ("object", "view", "dose")
COMBINATIONS = (
    "likelihood", "pretrained", "pretrained, slow part of the next weight", "pretrained, slow part of both",
    "mean of both", "mean of both, slow part of the next weight",
)  # fmt: skip
SPLITS, KEPT_ASIDE, SEED, WEAKER = 8, 0, 5, 2


@torch.no_grad()
def combined(cell: Cell, design: StudyDesign, scratch: Path) -> dict[str, torch.Tensor]:
    """Objects (H, W) complex64 on the plane by the name of the combination."""
    scan = cell.test
    plane = ObjectPlane(scan, "cpu")
    frames = np.arange(scan.frames)
    splits = CountSplits.of(scan, frames, splits=SPLITS, kept=1, seed=SEED, scratch=scratch)
    aside = SplitLikelihood(plane, splits, scan.intensity_scale * math.sqrt(1 / SPLITS))
    scale = scan.intensity_scale * math.sqrt(1 - 1 / SPLITS)

    def counts(rows: slice) -> torch.Tensor:
        return torch.from_numpy(splits.without((KEPT_ASIDE,), rows))

    def loss(obj: torch.Tensor) -> float:
        return aside.mean_loss(obj, KEPT_ASIDE, frames, aside.background(obj, KEPT_ASIDE, frames[:256]))

    minimised = partial(
        RegularisedLikelihood(plane, counts, scale).minimised, iterations=design.pinn.parameters()["level_iterations"]
    )
    path, losses = search(design.pinn.parameters()["levels"], minimised, loss, WEAKER)
    level = int(np.argmin(losses))
    likelihood, light = path[level], plane.illumination / plane.illumination.max()
    found = estimate(general_network(), plane, counts, scale)
    turn = (light * likelihood * found.conj()).sum()
    network, mean = found * (turn / turn.abs()), 0.5 * (likelihood + found * (turn / turn.abs()))
    starts = Starts.of(path, level, plane.relative_illumination, [found])
    assert starts.pretrained is not None
    slower = path[min(level + 1, len(path) - 1)]
    objects = (
        likelihood, network, starts.pretrained, 0.5 * (network + starts.pretrained),
        mean, with_slow_part(mean, slower, light),
    )  # fmt: skip
    return {name: plane.on_grid(obj) for name, obj in zip(COMBINATIONS, objects, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", nargs="+", default=list(TUNING), choices=TUNING)
    parser.add_argument("--views", nargs="+", default=["dense", "sparse"])
    parser.add_argument("--doses", nargs="+", type=lambda text: int(float(text)), default=[1_000, 10_000, 100_000])
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with options.output.open("w", newline="") as file, tempfile.TemporaryDirectory() as scratch:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*PLACE, *COMBINATIONS])
        for name, dose, view in itertools.product(options.objects, options.doses, options.views):
            design = design_of(name)
            cell = cell_of(design, view, dose)
            assert isinstance(cell, Cell)
            objects = combined(cell, design, Path(scratch))
            row = [f"{errors(cell, obj, design.evaluation.max_shift_px)[0]:.5f}" for obj in objects.values()]
            writer.writerow([name, view, dose, *row])
            file.flush()
            print(name, view, dose, *row, flush=True)


if __name__ == "__main__":
    main()
