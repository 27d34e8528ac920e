"""Whether counts that no method has seen rank objects as the truth does: rank correlations with the phase error.

Objects from the same counts are compared in three ways: epochs of LSQML, levels of TV-ML's path, and the methods of a
finished study with a uniform object. The judge is what a study of measured frames uses: fresh counts of the same frames
(here simulated from the truth, at ``--photons`` times the dose), Poisson likelihood, and a background for what each
object leaves unexplained, fitted to the fresh counts of other frames (``fresh``). ``none`` is the same without a
background, ``seen`` with one that is fitted to the counts from which the objects were made.

``spearman`` is the rank correlation with the phase RMSE over the evaluated pixels, ``loss`` how much larger the error
of the object is that the judge puts first than the least error. With ``local`` the phase error counts without what
varies over more than a probe's diameter: counts say little about slow phases.

Which of the three is used was chosen on the objects for tuning of :mod:`objects`; ``demo`` is for results only.

With ``--null`` it is counted instead how often the test over frames calls two equally good objects different: the truth
with two independent random errors of equal size, whose correlation is Gaussian and ``width_px`` wide.

Usage: OMP_NUM_THREADS=1 python benchmarks/judge_without_truth.py [--objects tune_slow ...] [--views dense ...]
       [--doses 1000 ...] [--kinds epochs levels methods] [--study FOLDER] [--photons 3] [--null 100]
       [--output FILE.csv]
"""

import argparse
import csv
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from cells import Cell, cell_of, design_of, errors, silent
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr, ttest_1samp

from fly64_assets.contract.npz import open_npz
from fly64_assets.engines.execution import Execution, torch_settings
from fly64_assets.engines.torch_compat import declare_torchvision_operators
from fly64_assets.evaluation.counts import likelihood
from fly64_assets.evaluation.counts.background import fitted_background
from fly64_assets.evaluation.counts.likelihood import IndependentCounts, frame_likelihoods
from fly64_assets.evaluation.counts.paired import SharedLight
from fly64_assets.evaluation.scores.alignment import align
from fly64_assets.lsqml import engine
from fly64_assets.lsqml.count_split import HeldOutCounts
from fly64_assets.physics.counts import counts_from_amplitude, negative_log_likelihood, stored_amplitude
from fly64_assets.physics.forward import blocks, patch_counts
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.measurement_check import checked
from fly64_assets.physics.scan import evenly_spread
from fly64_assets.pinn.unrolled.count_splits import CountSplits
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.study.design import StudyDesign
from fly64_assets.tv_ml import solver

RESULTS = Path(__file__).parents[1] / "docs" / "explanation" / "results" / "judge.csv"
COLUMNS = (
    "object", "view", "dose", "photons", "candidates", "background", "number",
    "spearman", "loss", "spearman_local", "loss_local",
)  # fmt: skip
NULL_COLUMNS = (
    "object", "view", "dose", "frames", "width_px", "trials",
    "alarms_of_frames", "alarms", "areas", "independent_frames",
)  # fmt: skip
EPOCHS = (1, 2, 3, 4, 6, 8, 11, 15, 20, 28, 40, 60)
CPU = Execution(accelerator="cpu", threads=1)


def measured_again(cell: Cell, photons: float, seed: int) -> IndependentCounts:
    """The cell's counts and as many more as ``photons`` times its dose: what a measurement that was thinned holds."""
    m = cell.test
    amplitude, scale = np.empty_like(m.amplitude), m.intensity_scale * np.sqrt(1 + photons)
    rng = np.random.default_rng(seed)
    for row in range(m.frames):
        part = np.array([row])
        rates = patch_counts(cell.truth, m.modes, m.scan[part], m.intensity_scale) * photons
        amplitude[row] = stored_amplitude((m.counts(part) + rng.poisson(rates)).astype(np.int64), scale)[0]
    whole = Measurement(amplitude, scale, m.probe, m.x, m.y, m.object_shape, m.scan_index)
    assert (counts_from_amplitude(amplitude[:1], scale) >= m.counts(np.array([0]))).all()
    return IndependentCounts(m, whole, m.scan_index)


def lsqml_epochs(cell: Cell, design: StudyDesign) -> Iterator[np.ndarray]:
    declare_torchvision_operators()
    m = checked(cell.test, modes=True)
    with torch_settings(CPU):
        run = engine._Run(m, design.lsqml, CPU, 1, None, "lsqml", refine_positions=False)
        states = engine._epochs(run, HeldOutCounts(m, 0.0, 1))
        for epoch, state in enumerate(states, 1):
            if epoch in EPOCHS:
                yield state.object
            if epoch == max(EPOCHS):
                return


def tv_levels(cell: Cell, design: StudyDesign) -> Iterator[np.ndarray]:
    m, settings = checked(cell.test), replace(design.tv_ml, patience=len(design.tv_ml.levels))
    with torch_settings(CPU), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        plane = ObjectPlane(m, "cpu")
        counts = CountSplits.of(
            m, np.arange(m.frames), splits=settings.count_splits, kept=1, seed=1, scratch=Path(folder)
        )
        try:
            for obj in solver._Solver(m, settings, plane, counts, silent)._tried()[0]:
                yield np.where(plane.coverage() > 0, plane.on_grid(obj), 1).astype(np.complex64)
        finally:
            counts.close()


def methods(cell: Cell, folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    place = f"dose_{cell.dose}/{cell.view}"
    for name, path in (
        ("lsqml", folder / "reconstruction" / "lsqml" / place / "test" / "ptychi_reconstruction.npz"),
        ("tv_ml", folder / "reconstruction" / "tv_ml" / place / "test" / "ptychi_reconstruction.npz"),
        ("pinn", folder / "inference" / place / "pinn" / "test.npz"),
    ):
        yield name, open_npz(path)["reconstructed_object"]


def candidates(kind: str, cell: Cell, design: StudyDesign, study: Path) -> dict[str, np.ndarray]:
    if kind == "methods":
        return dict(methods(cell, study)) | {"uniform": np.ones_like(cell.truth)}
    made = lsqml_epochs(cell, design) if kind == "epochs" else tv_levels(cell, design)
    return {str(number): obj for number, obj in enumerate(made)}


def judged(fields: dict[str, np.ndarray], counts: IndependentCounts, mask: np.ndarray) -> dict[str, list[float]]:
    """Mean likelihood of every object: as a study judges, without a background, and with one of the seen counts."""
    found = {"fresh": [float(v.mean()) for v in frame_likelihoods(fields, counts, mask).complement.values()]}
    m, scale, ratio = counts.seen, counts.complement_scale, (counts.complement_scale / counts.seen.intensity_scale) ** 2
    some, everything = evenly_spread(m.frames, likelihood.BACKGROUND_VALUES // m.patch_size**2), np.arange(m.frames)
    found |= {"none": [], "seen": []}
    for field in fields.values():
        rates = np.concatenate(
            [likelihood._rates(field, m, some[part], m.intensity_scale) for part in blocks(len(some))]
        )
        background = fitted_background(rates, m.counts(some)) * ratio
        values = []
        for part in (everything[part] for part in blocks(m.frames)):
            rates, fresh = likelihood._rates(field, m, part, scale), counts.complement(part)
            values.append([negative_log_likelihood(rates + b, fresh) for b in (0.0, background)])
        none, seen = np.concatenate(values, axis=1).mean(axis=1)
        found["none"].append(float(none))
        found["seen"].append(float(seen))
    return found


def local_error(cell: Cell, obj: np.ndarray) -> float:
    """RMSE of the phase [rad] without what a Gaussian as wide as the probe's disc leaves of its error."""
    truth, mask = cell.truth.astype(np.complex128), cell.region.mask
    aligned = align(obj, truth, mask, max_shift_px=2.0).field
    wrong = np.where(mask, np.angle(aligned * truth.conj()), 0.0)
    width = cell.region.probe_diameter_px / 2.355
    slow = gaussian_filter(wrong, width) / np.maximum(gaussian_filter(mask.astype(float), width), 1e-6)
    return float(np.sqrt(((wrong - slow)[mask] ** 2).mean()))


def rows(cell: Cell, name: str, kind: str, fields: dict[str, np.ndarray], args: argparse.Namespace) -> Iterator[tuple]:
    counts = measured_again(cell, args.photons, 11)
    wrong = {
        "": [errors(cell, obj, 2.0)[0] for obj in fields.values()],
        "local": [local_error(cell, obj) for obj in fields.values()],
    }
    for judge, values in judged(fields, counts, cell.region.mask).items():
        chosen, found = int(np.argmin(values)), []
        for errs in wrong.values():
            found += [round(float(spearmanr(values, errs).statistic), 4), round(errs[chosen] / min(errs) - 1, 4)]
        yield name, cell.view, cell.dose, args.photons, kind, judge, len(values), *found
        print(name, cell.view, cell.dose, kind, judge, *found, flush=True)
        if args.verbose:
            print("  ", [round(v - min(values), 2) for v in values], flush=True)
    if args.verbose:
        print(*wrong["local"], sep="\n   ", flush=True)


def false_alarms(cell: Cell, width_px: float, trials: int, photons: float) -> tuple[float, ...]:
    """Shares of trials that a test of every frame for itself and the test over frames call different; areas, frames."""
    m, rng, alarms, independent = cell.test, np.random.default_rng(1), [], []
    light = SharedLight(m.modes, m.scan)
    for _ in range(trials):
        noise = rng.normal(size=(2, 2, *cell.truth.shape))
        wrong = np.stack([gaussian_filter(a, width_px) + 1j * gaussian_filter(b, width_px) for a, b in noise])
        wrong *= 0.15 / np.sqrt((np.abs(wrong) ** 2).mean(axis=(1, 2), keepdims=True))
        found = np.zeros((2, m.frames))
        for part in blocks(m.frames):
            scan, scale = m.scan[part], m.intensity_scale * np.sqrt(photons)
            counts = rng.poisson(patch_counts(cell.truth, m.modes, scan, scale))
            for k in range(2):
                rates = patch_counts(cell.truth * np.exp(wrong[k]), m.modes, scan, scale)
                found[k, part] = negative_log_likelihood(rates, counts)
        test = light.test(found[0] - found[1])
        alarms.append((ttest_1samp(found[0] - found[1], 0).pvalue < 0.05, test.p is not None and test.p < 0.05))
        independent.append(test.independent)
    alone, together = np.mean(alarms, axis=0)
    return alone, together, light.areas, float(np.mean(independent))


def null(args: argparse.Namespace) -> None:
    path = args.output or RESULTS.with_name("judge_null.csv")
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(NULL_COLUMNS)
        for name in args.objects[:1]:
            for view in args.views:
                cell = cell_of(design_of(name), view, args.doses[0])
                for width in (0.5, 3.0):
                    alone, together, areas, frames = false_alarms(cell, width, args.null, args.photons)
                    place = (name, view, args.doses[0], cell.test.frames, width, args.null)
                    writer.writerow((*place, round(alone, 4), round(together, 4), round(areas, 1), round(frames, 1)))
                    print(view, width, alone, together, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", nargs="*", default=["tune_slow", "tune_particles", "tune_texture", "coins_grass"])
    parser.add_argument("--views", nargs="*", default=["dense", "sparse"])
    parser.add_argument("--doses", nargs="*", type=int, default=[1000, 10_000, 100_000])
    parser.add_argument("--kinds", nargs="*", default=["epochs", "levels"])
    parser.add_argument("--study", type=Path, help="folder of a finished study of the one object, with its methods")
    parser.add_argument("--photons", type=float, default=3.0, help="fresh photons, in those that the methods had")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--null", type=int, default=0, help="trials with equal objects, of the first object and dose")
    args = parser.parse_args()
    if args.null:
        null(args)
        return
    args.output = args.output or RESULTS
    new = not args.output.exists()
    with args.output.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        for name in args.objects:
            design = design_of(name)
            for dose in args.doses:
                for view in args.views:
                    cell = cell_of(design, view, dose)
                    assert isinstance(cell, Cell), cell
                    for kind in args.kinds:
                        found = candidates(kind, cell, design, args.study)
                        writer.writerows(rows(cell, name, kind, found, args))
                        file.flush()


if __name__ == "__main__":
    main()
