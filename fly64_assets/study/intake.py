"""Bringing a base into the store: made from the design's recipe, or from a user's file in any known form.

Does not belong here: the conversion of forms (``contract.canonical``), pictures (``simulation.bases``).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.canonical import canonicalize_base
from fly64_assets.contract.findings import ContractReport, FormError, error, information
from fly64_assets.contract.metadata import build_metadata, decode_metadata, encode_metadata, geometry, transformation
from fly64_assets.contract.npz import load_base, write_npz
from fly64_assets.contract.scan_findings import LINE
from fly64_assets.contract.schema import METADATA, Base, base_arrays, further, strongest
from fly64_assets.contract.validate import validate_base
from fly64_assets.errors import ArtifactError, ContractError, Fly64Error
from fly64_assets.formats.reading.opening import opened
from fly64_assets.physics.scan import SCANS, one_sided, split_indices, split_point
from fly64_assets.pinn.settings import NETWORK_PATCH_SIZES
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.frames import simulate
from fly64_assets.simulation.objects.kinds import GeneratedBase
from fly64_assets.simulation.objects.making import generated_base
from fly64_assets.simulation.recipe import BaseRecipe
from fly64_assets.simulation.views import thinned
from fly64_assets.store.artifacts import IMPORTED, ArtifactStore
from fly64_assets.store.hashing import sha256_file
from fly64_assets.store.keys import BASE
from fly64_assets.store.layout import base_id
from fly64_assets.store.locks import Announce
from fly64_assets.store.records import StageRecord
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.intake_terms import (
    ON_THE_CPU,
    Engine,
    Form,
    Say,
    base_build,
    base_facts,
    further_files,
    silent,
    stated,
    unchanged_sha256,
    warned,
)
from fly64_assets.study.measured_intake import (
    MeasuredImport,
    intake_measured,
    measured_name,
    measured_problem,
    no_frames_named,
)

SHAPE: Final = "STUDY.patch_size"
SCAN: Final = "STUDY.scan"
SCAN_WORDS: Final = {
    "uniform": "draws as many anew",
    "raster": "places as many in a jittered raster",
    "fermat": "places as many on a Fermat spiral",
}


def recipe_base(recipe: BaseRecipe, patch_size: int, name: str) -> Base:
    """A base made from its recipe, with its history in the metadata."""
    base = make_base(recipe, patch_size)
    entry = transformation("make_base", {**asdict(recipe), "patch_size": patch_size})
    metadata = build_metadata(patch_size, entry, fields={"base": {"name": name, "sha256": None}})
    return replace(base, metadata=metadata)


def intake_from_design(
    store: ArtifactStore,
    design: StudyDesign,
    announce: Announce | None = None,
    say: Say = silent,
    engine: Engine = ON_THE_CPU,
) -> StageRecord:
    """Make or import the base that the design names, and make it the active one; see :func:`intake_file`."""
    if not isinstance(design.base, BaseRecipe):
        assert design.base_path is not None
        return intake_file(
            store, design, design.base_path, origin="design_file", announce=announce, say=say, engine=engine
        )
    if design.of_measured_frames:
        raise ArtifactError(no_frames_named(design))
    arrays = base_arrays(recipe_base(design.base, design.patch_size_pixels, design.name))
    name = base_id(design.name, hashlib.sha256(npz_bytes(arrays)).hexdigest())
    report = base_report(arrays, design)
    report.raise_if_failed(f"base {name}")
    return _keep(store, design, arrays, name, "recipe", {}, stages.parameters(design, BASE), announce, report)


def intake_generated(
    store: ArtifactStore,
    design: StudyDesign,
    recipe: GeneratedBase,
    name: str,
    parameters: Mapping[str, Any],
    probe: NDArray[np.complexfloating] | None = None,
    announce: Announce | None = None,
) -> StageRecord:
    """Make a base of a campaign, and make it the active one; ``parameters`` are those of its record.

    Raises :class:`ContractError` if the study cannot use it.
    """
    arrays = base_arrays(generated_base(recipe, design.patch_size_pixels, name, probe))
    known = base_id(name, hashlib.sha256(npz_bytes(arrays)).hexdigest())
    report = base_report(arrays, design)
    report.raise_if_failed(f"base {known}")
    return _keep(store, design, arrays, known, IMPORTED, {}, parameters, announce, report)


def intake_file(
    store: ArtifactStore,
    design: StudyDesign,
    path: Path,
    *,
    origin: str = IMPORTED,
    form: Form | None = None,
    expected: str | None = None,
    announce: Announce | None = None,
    say: Say = silent,
    strict: bool = False,
    engine: Engine = ON_THE_CPU,
) -> StageRecord:
    """Import a user's base file in any of the known forms, and make it the active one.

    Of a study of measured frames it is a file of frames, which ``engine`` calibrates.

    ``form`` is None where the user has no options to say anything about it. Raises :class:`ContractError` if the file
    cannot be read, is not a base, or not one that the study can use, if its SHA256 is not the ``expected`` one, and
    with ``strict`` if there is a warning. What is found besides is shown by ``say``.
    """
    if design.of_measured_frames:
        wanted = MeasuredImport(path, origin, form, expected, strict)
        return intake_measured(store, design, wanted, engine, announce, say)
    arrays, transformations = _canonical(path, form)
    source = unchanged_sha256(path, expected)
    fields = {"base": {"name": path.name, "sha256": source}}
    physics = geometry(decode_metadata(arrays[METADATA]))
    metadata = build_metadata(arrays["probeGuess"].shape[-1], *transformations, physics=physics, fields=fields)
    arrays = {**arrays, METADATA: encode_metadata(metadata)}
    report = base_report(arrays, design)
    (report.strict() if strict else report).raise_if_failed(f"base {base_id(path, source)}")
    for finding in report.findings:
        say(finding)
    said = stated(form or {})
    parameters = {"patch_size_pixels": design.patch_size_pixels} | ({"form": said} if said else {})
    name = base_id(path, source)
    inputs = {path.resolve(): source} | {file.resolve(): sha256_file(file) for file in further_files(form or {})}
    return _keep(store, design, arrays, name, origin, inputs, parameters, announce, report)


def base_name(design: StudyDesign, path: Path, say: Say = silent) -> str:
    """Name under which :func:`intake_file` would keep a base file; :class:`ContractError` if it would refuse it."""
    if design.of_measured_frames:
        return measured_name(design, path, say)
    report = base_report(_canonical(path, None)[0], design)
    report.raise_if_failed(f"base {path.name}")
    for finding in report.findings:
        say(finding)
    return base_id(path, sha256_file(path))


def base_problem(design: StudyDesign, path: Path) -> str:
    """Why a file cannot become a base of this study, with every finding; empty if it can. Writes nothing."""
    try:
        if design.of_measured_frames:
            return measured_problem(design, path)
        arrays, _ = _canonical(path, None)
        base_report(arrays, design).raise_if_failed(path.name)
        base_facts(arrays)
    except Fly64Error as problem:
        return str(problem)
    except OSError:
        raise
    except Exception as problem:  # noqa: BLE001 (no content of one file may stop the watch for others)
        return f"it cannot be converted ({type(problem).__name__}: {problem})"
    return ""


def base_report(
    arrays: Mapping[str, NDArray[Any]], design: StudyDesign | None, patch_size: int | None = None
) -> ContractReport:
    """Judge canonical arrays of a base: by the contract, and by what the study, or without one any study, can use."""
    size = design.patch_size_pixels if design else patch_size
    report = validate_base(arrays, patch_size=size)
    if not report.ok:
        return report
    found = []
    side = arrays["probeGuess"].shape[-1]
    if side not in NETWORK_PATCH_SIZES:
        sizes = ", ".join(map(str, NETWORK_PATCH_SIZES))
        found.append(error(SHAPE, f"the probe is {side} px wide; the N of a study is one of {sizes}"))
    x, y = arrays["xcoords"], arrays["ycoords"]
    if design is None:
        lines = [f"with `scan: base`, {why}" for axis in ("x", "y") if (why := one_sided(x, y, axis))]
        found += [information(SCAN, line) for line in lines]
    elif design.scan == "base":
        why = one_sided(x, y, design.train_test_split_axis)
        found += [error(SCAN, f"one half of the scan is empty: {why}")] if why else []
    else:
        found += [information(SCAN, unused_scan(design, x, y, arrays["probeGuess"]))]
    if all(finding.severity != "error" for finding in found) and (why := _no_simulation(arrays, design)):
        found.append(error(SCAN, why))
    report = ContractReport((*report.findings, *found))
    # A study of a scan in one direction has nothing to compare; frames at other positions may be made of its base.
    return report.strict(LINE) if design is not None and design.scan == "base" else report


def _no_simulation(arrays: Mapping[str, NDArray[Any]], design: StudyDesign | None) -> str:
    """Why no frames can be simulated from a base, of the study or of any one; empty if they can be."""
    x, y = arrays["xcoords"], arrays["ycoords"]
    probe = arrays["probeGuess"]
    base = Base(arrays["objectGuess"], strongest(probe), x, y, {}, further(probe))
    # The largest dose has the least amplitude of one photon; all else is the same for every dose.
    seed, dose = (design.rng_seeds["simulation"], max(design.doses)) if design else (0, 1000)
    axes = [design.train_test_split_axis] if design else [axis for axis in ("x", "y") if not one_sided(x, y, axis)]
    try:
        if axes:
            simulate(base, dose=dose, scan=design.scan if design else "base", axis=axes[0], seed=seed)
    except ContractError as problem:
        return str(problem)
    return ""


def unused_scan(
    design: StudyDesign, x: NDArray[np.float64], y: NDArray[np.float64], probe: NDArray[np.complexfloating]
) -> str:
    """That a study draws its own positions, how it would keep those of the base, and which views they would carry."""
    said = (
        f"the base's own {len(x)} positions are not used: `scan: {design.scan}` {SCAN_WORDS[design.scan]} over the "
        "whole object. "
        "`scan: base` in the design keeps them"
    )
    axis = design.train_test_split_axis
    if why := one_sided(x, y, axis):
        return f"{said}; as they are, one half of the scan would be empty: {why}"
    coordinate = y if axis == "y" else x
    carried: list[str] = []
    lacking: list[str] = []
    for view in design.views:
        rule = design.view_rule(view)
        frames: dict[str, int] = {}
        for split, half in split_indices(coordinate, split_point(coordinate)).items():
            coords = np.c_[x, y][half]
            kept = len(half)
            if not rule.keeps_all:
                selection, _, short = thinned(rule, coords, probe, view)
                kept = 0 if short else len(selection.kept)
            frames[split] = kept
        counts = " and ".join(f"{number} {split}" for split, number in frames.items())
        (carried if min(frames.values()) >= rule.least_frames else lacking).append(f"{view} ({counts})")
    words = [f"they carry {', '.join(carried)}"] if carried else []
    words += [f"they are too few for {', '.join(lacking)}"] if lacking else []
    return f"{said}; {', '.join(words)}"


def base_remarks(store: ArtifactStore, design: StudyDesign) -> tuple[str, ...]:
    """What a user should know about the active base before results are made of it."""
    active = store.active_base()
    if active is None or design.scan not in SCANS:
        return ()
    layout = store.layout(active.base_id)
    with suppress(Fly64Error):  # the stages that read a damaged base say so
        if store.required(layout, BASE).values.get("origin") != "recipe":
            base = load_base(layout.base)
            return (unused_scan(design, base.x, base.y, base.modes),)
    return ()


def _canonical(path: Path, form: Form | None) -> tuple[dict[str, NDArray[Any]], list[dict[str, Any]]]:
    try:
        found, steps = opened(path, form or {}, frames=False)
        return canonicalize_base(found, **steps)
    except FormError as problem:
        if form is None and problem.names_option:
            where = f"that is an option of `fly64 base import {path}`"
            raise FormError(problem.code, f"{problem} ({where})") from problem
        raise


def npz_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """A base file as bytes; equal arrays give equal bytes."""
    file = io.BytesIO()
    write_npz(file, arrays)
    return file.getvalue()


def _keep(
    store: ArtifactStore,
    design: StudyDesign,
    arrays: Mapping[str, NDArray[Any]],
    name: str,
    origin: str,
    inputs: Mapping[Path, str],
    parameters: Mapping[str, Any],
    announce: Announce | None,
    report: ContractReport,
) -> StageRecord:
    layout = store.layout(name)
    code_version = stages.code_version(BASE)
    if not store.state(layout, BASE, inputs, parameters, code_version=code_version).done:
        with base_build(store, layout, design, inputs, parameters, announce) as build:
            if not build.done:
                build.write(layout.base, lambda file: write_npz(file, arrays))
                build.succeed(base_facts(arrays) | {"origin": origin, "base_id": name} | warned(report.warnings))
    store.set_active_base(name, origin)
    return store.required(layout, BASE)
