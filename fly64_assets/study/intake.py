"""Bringing a base into the store: made from the design's recipe, or from a user's file in any known form.

Does not belong here: the conversion of forms (``contract.canonical``), pictures (``simulation.bases``).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fly64_assets.contract.canonical import canonicalize_base
from fly64_assets.contract.metadata import build_metadata, encode_metadata, transformation
from fly64_assets.contract.npz import write_npz
from fly64_assets.contract.schema import METADATA, Base, base_arrays
from fly64_assets.contract.validate import validate_base
from fly64_assets.errors import ContractError, Fly64Error
from fly64_assets.physics.illumination import probe_diameter_px
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.recipe import BaseRecipe
from fly64_assets.store.artifacts import IMPORTED, ArtifactStore
from fly64_assets.store.hashing import sha256_file
from fly64_assets.store.keys import BASE
from fly64_assets.store.layout import base_id
from fly64_assets.store.locks import Announce
from fly64_assets.store.records import StageRecord
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign


def recipe_base(recipe: BaseRecipe, patch_size: int, name: str) -> Base:
    """A base made from its recipe, with its history in the metadata."""
    base = make_base(recipe, patch_size)
    entry = transformation("make_base", {**asdict(recipe), "patch_size": patch_size})
    metadata = build_metadata(patch_size, entry, fields={"base": {"name": name, "sha256": None}})
    return replace(base, metadata=metadata)


def intake_from_design(store: ArtifactStore, design: StudyDesign, announce: Announce | None = None) -> StageRecord:
    """Make or import the base that the design names, and make it the active one."""
    if not isinstance(design.base, BaseRecipe):
        assert design.base_path is not None
        return intake_file(store, design, design.base_path, origin="design_file", announce=announce)
    arrays = base_arrays(recipe_base(design.base, design.patch_size_pixels, design.name))
    name = base_id(design.name, hashlib.sha256(npz_bytes(arrays)).hexdigest())
    return _keep(store, design, arrays, name, "recipe", {}, stages.parameters(design, BASE), announce)


def intake_file(
    store: ArtifactStore,
    design: StudyDesign,
    path: Path,
    *,
    origin: str = IMPORTED,
    rename: Mapping[str, str] | None = None,
    expected: str | None = None,
    announce: Announce | None = None,
) -> StageRecord:
    """Import a user's base file in any of the known forms, and make it the active one.

    Raises :class:`ContractError` if the file cannot be read, is not a base, its probe is not as large as the design's
    windows, or its SHA256 is not the ``expected`` one.
    """
    arrays, transformations = canonicalize_base(path, rename=rename)
    source = sha256_file(path)
    if expected and source != expected:
        raise ContractError(
            f"{path}: its content changed after it was chosen (SHA256 {expected[:12]} then, {source[:12]} now); "
            "import it again when it has its last form"
        )
    fields = {"base": {"name": path.name, "sha256": source}}
    metadata = build_metadata(len(arrays["probeGuess"]), *transformations, fields=fields)
    arrays = {**arrays, METADATA: encode_metadata(metadata)}
    parameters = {"patch_size_pixels": design.patch_size_pixels}
    return _keep(store, design, arrays, base_id(path, source), origin, {path.resolve(): source}, parameters, announce)


def base_name(design: StudyDesign, path: Path) -> str:
    """Name under which :func:`intake_file` would keep a base file; :class:`ContractError` if it would refuse it."""
    arrays, _ = canonicalize_base(path)
    validate_base(arrays, patch_size=design.patch_size_pixels).raise_if_failed(f"base {path.name}")
    return base_id(path, sha256_file(path))


def base_problem(design: StudyDesign, path: Path) -> str:
    """Why a file cannot become a base of this study, with every finding; empty if it can. Writes nothing."""
    try:
        arrays, _ = canonicalize_base(path)
        validate_base(arrays, patch_size=design.patch_size_pixels).raise_if_failed(path.name)
        _facts(arrays)
    except Fly64Error as error:
        return str(error)
    return ""


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
) -> StageRecord:
    validate_base(arrays, patch_size=design.patch_size_pixels).raise_if_failed(f"base {name}")
    layout = store.layout(name)
    code_version = stages.code_version(BASE)
    if not store.state(layout, BASE, inputs, parameters, code_version=code_version).done:
        with store.build(
            layout,
            BASE,
            inputs=inputs,
            parameters=parameters,
            design_sha256=design.sha256(),
            code_version=code_version,
            seeds={},
            announce=announce,
        ) as build:
            if not build.done:
                build.write(layout.base, lambda file: write_npz(file, arrays))
                build.succeed(_facts(arrays) | {"origin": origin, "base_id": name})
    store.set_active_base(name, origin)
    return store.required(layout, BASE)


def _facts(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    height, width = arrays["objectGuess"].shape
    try:
        diameter = probe_diameter_px(arrays["probeGuess"])
    except ValueError as error:
        raise ContractError(f"the base cannot be used: {error}") from error
    return {
        "object_height_px": height,
        "object_width_px": width,
        "patch_size_px": int(arrays["probeGuess"].shape[0]),
        "positions": len(arrays["xcoords"]),
        "probe_diameter_px": diameter,
    }
