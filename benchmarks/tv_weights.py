"""Regularised maximum likelihood: whether held-out counts choose the best TV weight, and how many steps it takes.

Weights: for every cell of the two tuning objects made of pictures, the path of TV weights without the held-out counts,
its held-out losses, and, from each of its objects, the reconstruction from all counts; the truth tells which weight
would have been best. Steps: the objective [nats] and the phase error after 5, 10, 20 ... evaluations,
one pair of transforms per frame each, with the preconditioner and without it.

Only this benchmark looks at the truth; nothing is chosen from the objects of a study.

Usage: OMP_NUM_THREADS=1 python benchmarks/tv_weights.py [--objects coins_grass moon_coffee] [--cells VIEW:DOSE ...]
       [--csv FILE] [--steps]
"""

import argparse
import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from cells import Cell, cell_of, design_of, errors, silent

from fly64_assets.engines.execution import Execution, torch_settings
from fly64_assets.pinn.unrolled.count_splits import CountSplits
from fly64_assets.pinn.unrolled.minimiser import descent
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import FIRST_PART, ROUNDING, RegularisedLikelihood
from fly64_assets.tv_ml.settings import TvMlSettings
from fly64_assets.tv_ml.solver import HELD_OUT, _Solver

COLUMNS = ("object", "view", "dose", "level", "held_out_loss", "phase_rmse", "chosen", "best")
EVALUATIONS = (5, 10, 20, 40, 80, 160)


def weights(name: str, view: str, dose: int, settings: TvMlSettings) -> Iterator[dict]:
    """A row for every weight of a cell."""
    design = design_of(name)
    cell = cell_of(design, view, dose)
    assert isinstance(cell, Cell)
    m, plane, shift = cell.test, ObjectPlane(cell.test), design.evaluation.max_shift_px
    with tempfile.TemporaryDirectory() as folder:
        counts = CountSplits.of(
            m, np.arange(m.frames), splits=settings.count_splits, kept=HELD_OUT + 1, seed=1, scratch=Path(folder)
        )
        solver = _Solver(m, settings, plane, counts, silent)
        objects, losses = solver._tried()
        found = []
        for obj, level in zip(objects, settings.levels, strict=False):
            last = solver._minimised(solver._likelihood(()), level, obj, FIRST_PART * settings.steps)
            found.append(errors(cell, plane.on_grid(last), shift)[0])
        counts.close()
    chosen, best = int(np.argmin(losses)), int(np.argmin(found))
    for index, (loss, error) in enumerate(zip(losses, found, strict=True)):
        marks = {"chosen": index == chosen, "best": index == best}
        values = (name, view, dose, settings.levels[index], f"{loss:.4f}", f"{error:.5f}")
        yield dict(zip(COLUMNS, values, strict=False)) | {key: int(mark) for key, mark in marks.items()}


def steps(name: str, view: str, dose: int, level: float) -> Iterator[str]:
    """Lines of a table: evaluations against objective above its least and phase error, for two preconditioners."""
    design = design_of(name)
    cell = cell_of(design, view, dose)
    assert isinstance(cell, Cell)
    m, plane, shift = cell.test, ObjectPlane(cell.test), design.evaluation.max_shift_px
    counts = torch.from_numpy(np.fft.ifftshift(m.counts(), axes=(-2, -1)).astype(np.float32))
    likelihood = RegularisedLikelihood(plane, lambda rows: counts[rows], m.intensity_scale)
    start = likelihood.constant()
    background, rounding = likelihood.fitted_background(start), ROUNDING * float(counts.sum(dtype=torch.float64))
    kinds = {
        "as it is": likelihood._preconditioner(start, level),
        "none": lambda change: change / (m.intensity_scale**2 * plane.illumination.max()),
    }
    for kind, precondition in kinds.items():
        value, done, seen = likelihood.objective(level, background), 0, {}

        def counted(obj, value=value):
            nonlocal done
            done += 1
            return value(obj)

        for obj, objective in descent(counted, precondition, start, rounding):
            for mark in EVALUATIONS:
                if mark not in seen and done >= mark:
                    seen[mark] = (objective, errors(cell, plane.on_grid(obj), shift)[0])
            if done >= EVALUATIONS[-1]:
                break
        yield f"| {name}, {view}, {dose:,} | {kind} | " + " ".join(
            f"{seen[k][0]:,.0f} / {seen[k][1]:.4f} |" if k in seen else "– |" for k in EVALUATIONS
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", nargs="+", default=["coins_grass", "moon_coffee"])
    cells = [f"{view}:{dose}" for dose in (1000, 10_000, 100_000) for view in ("dense", "sparse", "baseline")]
    parser.add_argument("--cells", nargs="+", default=cells)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--steps", action="store_true")
    options = parser.parse_args()
    chosen = [(name, *cell.split(":")) for name in options.objects for cell in options.cells]
    with torch_settings(Execution()), torch.no_grad():
        if options.steps:
            print("| cell | preconditioner | " + " | ".join(f"{mark}" for mark in EVALUATIONS) + " |")
            for name, view, dose in chosen:
                print(*steps(name, view, int(float(dose)), 0.3), sep="\n", flush=True)
            return
        rows = []
        for name, view, dose in chosen:
            own = list(weights(name, view, int(float(dose)), TvMlSettings()))
            rows += own
            best = min(float(row["phase_rmse"]) for row in own)
            kept = next(row for row in own if row["chosen"])
            above = float(kept["phase_rmse"]) / best - 1
            tried = " ".join(f"{row['level']:g}:{row['phase_rmse']}" for row in own)
            print(f"{name} {view} {dose}: {kept['level']} chosen, {above:.1%} above the best; {tried}", flush=True)
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
