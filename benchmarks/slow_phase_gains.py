"""When slow phases are worth adding: what they gain by all counts, beside what they do to the error.

For every spaced cell of the tuning objects and every seed the object of ``tv_ml`` with the weight that its counts
choose, and the same with slow phases added whatever they gain; the truth tells which is better. No object of a study
is used.

Usage: OMP_NUM_THREADS=1 python benchmarks/slow_phase_gains.py [--objects tune_slow ...] [--seeds 1 2 3] [--csv FILE]
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
from table_rows import RESULTS

from fly64_assets.engines.execution import Execution, torch_settings
from fly64_assets.pinn.unrolled.count_splits import CountSplits
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import FIRST_PART
from fly64_assets.pinn.unrolled.slow_phases import with_slow_phases
from fly64_assets.tv_ml.solver import HELD_OUT, _Solver

COLUMNS = ("object", "view", "dose", "seed", "phase_rmse", "phase_rmse_added", "gain_per_cosine")


def row_of(name: str, view: str, dose: int, seed: int) -> dict[str, object]:
    """Errors [rad] without and with slow phases in the test half, and their gain per cosine [nats]."""
    design = repeat_of(design_of(name), seed)
    cell = cell_of(design, view, dose)
    assert not isinstance(cell, str), cell
    m, settings, plane = cell.test, design.tv_ml, ObjectPlane(cell.test)
    with tempfile.TemporaryDirectory() as folder:
        counts = CountSplits.of(
            m, np.arange(m.frames), splits=settings.count_splits, kept=HELD_OUT + 1,
            seed=design.repeat_seeds(1)["grouping"], scratch=Path(folder),
        )  # fmt: skip
        solver = _Solver(m, settings, plane, counts, silent)
        objects, losses = solver._tried()
        best, likelihood = int(np.argmin(losses)), solver._likelihood(())
        obj = solver._minimised(likelihood, settings.levels[best], objects[best], FIRST_PART * settings.steps)
        changed = with_slow_phases(plane, likelihood, obj)
        counts.close()
    without, added = (
        errors(cell, plane.on_grid(found), design.evaluation.max_shift_px)[0] for found in (obj, changed.object)
    )
    values = (name, view, dose, seed, f"{without:.5f}", f"{added:.5f}", f"{changed.gain:.4f}")
    return dict(zip(COLUMNS, values, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", nargs="+", choices=TUNING, default=list(TUNING))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--csv", type=Path, default=RESULTS / "slow_phase_gains.csv")
    options = parser.parse_args()
    with options.csv.open("w", newline="") as file, torch_settings(Execution()), torch.no_grad():
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        cells = [cell for cell in TUNING_CELLS if cell[0] in options.objects and cell[1] != "baseline"]
        for cell, seed in itertools.product(cells, options.seeds):
            writer.writerow(row := row_of(*cell, seed))
            file.flush()
            print(*row.values(), flush=True)


if __name__ == "__main__":
    main()
