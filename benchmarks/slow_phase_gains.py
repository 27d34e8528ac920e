"""When slow phases are worth adding: what they gain by all counts, beside what they do to the error.

For every cell of the tuning objects and every seed the object of a method, ``tv_ml`` with the weight that its counts
choose (spaced views) or ``pretrained`` (all views), and the same with slow phases added whatever they gain; the truth
tells which is better. No object of a study is used.

Usage: OMP_NUM_THREADS=1 python benchmarks/slow_phase_gains.py [--objects tune_slow ...] [--seeds 1 2 3]
       [--methods tv_ml pretrained] [--csv FILE]
"""

import argparse
import csv
import itertools
import tempfile
from pathlib import Path

import numpy as np
import torch
from cells import cell_of, design_of, errors, repeat_of, silent
from objects import TUNING
from slow_phase_tables import TUNING_CELLS
from table_rows import DOSES, RESULTS, VIEWS

from fly64_assets.engines.execution import Execution, torch_settings
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.pretrained.files import general_network
from fly64_assets.pinn.pretrained.inference import _counts, estimate
from fly64_assets.pinn.unrolled.count_splits import CountSplits
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import FIRST_PART, RegularisedLikelihood
from fly64_assets.pinn.unrolled.slow_phases import SlowPhases, with_slow_phases
from fly64_assets.study.design import StudyDesign
from fly64_assets.tv_ml.solver import HELD_OUT, _Solver

COLUMNS = (
    "object", "view", "dose", "seed", "method", "phase_rmse", "phase_rmse_added", "gain_per_cosine",
    "frames_per_cosine",
)  # fmt: skip
Found = tuple[torch.Tensor, RegularisedLikelihood]
"""An object (H, W) on the plane, and the likelihood of the counts that slow phases are found from."""


def of_pretrained(m: Measurement, plane: ObjectPlane, _design: StudyDesign) -> Found:
    """That of the network in the package."""
    counts = _counts(m, plane)
    obj = estimate(general_network(), plane, counts, m.intensity_scale)
    return obj, RegularisedLikelihood(plane, counts, m.intensity_scale)


def of_tv_ml(m: Measurement, plane: ObjectPlane, design: StudyDesign) -> Found:
    """That of the weight which the counts choose."""
    settings = design.tv_ml
    with tempfile.TemporaryDirectory() as folder:
        counts = CountSplits.of(
            m, np.arange(m.frames), splits=settings.count_splits, kept=HELD_OUT + 1,
            seed=design.repeat_seeds(1)["grouping"], scratch=Path(folder),
        )  # fmt: skip
        solver = _Solver(m, settings, plane, counts, silent)
        objects, losses = solver._tried()
        best, likelihood = int(np.argmin(losses)), solver._likelihood(())
        obj = solver._minimised(likelihood, settings.levels[best], objects[best], FIRST_PART * settings.steps)
    return obj, likelihood


METHODS = {"tv_ml": of_tv_ml, "pretrained": of_pretrained}
CELLS = {
    "tv_ml": [cell for cell in TUNING_CELLS if cell[1] != "baseline"],
    "pretrained": list(itertools.product(TUNING, VIEWS, DOSES)),
}
"""Cells by method; a baseline view takes ``tv_ml`` minutes."""


def row_of(name: str, view: str, dose: int, seed: int, method: str) -> dict[str, object]:
    """Errors [rad] without and with slow phases in the test half, and their gain per cosine [nats]."""
    design = repeat_of(design_of(name), seed)
    cell = cell_of(design, view, dose)
    assert not isinstance(cell, str), cell
    plane = ObjectPlane(cell.test)
    obj, likelihood = METHODS[method](cell.test, plane, design)
    changed = with_slow_phases(plane, likelihood, obj)
    without, added = (
        errors(cell, plane.on_grid(found), design.evaluation.max_shift_px)[0] for found in (obj, changed.object)
    )
    per_cosine = cell.test.frames / SlowPhases(plane).number
    values = (
        name, view, dose, seed, method, f"{without:.5f}", f"{added:.5f}", f"{changed.gain:.4f}", f"{per_cosine:.2f}"
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", nargs="+", choices=TUNING, default=list(TUNING))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--csv", type=Path, default=RESULTS / "slow_phase_gains.csv")
    options = parser.parse_args()
    with options.csv.open("w", newline="") as file, torch_settings(Execution()), torch.no_grad():
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for method in options.methods:
            cells = [cell for cell in CELLS[method] if cell[0] in options.objects]
            for cell, seed in itertools.product(cells, options.seeds):
                writer.writerow(row := row_of(*cell, seed, method))
                file.flush()
                print(*row.values(), flush=True)


if __name__ == "__main__":
    main()
