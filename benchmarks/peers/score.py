"""Scores what other packages and this project's methods made of the exported frames.

The phase RMSE is that of the study: its evaluation region, its alignment. Which iteration and which setting of another
package count is chosen by the held-out counts, as for `tv_ml`: by the likelihood of the tenth of the photons that was
not fitted, with a fitted background for the detail that an object lacks. With --truth the choice that only the truth
can make is a row of its own (slow: every object is scored).

Usage: PYTHONPATH=benchmarks python benchmarks/peers/score.py [--study NAME-or-FILE] [--truth] [--csv FILE] FRAMES RUNS
"""

import argparse
import csv
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from cells import Cell, design_of, errors
from export import cells_of
from frames_file import HELD_OUT, Frames, Run, read_frames, read_run

from fly64_assets.physics.forward import patch_counts
from fly64_assets.physics.scan import evenly_spread
from fly64_assets.physics.windows import Scan
from fly64_assets.pinn.forward import poisson_loss
from fly64_assets.pinn.unrolled.model_error import fitted_background

RESULTS = Path(__file__).parents[2] / "docs" / "explanation" / "results" / "peers.csv"
COLUMNS = ("cell", "method", "chosen_by", "settings", "iterations", "seconds", "phase_rmse")
JUDGED_FRAMES = 256
BACKGROUND_ITERATIONS = 60
BY_COUNTS, BY_TRUTH, BY_ITSELF = "held-out counts", "truth", "itself"


def held_out_loss(frames: Frames, corners: np.ndarray, obj: np.ndarray) -> float:
    """Negative log-likelihood per frame of the held-out counts, with the windows that the method itself used."""
    half, some = frames.probe.shape[0] // 2, evenly_spread(len(corners), JUDGED_FRAMES)
    y, x = (corners[some] + half).T.astype(float)
    rates = patch_counts(obj, frames.probe, Scan(x, y, frames.object_shape, 2 * half), np.sqrt(HELD_OUT))
    corner = [np.fft.ifftshift(a, axes=(-2, -1)).astype(np.float32) for a in (rates, frames.held_out[some])]
    predicted, counted = (torch.from_numpy(a) for a in corner)
    background = fitted_background(predicted, counted, BACKGROUND_ITERATIONS)
    return float(poisson_loss(predicted + background, counted))


def rows_of(runs: list[Run], frames: Frames, cell: Cell, max_shift_px: float, *, truth: bool) -> Iterator[tuple]:
    """Rows of one method: what the held-out counts choose and, with ``truth``, what has the least error."""
    tried = [(run, k) for run in runs for k in range(len(run.iterations))]

    def error(run: Run, k: int) -> float:
        return errors(cell, run.objects[k], max_shift_px)[0]

    choices = [(0, BY_ITSELF)]
    if runs[0].fitted is not None:
        losses = [held_out_loss(frames, run.corners, run.fitted[k]) for run, k in tried]
        choices = [(int(np.nanargmin(losses)), BY_COUNTS)]
        if truth:
            choices.append((int(np.nanargmin([error(*one) for one in tried])), BY_TRUTH))
    for best, by in choices:
        run, k = tried[best]
        yield run.cell, run.method, by, run.settings, run.iterations[k], f"{run.seconds[k]:.1f}", f"{error(run, k):.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="demo")
    parser.add_argument("--csv", type=Path, default=RESULTS)
    parser.add_argument("--truth", action="store_true", help="rows of the settings with the least error, too")
    parser.add_argument("frames", type=Path, metavar="FRAMES", help="folder of export.py")
    parser.add_argument("runs", type=Path, metavar="RUNS", help="folder of the other scripts' results")
    options = parser.parse_args()
    design = design_of(options.study)
    runs = sorted((read_run(path) for path in options.runs.glob("*.npz")), key=lambda run: (run.cell, run.method))
    by_cell = {name: list(group) for name, group in itertools.groupby(runs, key=lambda run: run.cell)}
    names = sorted({":".join(name.split("_")[:2]) for name in by_cell}, key=lambda name: (name[0], len(name)))
    with options.csv.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name, cell in cells_of(design, names):
            frames = read_frames(options.frames / f"{name}.cxi")
            for _, group in itertools.groupby(by_cell.get(name, []), key=lambda run: run.method):
                writer.writerows(
                    rows_of(list(group), frames, cell, design.evaluation.max_shift_px, truth=options.truth)
                )
                file.flush()


if __name__ == "__main__":
    main()
