"""What gaps of the detector cost: the phase error of every method without gaps, with a mask, and with gaps as zeros.

The cells are those of :mod:`cells`. The detector is that of an Eiger scaled to 64 x 64 pixels: a gap of two rows and
one of two columns between modules, off the centre, and some dead pixels (:func:`gaps`). ``masked`` methods know which
pixels were not measured, ``as_zeros`` take them for pixels without photons. Both halves of a scan have the same gaps.

Rows that exist are not computed again. Usage: OMP_NUM_THREADS=1 python benchmarks/detector_gaps.py [--objects demo ...]
       [--cells dense:1e4 ...] [--seeds 1 ...] [--methods lsqml ...] [--output FILE.csv]
"""

import argparse
import csv
import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import contest
import numpy as np
from cells import Cell, cell_of, design_of, errors, repeat_of

from fly64_assets.engines.execution import Execution
from fly64_assets.pinn.settings import cnn_settings
from fly64_assets.study.design import StudyDesign

RESULTS = Path(__file__).parents[1] / "docs" / "explanation" / "results" / "detector_gaps.csv"
KEY = ("object", "view", "dose", "seed", "method", "gaps")
COLUMNS = (*KEY, "phase_rmse")
DEAD = 1 / 256
"""Part of the pixels that are dead."""


def gaps(size: int) -> np.ndarray:
    """Pixels (N, N) bool that an Eiger scaled to N x N does not measure: 6.4 % of 64 x 64."""
    bad = np.random.default_rng(1).random((size, size)) < DEAD
    row, column = size // 2 + 9 * size // 64, size // 2 - 12 * size // 64
    bad[row : row + 2] = bad[:, column : column + 2] = True
    return bad


def without_gaps(cell: Cell, _bad: np.ndarray) -> Cell:
    return cell


def masked(cell: Cell, bad: np.ndarray) -> Cell:
    halves = {name: replace(getattr(cell, name), bad_pixels=bad) for name in ("train", "test")}
    return replace(cell, **halves)


def as_zeros(cell: Cell, bad: np.ndarray) -> Cell:
    halves = {name: getattr(cell, name) for name in ("train", "test")}
    return replace(
        cell, **{name: replace(m, amplitude=np.where(bad, np.float32(0), m.amplitude)) for name, m in halves.items()}
    )


GAPS: dict[str, Callable[[Cell, np.ndarray], Cell]] = {"none": without_gaps, "masked": masked, "as_zeros": as_zeros}


def poisson(design: StudyDesign) -> StudyDesign:
    return replace(design, lsqml=replace(design.lsqml, noise_model="poisson"))


def with_cnn(design: StudyDesign) -> StudyDesign:
    return replace(design, pinn=cnn_settings(design.pinn))


def as_it_is(design: StudyDesign) -> StudyDesign:
    return design


METHODS: dict[str, tuple[contest.Method, Callable[[StudyDesign], StudyDesign]]] = {
    "lsqml": (contest.lsqml, as_it_is),
    "lsqml_tv": (contest.lsqml, contest.with_total_variation),
    "lsqml_poisson": (contest.lsqml, poisson),
    "tv_ml": (contest.tv_ml, contest.without_slow_phases),
    "pinn": (contest.pinn, contest.without_slow_phases),
    "cnn": (contest.pinn, with_cnn),
}
"""How a method is computed, and what it changes in the design."""


def phase_rmse(name: str, view: str, dose: int, seed: int, method: str, kind: str) -> float:
    compute, changed = METHODS[method]
    design = changed(repeat_of(design_of(name), seed))
    cell = cell_of(design, view, dose)
    if isinstance(cell, str):
        raise SystemExit(f"{name} {view} {dose}: {cell}")
    measured = GAPS[kind](cell, gaps(design.patch_size_pixels))
    found = compute(measured, design, design.repeat_seeds(1)["grouping"], Execution())
    return errors(cell, found.object, design.evaluation.max_shift_px)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", nargs="+", default=["demo"])
    parser.add_argument("--cells", nargs="+", metavar="VIEW:DOSE", default=["dense:1e4", "dense:1e5"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    done = set()
    if options.output.exists():
        with options.output.open(newline="") as file:
            done = {tuple(row[name] for name in KEY) for row in csv.DictReader(file)}
    cells = [(view, str(int(float(dose)))) for view, _, dose in (cell.partition(":") for cell in options.cells)]
    with options.output.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if file.tell() == 0:
            writer.writerow(COLUMNS)
        for name, seed, (view, dose), method, kind in itertools.product(
            options.objects, options.seeds, cells, options.methods, GAPS
        ):
            key = (name, view, dose, str(seed), method, kind)
            if key in done:
                continue
            error = phase_rmse(name, view, int(dose), seed, method, kind)
            writer.writerow([*key, f"{error:.5f}"])
            file.flush()
            print(*key, f"{error:.5f} rad", flush=True)


if __name__ == "__main__":
    main()
