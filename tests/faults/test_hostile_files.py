"""Hostile data files: NPZ archives, members, metadata, bundles. One sentence or a sound result, nothing else.

Nothing may be executed, nothing written, and no exception but the project's own may come out.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from faults.ledger import Ledger
from faults.study import FULL
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fly64_assets.cli.main import main
from fly64_assets.contract.canonical import canonicalize, canonicalize_base
from fly64_assets.contract.findings import ContractReport
from fly64_assets.contract.npz import load_base, load_dataset, load_measurement, open_npz, validate_file, write_npz
from fly64_assets.contract.validate import validate
from fly64_assets.errors import Fly64Error
from fly64_assets.pinn.bundle import MEMBERS, Bundle, read_bundle, write_bundle

EXAMPLES = 200 if FULL else 15
READERS: tuple[Callable[[Path], Any], ...] = (
    open_npz,
    load_dataset,
    load_measurement,
    load_base,
    validate_file,
    canonicalize,
    canonicalize_base,
)
KEYS = ("diffraction", "objectGuess", "probeGuess", "xcoords", "ycoords", "Y", "scan_index", "_metadata", "diff3d")
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


class Bomb:
    """Pickled: makes a folder when it is loaded."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("exploded",)


@pytest.fixture(autouse=True)
def _watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Work in an empty folder; afterwards nothing but the test's own file may be in it."""
    monkeypatch.chdir(tmp_path)
    yield
    assert {path.name for path in tmp_path.iterdir()} <= {"file.npz", "wts.h5.zip"}


def tried(ledger: Ledger, kind: str, path: Path, readers: tuple[Callable[[Path], Any], ...]) -> None:
    """Show a file to readers: each refuses it with one sentence that names it, or reads it."""
    for reader in readers:
        sentence, found = "", None
        try:
            found = reader(path)
        except Fly64Error as error:
            sentence = str(error)
        assert not sentence or path.name in sentence or "_metadata" in sentence, f"{reader.__name__}: {sentence}"
        ledger.bad_input(kind, bool(sentence) or (isinstance(found, ContractReport) and not found.ok))


def npy(descr: str, shape: str, content: bytes) -> bytes:
    """A member with any header at all."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def archive(path: Path, members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as target:
        for name, content in members:
            target.writestr(zipfile.ZipInfo(name), content, compression)
    return path


DESCRIPTIONS = st.sampled_from(
    ["'<f4'", "'<f8'", "'<c8'", "'|O'", "'<i8'", "'<U9'", "'|S0'", "'|V0'", "'<M8[ns]'", "[('a','<f4')]", "None", "''"]
)
SHAPES = st.one_of(
    st.sampled_from(["()", "(0,)", f"({2**63},)", f"({2**31}, {2**32})", "(-1,)", "(2, 3", "'x'", "(1e3,)", "(True,)"]),
    st.lists(st.integers(0, 5), max_size=4).map(lambda sides: str(tuple(sides))),
)
NAMES = st.one_of(
    st.sampled_from([f"{key}.npy" for key in KEYS]),
    st.sampled_from(["../x.npy", "/x.npy", "a/b.npy", "x.npy\x00.exe", "C:x.npy", "..", ".npy", "ä💥.npy", "x\n.npy"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8).map(lambda n: f"{n}.npy"),
)
MEMBER = st.tuples(NAMES, st.builds(npy, DESCRIPTIONS, SHAPES, st.binary(max_size=300)))


@fuzz
@given(st.lists(MEMBER, max_size=6, unique_by=lambda member: member[0]))
@example([("x.npy", npy("'|S0'", f"({2**63},)", b""))])
@example([("x.npy", npy("'|S0'", f"({2**40},)", b""))])
@example([("x.npy", npy("'<f8'", f"(0, {2**63})", b""))])
@example([("x.npy", npy("'|V0'", "(3,)", b""))])
def test_archives_of_any_members(tmp_path: Path, ledger: Ledger, members: list[tuple[str, bytes]]) -> None:
    tried(ledger, "NPZ of arbitrary members", archive(tmp_path / "file.npz", members), READERS)


def sound_arrays() -> dict[str, np.ndarray[Any, Any]]:
    """A small data set that obeys the contract in form."""
    rng = np.random.default_rng(3)
    x = np.array([6.0, 7.0, 9.5, 10.0])
    obj = np.exp(1j * rng.random((16, 16))).astype(np.complex64)
    return {
        "diffraction": rng.random((4, 8, 8)).astype(np.float32),
        "objectGuess": obj,
        "probeGuess": np.ones((8, 8), np.complex64),
        "xcoords": x,
        "ycoords": x[::-1].copy(),
        "scan_index": np.arange(4),
        "_metadata": np.array(json.dumps({"physics_parameters": {"N": 8}})),
    }


POISON = st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e300, 2.0**63, -(2.0**63)])


@fuzz
@given(st.sampled_from(KEYS[:5]), POISON, st.integers(0, 10**6), st.booleans())
def test_poisoned_values(tmp_path: Path, ledger: Ledger, key: str, value: float, place: int, everywhere: bool) -> None:
    arrays = sound_arrays()
    with np.errstate(over="ignore"):
        arrays[key].reshape(-1)[slice(None) if everywhere else place % arrays[key].size] = value
    path = tmp_path / "file.npz"
    with path.open("wb") as file:
        write_npz(file, arrays)
    tried(ledger, "NaN, infinities and extremes in arrays", path, READERS)
    if not np.isfinite(value):
        findings = validate(open_npz(path)).findings
        assert any(one.code == "DATA-001.finite" and key in one.message for one in findings)


@fuzz
@given(st.dictionaries(st.sampled_from(KEYS[:7]), st.lists(st.integers(0, 17), max_size=4), max_size=3))
@example({"objectGuess": [0, 0]})
@example({"diffraction": [], "ycoords": [0]})
def test_shapes_that_disagree(tmp_path: Path, ledger: Ledger, shapes: dict[str, list[int]]) -> None:
    arrays = sound_arrays()
    for key, shape in shapes.items():
        arrays[key] = np.ones(shape, arrays[key].dtype if key in arrays else np.complex64)
    path = tmp_path / "file.npz"
    with path.open("wb") as file:
        write_npz(file, arrays)
    tried(ledger, "shapes that disagree", path, READERS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["physics_parameters", "data_transformations", "base", "split", "split_point", "view", "seeds"]
)
METADATA = st.one_of(
    st.dictionaries(FIELDS, JSON, max_size=5).map(json.dumps),
    st.dictionaries(
        st.just("physics_parameters"),
        st.dictionaries(
            st.sampled_from(["N", "nphotons", "intensity_scale", "gridsize", "expected_mean_counts"]), JSON
        ),
        min_size=1,
    ).map(json.dumps),
    st.text(max_size=20),
    st.sampled_from(["[" * 100_000, '{"a":' * 50_000, "1" * 10_000, "NaN", "", "\x00", '{"N": 1e999}']),
)


@fuzz
@given(METADATA)
def test_metadata_of_any_kind(tmp_path: Path, ledger: Ledger, text: str) -> None:
    path = tmp_path / "file.npz"
    with path.open("wb") as file:
        write_npz(file, sound_arrays() | {"_metadata": np.array(text)})
    tried(ledger, "_metadata of any kind", path, READERS)


def test_pickles_bombs_and_empty_files(tmp_path: Path, ledger: Ledger) -> None:
    path = tmp_path / "file.npz"
    pickled = io.BytesIO()
    np.save(pickled, np.array([Bomb()], dtype=object), allow_pickle=True)
    good = {f"{key}.npy": content for key, content in _members(sound_arrays()).items()}
    for key in KEYS:
        archive(path, [*((n, c) for n, c in good.items() if n != f"{key}.npy"), (f"{key}.npy", pickled.getvalue())])
        tried(ledger, "pickled payloads", path, READERS)
    path.write_bytes(pickle.dumps(Bomb()))
    tried(ledger, "pickled payloads", path, READERS)
    for count in (1, 3):
        bombs = [(f"{i}.npy", npy("'<f8'", f"({2**40},)", b"")) for i in range(count)]
        tried(ledger, "zip bombs", archive(path, bombs), READERS)
    content = bytearray(archive(path, [("x.npy", npy("'<f8'", "(9000000,)", bytes(72 * 10**6)))]).read_bytes())
    for declared in (2**32 - 2, 0, 1):
        place = content.rindex(b"PK\x01\x02")
        content[place + 24 : place + 28] = struct.pack("<I", declared)
        path.write_bytes(content)
        tried(ledger, "zip bombs", path, READERS)
    for rubbish in (b"", b"\x00", b"PK", b"PK\x05\x06" + bytes(18)):
        path.write_bytes(rubbish)
        tried(ledger, "empty and near-empty files", path, READERS)


def _members(arrays: dict[str, Any]) -> dict[str, bytes]:
    found = {}
    for key, array in arrays.items():
        target = io.BytesIO()
        np.save(target, array)
        found[key] = target.getvalue()
    return found


@pytest.mark.parametrize("name", ["ä💥 ü.npz", "-rf.npz", "a;b$(touch exploded).npz", "x" * 250 + ".npz", "a\nb.npz"])
def test_file_names(tmp_path: Path, ledger: Ledger, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"nothing")
    for words in (
        ["contract", "check"],
        ["base", "check"],
        ["base", "import"],
        ["bundle", "verify"],
        ["bundle", "show"],
    ):
        answer = CliRunner().invoke(main, ["--data-root", str(tmp_path / "data"), *words, "--", str(path)])
        assert answer.exit_code == 1
        assert isinstance(answer.exception, SystemExit)
        assert answer.output.startswith("fly64: ")
        ledger.bad_input("file names", refused=True)
    path.unlink()


def bundle_bytes(path: Path) -> bytes:
    weights = {"b.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
    write_bundle(path, Bundle({"backend": "pytorch"}, {"intensity_scale": 0.5}, weights, [{"epoch": 1.0}]))
    return path.read_bytes()


@fuzz
@given(data=st.data())
def test_damaged_bundles(tmp_path: Path, ledger: Ledger, data: st.DataObject) -> None:
    path = tmp_path / "wts.h5.zip"
    content = bytearray(bundle_bytes(path))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2, len(content) - 3, 0]))])
    tried(ledger, "damaged bundles", path, (read_bundle,))


@fuzz
@given(st.lists(st.tuples(st.sampled_from([*MEMBERS, "../x", "x.pkl"]), st.binary(max_size=40) | JSON), max_size=5))
def test_forged_bundles(tmp_path: Path, ledger: Ledger, members: list[tuple[str, Any]]) -> None:
    """Members of any content under a manifest that vouches for them."""
    import hashlib

    path = tmp_path / "wts.h5.zip"
    content = {name: text if isinstance(text, bytes) else json.dumps(text).encode() for name, text in members}
    hashes = {name: hashlib.sha256(text).hexdigest() for name, text in content.items()}
    content["manifest.json"] = json.dumps({"format_version": 1, "members": hashes}).encode()
    archive(path, list(content.items()))
    tried(ledger, "forged bundles", path, (read_bundle,))


def test_weights_that_are_no_plain_tensors(tmp_path: Path, ledger: Ledger) -> None:
    """HDF5 with links to other files, external data, objects and enormous declared sizes."""
    import hashlib

    def group(file: h5py.File) -> None:
        file.create_group("weights")

    def external_link(file: h5py.File) -> None:
        file["w"] = h5py.ExternalLink("/etc/passwd", "/")

    def external_data(file: h5py.File) -> None:
        file.create_dataset("w", (10,), "u1", external=[("/etc/passwd", 0, 10)])

    def objects(file: h5py.File) -> None:
        file.create_dataset("w", data=["text"], dtype=h5py.string_dtype())

    def enormous(file: h5py.File) -> None:
        file.create_dataset("w", (2**40,), "f4", chunks=(2**10,))

    path = tmp_path / "wts.h5.zip"
    for make in (group, external_link, external_data, objects, enormous):
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            make(file)
        content = {"params.json": b"{}", "diffraction_to_obj/weights.h5": buffer.getvalue(), "history.csv": b""}
        hashes = {name: hashlib.sha256(text).hexdigest() for name, text in content.items()}
        manifest = json.dumps({"format_version": 1, "members": hashes}).encode()
        archive(path, [("manifest.json", manifest), *content.items()])
        with pytest.raises(Fly64Error, match=r"wts\.h5\.zip"):
            read_bundle(path)
        ledger.bad_input("forged weights", refused=True)
