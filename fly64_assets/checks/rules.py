"""The stand-alone checks: one function for each, from a stage's record to the problems found."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.masks import without_bad
from fly64_assets.contract.metadata import positive_parameter
from fly64_assets.contract.npz import load_dataset, open_npz
from fly64_assets.contract.schema import Dataset
from fly64_assets.contract.validate import validate, validate_base
from fly64_assets.errors import ArtifactError, ContractError
from fly64_assets.measured.thinning import Thinning, rows_of
from fly64_assets.physics.forward import exit_wave_energies, patch_counts
from fly64_assets.physics.scan import SPLITS
from fly64_assets.pinn.bundle import read_bundle
from fly64_assets.ptychopinn.training_config import disagreements
from fly64_assets.resources.legacy_config import training_job
from fly64_assets.simulation.detector import Detector
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.keys import Cell, Dose, StageKey
from fly64_assets.store.layout import Layout
from fly64_assets.store.records import StageRecord
from fly64_assets.store.sidecars import verified
from fly64_assets.store.storage import fetched
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.table import Stage

PARSEVAL_FRAMES: Final = 16
"""Frames of each half on which Parseval's theorem is checked."""
DATA_SETS: Final = ("_train.npz", "_test.npz", "base.npz", "measured_frames.npz")
"""Endings of the files to which DATA-001 applies."""


@dataclass(frozen=True)
class CheckContext:
    """One stage record to judge, with its inputs or its outputs alone, and what is needed to do so.

    ``notes`` takes what a rule finds and does not blame: the text of the check has it.
    """

    design: StudyDesign
    store: ArtifactStore
    layout: Layout
    record: StageRecord
    inputs: bool = True
    notes: list[str] = field(default_factory=list)

    def fact(self, form: type | tuple[type, ...], *names: str) -> Any:
        """A value of the record, of the given type; raises :class:`ArtifactError` where the record holds none."""
        found: Any = self.record.values
        for name in names:
            found = found.get(name) if isinstance(found, Mapping) else None
        if not isinstance(found, form):
            raise ArtifactError(
                f"{self.record.key.label}: the record is not of the form that this check expects ({'.'.join(names)} = "
                f"{found!r}): run its stage again"
            )
        return found


Problems = Sequence[str]
"""One sentence for every problem; an empty sequence is a pass."""


@dataclass(frozen=True)
class Rule:
    """A check: its description in the UI, and its judgement of a record."""

    description: str
    judge: Callable[[CheckContext], Problems]


def sha256(context: CheckContext) -> Problems:
    """Hash every output and compare it with its sidecar and with the record."""
    problems: list[str] = []
    for name, expected in context.record.outputs.items():
        try:
            found = verified(context.layout.folder / name).sha256
        except ArtifactError as error:
            problems.append(str(error))
            continue
        if found != expected:
            problems.append(
                f"{name}: SHA256 {found[:12]}; the record of {context.record.key.label} says {expected[:12]}"
            )
    return problems


def data_001(context: CheckContext) -> Problems:
    """Every data set of the record, among its outputs (base, simulation, view) and its inputs, against DATA-001."""
    problems: list[str] = []
    record = context.record
    written = record.outputs if record.key.stage in ("base", "simulated", "view") else {}
    names = dict.fromkeys((*written, *(record.inputs if context.inputs else ())))
    for path in (context.layout.folder / name for name in names if name.endswith(DATA_SETS)):
        try:
            arrays = open_npz(fetched(path))
        except (ArtifactError, ContractError) as error:
            problems.append(str(error))
            continue
        if path == context.layout.base:
            report = validate_base(arrays, patch_size=context.design.patch_size_pixels)
        else:
            # The doses, views and groups of a study are not those of the measured frames that it starts from.
            whole = path == context.layout.measured_frames
            report = validate(arrays, expected=None if whole else context.design.expectations())
        problems += [f"{path.name}: {finding.code}: {finding.message}" for finding in report.errors]
        context.notes.extend(f"warning: {path.name}: {found.code}: {found.message}" for found in report.warnings)
    return problems


def oversampling_001(context: CheckContext) -> Problems:
    """Enough neighbours and frames for the view's gridsize (K >= g^2, at least g^2 frames)."""
    least = context.design.gridsize(context.record.key.view or "") ** 2
    problems = []
    if least > 1 and context.design.neighbor_count < least:
        problems.append(f"OVERSAMPLING-001: neighbor_count = {context.design.neighbor_count}; {least} are needed")
    for split in SPLITS:
        if context.fact(str, "splits", split, "outcome") != "succeeded":
            continue
        frames = context.fact(int, "splits", split, "n_accepted")
        if frames < least:
            problems.append(f"OVERSAMPLING-001: {split} holds {frames} frames; {least} are needed")
    return problems


def physics(context: CheckContext) -> Problems:
    """Parseval, integer counts and dose of a simulated data set; that a thinned one is a part of its source."""
    at = context.record.key.at
    assert isinstance(at, Dose)
    if context.design.of_measured_frames:
        return _thinned(context, at)
    problems: list[str] = []
    photons, frames, expected, variance, detector = 0.0, 0, 0.0, 0.0, None
    for split in SPLITS:
        dataset = load_dataset(fetched(context.layout.patched(at, split)))
        scale = dataset.intensity_scale
        for part, counts in dataset.measurement().count_blocks():
            problems += _not_whole(dataset, part, counts, split)
            photons += float(counts.sum())
        frames += dataset.frames
        detector = Detector.of(dataset)
        recorded = positive_parameter(dataset.metadata, "expected_mean_counts") or math.nan
        mean, noise = (at.dose, 0.0) if detector is None else (recorded, detector.noise_variance(dataset.probe.size))
        expected += dataset.frames * mean
        variance += dataset.frames * (mean + noise)
        scan = dataset.scan[:PARSEVAL_FRAMES]
        detected = patch_counts(dataset.object, dataset.modes, scan, scale).sum(axis=(1, 2))
        emitted = scale**2 * exit_wave_energies(dataset.object, dataset.modes, scan)
        if not np.allclose(detected, emitted, rtol=1e-6):
            problems.append(f"{split}: Parseval's theorem fails: photons on the detector differ from the exit wave's")
    if not abs(photons - expected) <= 5 * math.sqrt(variance):
        counted = "" if detector is None else f", of which the detector should count {expected / frames:.2f}"
        problems.append(f"{photons / frames:.2f} photons per frame on average; the dose is {at.dose}{counted}")
    return problems


def _thinned(context: CheckContext, at: Dose) -> Problems:
    """Whole counts, nowhere more than measured, and as many as the thinning lets expect of those measured counts."""
    verified(context.layout.measured_frames)
    source = load_dataset(context.layout.measured_frames, hashed=True).measurement()
    problems: list[str] = []
    photons, measured, fraction = 0.0, 0.0, math.nan
    for split in SPLITS:
        dataset = load_dataset(fetched(context.layout.patched(at, split)))
        fraction = Thinning.of(dataset.metadata).fraction
        rows = rows_of(source, dataset.scan_index)
        for part, counts in dataset.measurement().count_blocks():
            problems += _not_whole(dataset, part, counts, split)
            full = source.counts(rows[part])
            if more := int(np.count_nonzero(counts > full)):
                frames = f"frames {part.start} ... {part.stop - 1}"
                problems.append(f"{split}: {more} pixels of {frames} have more photons than were measured")
            photons += float(counts.sum())
            measured += float(full.sum())
    expected, sigma = fraction * measured, math.sqrt(measured * fraction * (1 - fraction))
    if not abs(photons - expected) <= 5 * sigma:
        problems.append(
            f"{photons:.0f} photons in all; {fraction:.6g} of the measured {measured:.0f} are {expected:.0f}, give or "
            f"take {sigma:.0f}"
        )
    return problems


def _not_whole(dataset: Dataset, part: slice, counts: NDArray[np.float64], split: str) -> Iterator[str]:
    amplitude = without_bad(dataset.diffraction[part], dataset.bad_pixels).astype(np.float64)
    if np.abs((dataset.intensity_scale * amplitude) ** 2 - counts).max(initial=0) > 0.05:
        yield f"{split}: counts of frames {part.start} ... {part.stop - 1} are not whole numbers"


def learned(context: CheckContext) -> Problems:
    """Losses of the training record and its own finding about collapse; judged without the truth."""
    loss = context.fact((int, float), "final_loss")
    problems = [] if math.isfinite(loss) else [f"the final loss is {loss}"]
    if context.fact(bool, "collapsed"):
        problems.append(context.fact(str, "finding"))
    return problems


def config_001(context: CheckContext) -> Problems:
    """The snapshot of PtychoPINN's parameters inside the bundle against the design, the view and the network itself."""
    key = context.record.key
    assert isinstance(key.at, Cell)
    view = replace(context, record=context.store.required(context.layout, StageKey("view", key.at)))
    bundle = context.layout.result(key)
    verified(bundle)
    frames = view.fact(int, "splits", "train", "n_accepted")
    job = training_job(context.design, key.at.dose, key.at.view, key.repeat, frames)
    return list(disagreements(read_bundle(bundle).params, job))


RULES: Final[Mapping[str, Rule]] = {
    "sha256": Rule("Every file matches its sidecar and its record.", sha256),
    "data_001": Rule("The data sets obey the contract DATA-001.", data_001),
    "oversampling_001": Rule("Enough frames for the gridsize.", oversampling_001),
    "physics": Rule("Whole photons, the right dose; Parseval, or no photon that was not measured.", physics),
    "learned": Rule("The network is finite and not collapsed.", learned),
    "config_001": Rule("Trained with exactly the design's values.", config_001),
}


def rules_of(stage: Stage) -> tuple[str, ...]:
    """Names of the checks of an asset: integrity for all, the contract wherever there are frames, and its own."""
    return ("sha256", *(("data_001",) if stage.kind != "report" else ()), *stage.checks)
