"""The slow part of the error of ``tv_ml``, and how much of it better details could take away.

For every tuning object, dense view, the phase error in the test half is divided into what varies slowly (its mean under
a Gaussian with a standard deviation of 20 px, which halves a wavelength of 107 px) and the rest. Then slow phases are
sought, from the same counts, for two objects that no method can have: the true one times the slow part of the error
that ``tv_ml`` has before slow phases are added, and the true one itself. A search prefers small changes, so that what
it leaves lies nearer to where it began: the first has no missing details, the second no error but what the noise of the
counts makes of it.

Usage: OMP_NUM_THREADS=1 python benchmarks/error_scales.py [--objects tune_slow ...] [--seeds 1] [--output FILE.csv]
"""

import argparse
import csv
import itertools
from pathlib import Path

import numpy as np
import torch
from cells import Cell, cell_of, design_of, repeat_of
from objects import TUNING
from scipy.ndimage import gaussian_filter
from slow_phase_gains import of_tv_ml
from table_rows import DOSES, RESULTS

from fly64_assets.engines.execution import Execution, torch_settings
from fly64_assets.evaluation.scores.alignment import align
from fly64_assets.physics.windows import common_part
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.slow_phases import OF_LIKELIHOOD, with_slow_phases
from fly64_assets.study.design import StudyDesign

SLOW_PX = 20.0
"""Standard deviation of the Gaussian whose mean is called slow [px]."""
COLUMNS = (
    "object", "dose", "seed", "phase_rmse", "fast", "slow", "slow_before", "slow_true_details", "slow_from_truth",
)  # fmt: skip
Real = np.ndarray


def slow_part(values: Real, mask: Real) -> Real:
    """Mean of values (H, W) under a Gaussian, from the pixels of a mask alone; 0 outside of it."""
    weights = gaussian_filter(mask.astype(np.float64), SLOW_PX)
    means = gaussian_filter(np.where(mask, values, 0.0), SLOW_PX)
    return np.where(mask, means / np.maximum(weights, 1e-9), 0.0)


def divided(cell: Cell, obj: Real, max_shift_px: float) -> tuple[float, float, float]:
    """Root mean squares of the phase error in the test half [rad]: of all, of the fast part, of the slow part."""
    truth, mask = cell.truth.astype(np.complex128), cell.region.mask
    error = np.angle(align(obj, truth, mask, max_shift_px=max_shift_px).field * truth.conj())
    slow = slow_part(error, mask)
    return tuple(float(np.sqrt(np.mean(part[mask] ** 2))) for part in (error, error - slow, slow))


def truth_on(cell: Cell, plane: ObjectPlane) -> torch.Tensor:
    """The truth on the plane (H, W), 1 beyond its grid."""
    truth = torch.ones(plane.shape, dtype=torch.complex64)
    on_grid, on_plane = common_part(plane.origin, plane.shape, cell.truth.shape)
    truth[on_plane] = torch.from_numpy(cell.truth[on_grid].astype(np.complex64))
    return truth


def with_true_details(cell: Cell, plane: ObjectPlane, obj: torch.Tensor) -> torch.Tensor:
    """The truth on the plane (H, W) with the slow part of another object's phase error."""
    truth = truth_on(cell, plane)
    lit = (plane.relative_illumination * obj * truth.conj()).numpy()
    mean = gaussian_filter(lit.real, SLOW_PX) + 1j * gaussian_filter(lit.imag, SLOW_PX)
    return truth * torch.sgn(torch.from_numpy(mean.astype(np.complex64)))


def row_of(name: str, dose: int, seed: int) -> dict[str, object]:
    """Errors [rad] of one object, dose and seed."""
    design: StudyDesign = repeat_of(design_of(name), seed)
    cell = cell_of(design, "dense", dose)
    assert isinstance(cell, Cell), cell
    plane = ObjectPlane(cell.test)
    before, likelihood = of_tv_ml(cell.test, plane, design)
    found = OF_LIKELIHOOD.applied(plane, likelihood, before).object
    starts = with_true_details(cell, plane, before), truth_on(cell, plane)
    objects = (found, before, *(with_slow_phases(plane, likelihood, start).object for start in starts))
    errors = [divided(cell, plane.on_grid(obj), design.evaluation.max_shift_px) for obj in objects]
    values = (*errors[0], *(slow for _, _, slow in errors[1:]))
    return dict(zip(COLUMNS, (name, dose, seed, *(f"{value:.5f}" for value in values)), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", nargs="+", choices=TUNING, default=list(TUNING))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--output", type=Path, default=RESULTS / "error_scales.csv")
    options = parser.parse_args()
    with options.output.open("w", newline="") as file, torch_settings(Execution()), torch.no_grad():
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for place in itertools.product(options.objects, DOSES, options.seeds):
            writer.writerow(row := row_of(*place))
            file.flush()
            print(*row.values(), flush=True)


if __name__ == "__main__":
    main()
