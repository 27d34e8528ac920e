"""Bringing measured frames into the store: converted, calibrated in a process of their own, kept as one base.

Belongs here: the order of the steps and the files of the base. Does not belong here: what the calibration computes
(``measured.calibration``), whether frames can carry the study (``study.measured_check``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.archive import row_blocks
from fly64_assets.contract.findings import ContractReport, Finding, FormError, Severity, information
from fly64_assets.contract.metadata import (
    STAND_IN_OBJECT,
    decode_metadata,
    derive_metadata,
    has_stand_in_object,
    is_stand_in,
    transformation,
)
from fly64_assets.contract.npz import open_npz, write_data_set, write_npz
from fly64_assets.contract.probe_findings import PHOTONS
from fly64_assets.contract.schema import Base, base_arrays, further, small_arrays, strongest
from fly64_assets.contract.validate import validate_base
from fly64_assets.engines.process import run_isolated
from fly64_assets.errors import Fly64Error
from fly64_assets.ptychopinn.data_sets import read_data_set
from fly64_assets.ptychopinn.importing import IGNORED, REFUSED, UNDERSTOOD, Entry
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.atomic import explained
from fly64_assets.store.builds import Build
from fly64_assets.store.hashing import sha256_file
from fly64_assets.store.keys import BASE
from fly64_assets.store.layout import Layout, base_id
from fly64_assets.store.locks import Announce
from fly64_assets.store.records import StageRecord
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.intake_terms import (
    Engine,
    Form,
    Say,
    base_build,
    base_facts,
    further_files,
    stated,
    unchanged_sha256,
    warned,
)
from fly64_assets.study.measured_check import measured_findings

JOB: Final = "fly64_assets.measured.calibration.job:calibrate_job"
LOG: Final = "calibration.log"
ARRAYS: Final = "calibration.npz"
PICTURE: Final = "calibration.png"
CALIBRATE: Final = "calibrate"
"""Operation in the history of the files of such a base."""

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class MeasuredImport:
    """A file of measured frames and what a user says of it; see :func:`fly64_assets.study.intake.intake_file`."""

    path: Path
    origin: str
    form: Form | None = None
    expected: str | None = None
    strict: bool = False


def no_frames_named(design: StudyDesign) -> str:
    """What to do where a study of measured frames has none, as a sentence."""
    return (
        f"study {design.name} is one of measured frames (scan: measured), and none were imported: bring them with "
        f"`fly64 base import FRAMES`, or name their file in the design (base: FILE)"
    )


def intake_measured(
    store: ArtifactStore,
    design: StudyDesign,
    wanted: MeasuredImport,
    engine: Engine,
    announce: Announce | None,
    say: Say,
) -> StageRecord:
    """Convert, calibrate and keep a file of measured frames as a base, and make it the active one.

    A file that was calibrated with the same settings is not calibrated again. Raises :class:`Fly64Error`, one
    sentence, where the file cannot be converted or carry the study, or the frames do not fit their positions.
    """
    path, form = wanted.path, wanted.form or {}
    source = unchanged_sha256(path, wanted.expected)
    name = base_id(path, source)
    layout, parameters = store.layout(name), measured_parameters(design, form)
    inputs = {path.resolve(): source} | {file.resolve(): sha256_file(file) for file in further_files(form)}
    version = stages.code_version(BASE)
    if not store.state(layout, BASE, inputs, parameters, code_version=version).done:
        arrays, report = judged(path, design, wanted.form, strict=wanted.strict)
        report.raise_if_failed(f"{path.name}")
        for finding in report.findings:
            say(finding)
        with base_build(store, layout, design, inputs, parameters, announce) as build:
            if not build.done:
                facts = _calibrated(build, layout, design, arrays, source, engine)
                build.succeed(facts | {"origin": wanted.origin, "base_id": name} | warned(report.warnings))
    store.set_active_base(name, wanted.origin)
    return store.required(layout, BASE)


def measured_parameters(design: StudyDesign, form: Form) -> dict[str, Any]:
    """What a base of measured frames depends on besides its file: the calibration, and what a user says of the file."""
    said = stated(form)
    return stages.parameters(design, BASE) | ({"form": said} if said else {})


def judged(
    path: Path, design: StudyDesign, form: Form | None, *, strict: bool = False
) -> tuple[Arrays, ContractReport]:
    """The arrays of a file of frames in canonical form, and all that was found. Writes nothing.

    Raises :class:`ContractError` if the file cannot be read or needs a guess, which the message names.
    """
    try:
        arrays, entries = read_data_set(path, form or {})
    except FormError as problem:
        if form is None and problem.names_option:
            where = f"that is an option of `fly64 base import {path}`"
            raise FormError(problem.code, f"{problem} ({where})") from problem
        raise
    found = [_finding(entry, design) for entry in entries if entry.verdict not in (UNDERSTOOD, IGNORED)]
    if all(finding.severity != "error" for finding in found):
        found += measured_findings(arrays, design)
    report = ContractReport(tuple(found))
    return arrays, report.strict() if strict else report


def measured_name(design: StudyDesign, path: Path, say: Say) -> str:
    """Name under which :func:`intake_measured` would keep a file; :class:`ContractError` if it would refuse it."""
    report = judged(path, design, None)[1]
    report.raise_if_failed(path.name)
    for finding in report.findings:
        say(finding)
    return base_id(path, sha256_file(path))


def measured_problem(design: StudyDesign, path: Path) -> str:
    """Why a file cannot be the measured frames of a study; empty if it can."""
    try:
        judged(path, design, None)[1].raise_if_failed(path.name)
    except Fly64Error as problem:
        return str(problem)
    return ""


def _finding(entry: Entry, design: StudyDesign) -> Finding:
    severities: dict[str, Severity] = {REFUSED: "error", "warning": "warning"}
    code = str(entry.value) if entry.key == "(contract)" else "IMPORT"
    if code == PHOTONS and design.measured.calibrate:
        return information(code, "the probe of the file is in another unit than the counts; the calibration scales it")
    message = entry.text if code != "IMPORT" else f"{entry.key}: {entry.value}: {entry.text}"
    return Finding(code, severities.get(entry.verdict, "info"), message)


def _calibrated(
    build: Build, layout: Layout, design: StudyDesign, arrays: Arrays, source: str, engine: Engine
) -> dict[str, Any]:
    """Run the calibration on converted frames, write the files of the base, and return its facts."""
    frames, log = build.scratch / "frames.npz", build.scratch / LOG
    with explained(layout.measured_frames, frames), frames.open("wb") as file:
        write_npz(file, arrays)
    request = {
        "measurement": str(frames),
        "output_folder": str(build.scratch),
        "settings": design.measured.calibration(),
        "execution": engine.execution.to_dict(),
    }
    try:
        facts = run_isolated(
            JOB,
            request,
            execution=engine.execution,
            log_path=log,
            progress=engine.progress,
            libraries=build.computed_with,
        )
    finally:
        if log.exists():
            build.adopt(log, layout.output(BASE, LOG), data=False)
    found = open_npz(build.scratch / ARRAYS)
    base = _base(arrays, found, design, layout, source)
    kept = base_arrays(base)
    validate_base(kept, patch_size=design.patch_size_pixels).raise_if_failed(f"base {layout.base_id}")
    build.write(layout.base, lambda file: write_npz(file, kept))
    small = _small_arrays(arrays, base, facts)
    blocks = (block for _, block in row_blocks(arrays[schema.FRAMES]))
    where = f"base {layout.base_id}: the measured frames"
    build.write(layout.measured_frames, lambda file: write_data_set(file, small, blocks, None, where=where))
    build.adopt(build.scratch / ARRAYS, layout.output(BASE, ARRAYS))
    build.adopt(build.scratch / layout.calibration.name, layout.calibration, data=False)
    build.adopt(build.scratch / PICTURE, layout.output(BASE, PICTURE), data=False)
    return base_facts(kept) | facts


def _base(arrays: Arrays, found: Arrays, design: StudyDesign, layout: Layout, source: str) -> Base:
    """The reference object with the calibrated probe and positions."""
    own = decode_metadata(arrays[schema.METADATA])
    history = [step for step in own.get("data_transformations", []) if not is_stand_in(step)]
    step = transformation(CALIBRATE, design.measured.calibration())
    fields = {"base": {"name": layout.base_id, "sha256": source}}
    metadata = derive_metadata(own | {"data_transformations": history}, step, fields=fields)
    probe = found["probe"]
    return Base(found["object"], strongest(probe), found["xcoords"], found["ycoords"], metadata, further(probe))


def _small_arrays(arrays: Arrays, base: Base, facts: Mapping[str, Any]) -> Arrays:
    """Everything of the data set of measured frames besides the frames; ones stand in for the object."""
    own = decode_metadata(arrays[schema.METADATA])
    steps = [transformation(CALIBRATE, base.metadata["data_transformations"][-1]["parameters"])]
    if not has_stand_in_object(own):
        steps.append(transformation(STAND_IN_OBJECT, {"key": schema.OBJECT, "reason": "no method may see the object"}))
    photons = facts["measured_photons"]
    metadata = derive_metadata(
        own,
        *steps,
        physics={"nphotons": photons, "expected_mean_counts": photons},
        fields={"base": base.metadata["base"]},
    )
    return small_arrays(
        np.ones_like(base.object),
        base.modes,
        base.x,
        base.y,
        arrays[schema.SCAN_INDEX],
        metadata,
        bad_pixels=arrays.get(schema.BAD_PIXELS),
    )
