"""Cells of a study in memory: the same frames, halves and views as the study makes, with the truth, and their scores.

Only benchmarks see the truth; no method does.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import objects

from fly64_assets.contract.npz import load_base
from fly64_assets.contract.schema import Base, Dataset
from fly64_assets.evaluation.scores.alignment import align
from fly64_assets.evaluation.scores.metrics import amplitude_part, phase_part, rmse
from fly64_assets.evaluation.scores.region import Region, ScanBox, evaluation_region, scan_box
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.scan import SPLITS
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.frames import simulate, split_metadata
from fly64_assets.simulation.objects.kinds import GeneratedBase
from fly64_assets.simulation.objects.making import generated_base
from fly64_assets.simulation.recipe import BaseRecipe
from fly64_assets.simulation.views import exposure, split_view
from fly64_assets.study.design import StudyDesign, load_design

Source = BaseRecipe | GeneratedBase | Path | str
"""Where a base comes from: a recipe, a file, or the name of an object of :mod:`objects`."""


@dataclass(frozen=True)
class Cell:
    """Both halves of a cell and where its test half counts."""

    view: str
    dose: int
    truth: np.ndarray
    train: Measurement
    test: Measurement
    box: ScanBox
    region: Region


def design_of(name: str) -> StudyDesign:
    """A shipped design or YAML file; or the default settings with an object of :mod:`objects`."""
    if name in objects.NAMES:
        return StudyDesign(name=name, base=name).validate()
    return load_design(name)


def repeat_of(design: StudyDesign, seed: int) -> StudyDesign:
    """The repeat of a study that ``seed`` names, as a study of its own; 1 is the study as it is."""
    return replace(design, repeats=1, seeds=(seed,))


@lru_cache(maxsize=1)
def base_of(source: Source, patch_size: int) -> Base:
    if isinstance(source, GeneratedBase):
        return generated_base(source, patch_size, "benchmark")
    if isinstance(source, BaseRecipe):
        return make_base(source, patch_size)
    return load_base(source) if isinstance(source, Path) else objects.base(source)


@lru_cache(maxsize=1)
def halves(
    source: Source, patch_size: int, dose: int, scan: str, axis: str, seed: int, repeat: int
) -> dict[str, Dataset]:
    base = base_of(source, patch_size)
    simulated = simulate(base, dose=dose, scan=scan, axis=axis, seed=seed, repeat=repeat)
    found = {}
    for split, index in simulated.halves.items():
        frames = np.concatenate(list(simulated.amplitude_blocks(split)))
        x, y = simulated.positions.x[index], simulated.positions.y[index]
        metadata = split_metadata(simulated, split, patches=False, base_name="", base_sha256="", parameters_sha256="")
        found[split] = Dataset(frames, base.object, base.probe, x, y, index, None, metadata)
    return found


def cell_of(design: StudyDesign, view: str, dose: int, source: Source | None = None) -> Cell | str:
    """A cell of the first repeat of a study, of its own base or of ``source``, or why it does not exist."""
    if source is None:
        source = (
            design.base if isinstance(design.base, BaseRecipe) or design.base in objects.NAMES else design.base_path
        )
    seed, axis = design.rng_seeds["simulation"], design.train_test_split_axis
    repeat, rule = design.repeat_seed(1), design.view_rule(view)
    datasets = halves(source, design.patch_size_pixels, dose, design.scan, axis, seed, repeat)
    measured = {}
    for split in SPLITS:
        whole = datasets[split]
        selected = split_view(whole, rule, dose, split)
        if selected.skipped:
            return selected.reason
        kept, scale = selected.kept, whole.intensity_scale
        exposed = exposure(whole, rule, kept, dose=dose, seed=seed, repeat=repeat)
        frames, x, y, index = (a[kept] for a in (whole.diffraction, whole.x, whole.y, whole.scan_index))
        if exposed is not None:
            frames, scale = np.concatenate(list(exposed.amplitude_blocks(whole, kept))), exposed.scale
        measured[split] = Measurement(frames, scale, whole.probe, x, y, whole.object.shape, index)
    train_half, test, baseline = measured["train"], measured["test"], datasets["test"]
    box = scan_box(baseline.scan)
    threshold = design.evaluation.coverage_threshold
    region = evaluation_region(test.probe, test.scan, threshold=threshold, scan_box=box, train_scan=train_half.scan)
    return Cell(view, dose, baseline.object, train_half, test, box, region)


def errors(cell: Cell, obj: np.ndarray, max_shift_px: float) -> tuple[float, float]:
    """RMSE of the phase [rad] and of the amplitude in the test half, as ``compare_split`` computes them."""
    truth, mask = cell.truth.astype(np.complex128), cell.region.mask
    aligned = align(obj, truth, mask, max_shift_px=max_shift_px).field
    return tuple(float(rmse(part(aligned, truth, mask, None)).value) for part in (phase_part, amplitude_part))


def silent(*_: object) -> None:
    """A progress that nobody reads."""
