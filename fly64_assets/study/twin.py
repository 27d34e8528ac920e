"""The simulated twin of a study of measured frames: its frames, its design, and the report on both studies.

Does not belong here: how frames are simulated (``measured.twin``), running a study (``cli.driver``), what the report
says (``evaluation.report.twin``).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

from fly64_assets.contract.metadata import derive_metadata, transformation
from fly64_assets.contract.npz import load_base, load_dataset
from fly64_assets.errors import ArtifactError
from fly64_assets.evaluation.report.twin import CellName, Side, twin_summary
from fly64_assets.evaluation.scores.compare import DOCUMENT_VERSION
from fly64_assets.measured.twin import SimulatedMeasurement, write_simulated_measurement
from fly64_assets.pinn.pretrained.settings import GENERAL
from fly64_assets.store.artifacts import ArtifactStore, State
from fly64_assets.store.hashing import json_bytes, json_sha256
from fly64_assets.store.keys import BASE, LONGEST_STUDY
from fly64_assets.store.layout import Layout
from fly64_assets.store.sidecars import Provenance, input_name, read_sidecar, verified, write_artifact
from fly64_assets.store.storage import size_of
from fly64_assets.store.yaml_file import yaml_text
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.manifests import write_manifests
from fly64_assets.study.states import active_layout
from fly64_assets.study.table import Key

ENDING: Final = "_twin"
TWIN: Final = "twin"
"""The transformation of a history that says of which study and base the frames are the twin."""
NAMED: Final = 12
"""Cells that a message names before it counts the others."""


@dataclass(frozen=True)
class Twin:
    """A twin before it has run: its design, and where that and its frames are."""

    design: StudyDesign
    path: Path
    frames: Path


def measured_layout(store: ArtifactStore, design: StudyDesign) -> Layout:
    """Layout of the active base of a study of measured frames, of which a twin can be made.

    Raises :class:`ArtifactError` where the study simulates its frames, has no base with frames, or is a twin itself.
    """
    if not design.of_measured_frames:
        raise ArtifactError(
            f"study {design.name} simulates its frames (scan: {design.scan}), and a twin is that of a study of "
            "measured frames (scan: measured): name one with `fly64 --study STUDY twin`"
        )
    layout = active_layout(store)
    record = store.required(layout, BASE)
    if layout.measured_frames.name not in record.outputs:
        raise ArtifactError(
            f"base {layout.base_id} of study {design.name} has no measured frames: import them with "
            f"`fly64 --study {design.name} base import FILE`"
        )
    verified(layout.measured_frames)
    history = load_dataset(layout.measured_frames, hashed=True).metadata.get("data_transformations", [])
    if any(step.get("operation") == TWIN for step in history):
        raise ArtifactError(
            f"study {design.name} is itself the twin of a study of measured frames: its frames are simulated, and "
            "a twin of them would say nothing more"
        )
    return layout


def require_compared(design: StudyDesign, comparisons: Mapping[Key, State]) -> None:
    """Raise :class:`ArtifactError` with the cells, among those asked for, whose comparison is not up to date."""
    missing = [f"{key.label} ({state.name}: {state.reason})" for key, state in comparisons.items() if not state.done]
    if missing:
        more = [f"... and {len(missing) - NAMED} more"] if len(missing) > NAMED else []
        lines = "\n".join(f"  {line}" for line in (*missing[:NAMED], *more))
        raise ArtifactError(
            f"{len(missing)} of {len(comparisons)} cells of study {design.name} have no comparison, and a twin is "
            f"compared cell by cell: run `fly64 run` first, or name cells with --dose and --view\n{lines}"
        )
    if not any(state.name == "fresh" for state in comparisons.values()):
        raise ArtifactError(
            f"every cell of study {design.name} that was asked for is skipped: there is nothing to compare"
        )


def twin_design(design: StudyDesign, frames: Path) -> StudyDesign:
    """The design of the twin: that of the measured study, without a calibration, on simulated frames.

    Raises :class:`ArtifactError` where its name would be too long.
    """
    name = f"{design.name}{ENDING}"
    if len(name) > LONGEST_STUDY:
        raise ArtifactError(
            f"the twin of study {design.name} would be {name}, and names of studies have at most {LONGEST_STUDY} "
            "characters: give the study a shorter name"
        )
    measured = replace(design.measured, calibrate=False, refine_positions=False)
    # A path from the study's design does not lead anywhere from the folder of the twin.
    network = design.pretrained
    if network.network != GENERAL:
        network = replace(network, network=str(network.file(design.folder).resolve()))
    return replace(
        design, name=name, measured=measured, pretrained=network, base=frames.name, folder=frames.parent, notes=()
    )


def make_twin(layout: Layout, design: StudyDesign) -> Twin:
    """Write the frames and the design of the twin beside the base; what is there and up to date is left alone."""
    frames, path, *_ = layout.twin
    made = Twin(twin_design(design, frames), path, frames)
    inputs = {input_name(layout, file): verified(file).sha256 for file in (layout.base, layout.measured_frames)}
    seed = design.rng_seeds["simulation"]
    measured = load_dataset(layout.measured_frames, hashed=True)
    photons = float(measured.metadata["physics_parameters"]["nphotons"])
    provenance = Provenance(inputs=inputs, parameters={"photons": photons, "seed": seed}, seeds={"noise": seed})
    if not _is_made_so(frames, provenance):
        base = load_base(layout.base)
        step = transformation(TWIN, {"study": design.name, "base": layout.base_id})
        base = replace(base, metadata=derive_metadata(base.metadata, step))
        simulated = SimulatedMeasurement.of(base, photons, seed, measured.bad_pixels, measured.scan_index)
        write_artifact(layout, frames, lambda file: write_simulated_measurement(simulated, file), provenance)
    text = (
        f"# The simulated twin of study {design.name} on base {layout.base_id}; `fly64 twin` writes it anew.\n"
        + yaml_text(made.design.to_dict())
    ).encode()
    write_artifact(layout, path, partial(_write, text), Provenance(design_sha256=made.design.sha256()))
    return made


def _is_made_so(path: Path, provenance: Provenance) -> bool:
    """Whether an intact file is there that was made of the same inputs with the same parameters."""
    with suppress(ArtifactError):
        verified(path)
        sidecar = read_sidecar(path)
        same_inputs = sorted(sidecar["inputs"].values()) == sorted(provenance.inputs.values())
        return same_inputs and sidecar["parameters_sha256"] == json_sha256(provenance.parameters)
    return False


def write_twin_report(
    store: ArtifactStore, design: StudyDesign, twin_store: ArtifactStore, twin: Twin, keys: Collection[Key]
) -> Path:
    """Write the report on both studies, as HTML, Markdown and JSON; returns the page.

    ``keys`` are the comparisons to put side by side. Raises :class:`ArtifactError` if a file of either is damaged.
    """
    from fly64_assets.evaluation.report.twin_page import render_twin, render_twin_markdown, twin_figure

    layout, other = active_layout(store), active_layout(twin_store)
    sides = [
        Side(of.name, one.base_id, *_compared(where, one, keys))
        for of, where, one in ((design, store, layout), (twin.design, twin_store, other))
    ]
    verified(layout.calibration)
    calibration = json.loads(layout.calibration.read_text(encoding="utf-8"))
    summary = twin_summary(*sides, calibration=calibration)
    page = render_twin(summary, twin_figure(summary))
    inputs = {
        input_name(layout, path): verified(path).sha256
        for path in (layout.calibration, *(layout.output(key, "comparison.json") for key in keys))
        if size_of(path) is not None
    }
    provenance = Provenance(inputs=inputs, design_sha256=design.sha256())
    contents = (json_bytes(summary, "twin.json"), render_twin_markdown(summary).encode(), page.encode())
    for path, content in zip(layout.twin[2:], contents, strict=True):
        write_artifact(layout, path, partial(_write, content), provenance)
    write_manifests(layout, design)
    return layout.twin[-1]


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def _compared(
    store: ArtifactStore, layout: Layout, keys: Collection[Key]
) -> tuple[dict[CellName, dict[int, dict[str, Any]]], dict[CellName, str]]:
    """Comparison documents by cell and repeat, and why a cell has none."""
    documents: dict[CellName, dict[int, dict[str, Any]]] = {}
    reasons: dict[CellName, str] = {}
    for key in keys:
        cell = (int(key.dose or 0), str(key.view))
        record = store.record(layout, key)
        path = layout.output(key, "comparison.json")
        if record is None or record.outcome != "succeeded":
            reasons[cell] = record.reason if record is not None else f"{key.label} has not run"
            continue
        verified(path)
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.get("version") == DOCUMENT_VERSION:
            documents.setdefault(cell, {})[key.repeat] = document
        else:
            reasons[cell] = f"{key.label} was made by another version: run `fly64 run` again"
    return documents, reasons
