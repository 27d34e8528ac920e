"""The bundle ``wts.h5.zip``: everything needed to run a trained network again, equal content as equal bytes.

The reader treats every file as untrusted input. Members, in this order, stored with fixed time stamps:
``manifest.json`` (versions, architecture, models, hashes of the other members), ``params.json`` (every training
parameter), ``diffraction_to_obj/weights.h5`` (HDF5, one data set per tensor), ``history.csv`` (epochs and losses).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from fly64_assets.errors import ArtifactError
from fly64_assets.pinn.network_spec import NetworkSpec

FORMAT_VERSION: Final = 1
MODELS: Final = ("autoencoder", "diffraction_to_obj")
MANIFEST: Final = "manifest.json"
PARAMETERS: Final = "params.json"
WEIGHTS: Final = "diffraction_to_obj/weights.h5"
HISTORY: Final = "history.csv"
MEMBERS: Final = (MANIFEST, PARAMETERS, WEIGHTS, HISTORY)
LEAST_TIME: Final = (1980, 1, 1, 0, 0, 0)
MAX_MEMBER_BYTES: Final = 1 << 30
"""Largest member a reader accepts; networks of this project have about 1 MB of weights."""


@dataclass(frozen=True)
class Bundle:
    """Contents of a bundle.

    ``manifest`` has format version, backend, architecture, models, versions, data and design hashes; the writer adds
    ``members`` (SHA256 by member). ``params`` has the training parameters, ``intensity_scale``, ``input_scale`` and,
    where there is one, the legacy snapshot. ``history`` has one row per epoch; the keys of the first are the columns.
    """

    manifest: dict[str, Any]
    params: dict[str, Any]
    weights: dict[str, NDArray[Any]]
    history: list[dict[str, float]]

    def spec(self) -> NetworkSpec:
        """What determines the network. Raises :class:`ArtifactError` if the bundle does not say."""
        try:
            return NetworkSpec.from_dict(self.params["network"])
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"the bundle's params.json does not describe its network ({error})") from error

    def require_shapes(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        """Raise :class:`ArtifactError` unless the weights have exactly these names and shapes."""
        shapes = {name: value.shape for name, value in self.weights.items()}
        if dict(expected) != shapes:
            differing = sorted(expected.items() ^ shapes.items())
            raise ArtifactError(f"the bundle's weights do not fit its network; the first difference: {differing[0]}")

    def require_patch_size(self, patch_size: int) -> None:
        """Raise :class:`ArtifactError` unless frames of this size [px] are those of the training."""
        trained = self.spec().patch_size
        if trained != patch_size:
            raise ArtifactError(f"the bundle is for frames of {trained} px, the measurement has {patch_size} px")


def write_bundle(path: Path, bundle: Bundle) -> str:
    """Write a bundle to ``path``; returns its SHA256."""
    content = bundle_bytes(bundle)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def bundle_bytes(bundle: Bundle) -> bytes:
    """The file of a bundle.

    The bytes depend on the contents only: fixed order and time stamps, no compression (whose result depends on
    the version of zlib), HDF5 without times.
    """
    content = {
        PARAMETERS: _json_bytes(bundle.params),
        WEIGHTS: _weights_bytes(bundle.weights),
        HISTORY: history_csv(bundle.history).encode(),
    }
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    content[MANIFEST] = _json_bytes(
        {"format_version": FORMAT_VERSION, "models": list(MODELS)} | bundle.manifest | {"members": hashes}
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in MEMBERS:
            member = zipfile.ZipInfo(name, LEAST_TIME)
            member.external_attr = 0o644 << 16
            member.create_system = 3
            archive.writestr(member, content[name])
    return file.getvalue()


def read_bundle(path: Path) -> Bundle:
    """Read and verify a bundle; needs no file beside it.

    Raises
    ------
    ArtifactError
        If the file is not a bundle, holds unexpected, absolute, ``..``, duplicate or oversized members, has another
        format version, or a member differs from its hash in the manifest.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive.infolist())
            content = {name: _member(path, archive, name) for name in MEMBERS}
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ArtifactError(f"{path.name}: not a readable bundle ({error}); train the cell again") from error
    manifest = _json_object(path, MANIFEST, content[MANIFEST])
    if manifest.get("format_version") != FORMAT_VERSION:
        raise ArtifactError(
            f"{path.name}: format version {manifest.get('format_version')!r}, this program reads {FORMAT_VERSION}"
        )
    hashes = manifest.get("members")
    for name in MEMBERS[1:]:
        expected = hashes.get(name) if isinstance(hashes, dict) else None
        actual = hashlib.sha256(content[name]).hexdigest()
        if actual != expected:
            raise ArtifactError(
                f"{path.name}: member {name} has SHA256 {actual}, its manifest says {expected}; "
                "the bundle was changed after training, train the cell again"
            )
    params = _json_object(path, PARAMETERS, content[PARAMETERS])
    return Bundle(manifest, params, _read_weights(path, content[WEIGHTS]), _read_history(path, content[HISTORY]))


def history_csv(history: Sequence[Mapping[str, float]]) -> str:
    """Epochs and losses as CSV; numbers in the shortest form that reads back exactly."""
    text = io.StringIO()
    if history:
        writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: repr(value) for key, value in row.items()} for row in history)
    return text.getvalue()


# -- parts ----------------------------------------------------------------------------------------------------


def _json_bytes(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _json_object(path: Path, name: str, data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError as error:
        raise ArtifactError(f"{path.name}: member {name} is not JSON ({error})") from error
    if not isinstance(document, dict):
        raise ArtifactError(f"{path.name}: member {name} must be a JSON object, found {type(document).__name__}")
    return cast(dict[str, Any], document)


def _weights_bytes(weights: Mapping[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    # Newer file formats stamp the root group with the time of writing; the earliest does not.
    with h5py.File(buffer, "w", libver=("earliest", "v108")) as file:
        for name in sorted(weights):
            file.create_dataset(name, data=np.ascontiguousarray(weights[name]), track_times=False)
    return buffer.getvalue()


def _read_weights(path: Path, data: bytes) -> dict[str, NDArray[Any]]:
    weights: dict[str, NDArray[Any]] = {}
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            for name, item in file.items():
                if not isinstance(item, h5py.Dataset) or item.external is not None or item.is_virtual:
                    raise ArtifactError(f"{path.name}: weight {name!r} is not a plain HDF5 data set")
                if item.nbytes > MAX_MEMBER_BYTES or item.dtype.hasobject:
                    raise ArtifactError(f"{path.name}: weight {name!r} ({item.shape}, {item.dtype}) is not acceptable")
                weights[name] = item[()]
    except (OSError, KeyError, RuntimeError) as error:
        raise ArtifactError(f"{path.name}: member {WEIGHTS} is not readable as HDF5 ({error})") from error
    return weights


def _read_history(path: Path, data: bytes) -> list[dict[str, float]]:
    try:
        rows = list(csv.DictReader(io.StringIO(data.decode())))
        return [{key: float(value) for key, value in row.items()} for row in rows]
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"{path.name}: member {HISTORY} is not a table of numbers ({error})") from error


def _check_members(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse anything but the four members, each once, within the size limit."""
    names = [member.filename for member in members]
    for name in names:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name:
            raise ArtifactError(f"{path.name}: member name {name!r} leaves the archive; the file is not trustworthy")
    if sorted(names) != sorted(MEMBERS):
        raise ArtifactError(f"{path.name}: members {sorted(names)}, expected exactly {sorted(MEMBERS)}")
    for member in members:
        if member.file_size > MAX_MEMBER_BYTES:
            raise ArtifactError(
                f"{path.name}: member {member.filename} declares {member.file_size} bytes, "
                f"at most {MAX_MEMBER_BYTES} are accepted"
            )


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as file:
        data = file.read(MAX_MEMBER_BYTES + 1)
    if len(data) > MAX_MEMBER_BYTES:
        raise ArtifactError(f"{path.name}: member {name} unpacks to more than {MAX_MEMBER_BYTES} bytes")
    return data
