"""Hostile documents and names: designs, sidecars, records, manifests, notes, keys. One sentence or a sound result."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from faults.ledger import Ledger
from faults.study import FULL
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fly64_assets.cli.main import main
from fly64_assets.errors import ArtifactError, DesignError, Fly64Error
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.garbage import KINDS, find_garbage, remove_garbage
from fly64_assets.store.hashing import json_sha256
from fly64_assets.store.integrity import verify_folder
from fly64_assets.store.keys import BASE, Cell, Dose, LayoutError, StageKey, checked_name
from fly64_assets.store.layout import Layout, base_id
from fly64_assets.store.locks import NOTE_NAME, holder
from fly64_assets.store.records import find_records
from fly64_assets.store.sidecars import Provenance, read_sidecar, sidecar_path, verified, write_artifact
from fly64_assets.study.design import StudyDesign, load_design
from fly64_assets.study.manifests import write_manifests
from fly64_assets.study.states import study_states

EXAMPLES = 200 if FULL else 15
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([2**63, 2**31, 1e400, -1, "../..", "a" * 300, "train", "dense", "0" * 64])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
DEEP = "[" * 100_000


# -- designs ------------------------------------------------------------------------------------------------------

FIELDS = tuple(StudyDesign().to_dict())
DESIGNS = st.dictionaries(
    st.sampled_from(FIELDS),
    JSON | st.dictionaries(st.sampled_from(["epochs", "seed", "dense", "positions", "simulation", "levels"]), JSON),
    max_size=5,
)
YAML = st.one_of(
    DESIGNS.map(json.dumps),
    st.text(max_size=60),
    st.sampled_from(
        [
            "!!python/object/apply:os.mkdir ['exploded']",
            "name: !!python/name:os.system",
            "[" * 2000,
            "{" * 2000,
            "a: &a [*a]",
            "base: &a {amplitude: *a}",
            "? [1, 2]\n: x",
            "1: 2\n2001-01-01: x\nnull: y",
            "dose_list: [.nan, .inf, -.inf]",
            "dose_list: [1e400]",
            "name: 2001-01-01",
            "patch_size_pixels: 9223372036854775808",
            "rng_seeds: {simulation: 1" + "0" * 5000 + ", grouping: 1, subsampling: 2}",
            "\x00",
            "",
        ]
    ),
)


@fuzz
@given(YAML)
@example("\n".join(["a0: &a0 x"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, 30)]))
def test_designs(tmp_path: Path, ledger: Ledger, text: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    sentence = ""
    try:
        design = load_design(path)
        json.dumps(design.to_dict(), allow_nan=False)
    except DesignError as error:
        sentence = str(error)
    assert len(sentence) < 1_000_000
    assert {entry.name for entry in tmp_path.iterdir()} == {"study.yaml"}
    assert not Path("exploded").exists()
    ledger.bad_input("design YAML", bool(sentence))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b"[]", b"[" * 1000, b"dose_list: [.nan]", b"name: ../x"])
def test_the_command_says_it_in_a_sentence(tmp_path: Path, ledger: Ledger, content: bytes) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    for words in (["status"], ["run", "--dry-run"], ["clean"], ["audit"], ["verify"], ["plan", "--json"]):
        answer = CliRunner().invoke(main, ["--study", str(path), "--data-root", str(tmp_path / "data"), *words])
        empty = content == b""
        assert answer.exit_code in (1, 2), (words, answer.output)
        assert isinstance(answer.exception, SystemExit), (words, answer.exception)
        assert "Traceback" not in answer.output
        assert answer.output.startswith("fly64: ") or empty
        ledger.bad_input("design YAML by the command", refused=True)
    assert not (tmp_path / "data").exists()


# -- sidecars, records, manifests, notes --------------------------------------------------------------------------

KEY = StageKey("view", Cell(1000, "dense"))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "data", "demo", "base_01234567")


def vouched(document: dict[str, Any]) -> bytes:
    """A sidecar that is consistent in itself, whatever it says."""
    body = {key: value for key, value in document.items() if key != "sidecar_sha256"}
    return json.dumps(body | {"sidecar_sha256": json_sha256(body)}).encode()


SIDECAR_FIELDS = st.sampled_from(["file", "sha256", "bytes", "inputs", "stage", "outcome", "parameters", "seeds"])


def _finite(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


FINITE = JSON.filter(_finite)


@fuzz
@given(st.dictionaries(SIDECAR_FIELDS, FINITE, min_size=1, max_size=3))
def test_sidecars_that_vouch_for_anything(layout: Layout, ledger: Ledger, changes: dict[str, Any]) -> None:
    write_artifact(layout, layout.base, lambda file: file.write(b"base"), Provenance())
    sidecar = sidecar_path(layout.base)
    sidecar.write_bytes(vouched(json.loads(sidecar.read_bytes()) | changes))
    refused = False
    try:
        assert verified(layout.base).bytes == 4
        read_sidecar(layout.base)
    except ArtifactError:
        refused = True
    store = ArtifactStore(layout.data_root, layout.study)
    verify_folder(layout.data_root)
    find_garbage(store)
    ledger.bad_input("sidecars", refused)


@fuzz
@given(st.one_of(st.binary(max_size=40), JSON.map(lambda value: json.dumps(value).encode()), st.just(DEEP.encode())))
def test_sidecars_of_any_bytes(layout: Layout, ledger: Ledger, content: bytes) -> None:
    write_artifact(layout, layout.base, lambda file: file.write(b"base"), Provenance())
    sidecar_path(layout.base).write_bytes(content)
    with pytest.raises(ArtifactError, match=r"base\.npz"):
        verified(layout.base)
    assert not verify_folder(layout.data_root).ok
    ledger.bad_input("sidecars", refused=True)


RECORD_FIELDS = st.sampled_from(
    [
        "outcome",
        "reason",
        "inputs",
        "outputs",
        "values",
        "parameters",
        "diagnostics",
        "seconds",
        "start",
        "stage",
        "dose",
    ]
)
OUTPUTS = st.dictionaries(
    st.sampled_from(["../../precious.txt", "/etc/passwd", "a\x00b", "base.npz", "x" * 300, "dose_1000/dense"]),
    st.just("0" * 64) | SCALARS.filter(_finite),
    min_size=1,
)


@fuzz
@given(st.dictionaries(RECORD_FIELDS, FINITE | OUTPUTS, min_size=1, max_size=3))
@example({"values": {"splits": {}}})
@example({"outputs": {"../../precious.txt": "0" * 64}})
def test_records_with_sound_sidecars(layout: Layout, ledger: Ledger, tmp_path: Path, changes: dict[str, Any]) -> None:
    """What an untrusted folder may hold: every checksum agrees, and the record is nonsense."""
    store, design = ArtifactStore(layout.data_root, layout.study), StudyDesign()
    precious = tmp_path / "precious.txt"
    precious.write_text("keep me")
    for key in (BASE, StageKey("simulated", Dose(1000)), KEY):
        splits = {split: {"outcome": "succeeded", "reason": ""} for split in ("train", "test")}
        document = _record(key, {"splits": splits}) | (changes if key == KEY else {})
        text = json.dumps(document).encode()
        write_artifact(layout, layout.record(key), lambda file, text=text: file.write(text), Provenance())
    store.set_active_base(layout.base_id, "imported")
    read = store.record(layout, KEY) is not None
    for key, state in study_states(store, design, quick=True).items():
        assert state.name in ("missing", "stale", "failed", "fresh", "skipped"), key
    write_manifests(layout, design, {})
    assert len(find_records(layout)) >= 2
    verify_folder(layout.data_root)
    remove_garbage(store, KINDS)
    assert precious.read_text() == "keep me"
    shutil.rmtree(layout.data_root)
    ledger.bad_input("stage records", not read)


def _record(key: StageKey, values: dict[str, Any]) -> dict[str, Any]:
    texts = {"reason": "", "parameters_sha256": "0" * 64, "code_version": "1", "start": "", "end": ""}
    return key.to_dict() | texts | {
        "outcome": "succeeded",
        "inputs": {},
        "parameters": {},
        "outputs": {},
        "diagnostics": [],
        "values": values,
        "seconds": 1.0,
    }  # fmt: skip


@fuzz
@given(st.one_of(st.binary(max_size=60), JSON.map(lambda value: json.dumps(value).encode()), st.just(DEEP.encode())))
def test_notes_and_manifests_of_any_bytes(layout: Layout, ledger: Ledger, content: bytes) -> None:
    store = ArtifactStore(layout.data_root, layout.study)
    layout.folder.mkdir(parents=True, exist_ok=True)
    (layout.folder / NOTE_NAME).write_bytes(content)
    holder(layout.folder)
    for name in ("training", "run"):
        write_artifact(layout, layout.manifest(name), lambda file: file.write(content), Provenance())
    write_manifests(layout, StudyDesign(), {})
    assert json.loads(layout.manifest("training").read_bytes())["jobs"] == []
    (store.folder / "active_base.json").write_bytes(content)
    refused = False
    try:
        store.active_base()
    except ArtifactError:
        refused = True
    ledger.bad_input("notes and manifests", refused)


# -- names and keys -----------------------------------------------------------------------------------------------

TEXTS = st.text(max_size=12) | st.sampled_from(["..", ".", "/", "a/b", "~", "con", "ä", "💥", "a\x00", "\n", "x" * 200])


@fuzz
@given(TEXTS, TEXTS, TEXTS, SCALARS)
def test_names_become_paths_only_inside_the_data_root(
    ledger: Ledger, study: str, base: str, name: str, number: Any
) -> None:
    root = Path("/root_of_data")
    try:
        layout = Layout(root, study, base)
        paths = [
            layout.folder_of(
                StageKey.from_dict(
                    {"stage": s, "dose": number, "view": name, "split": "train", "arm": name, "gridsize": 2}
                )
            )
            for s in KINDS
        ]
    except LayoutError:
        ledger.bad_input("names and keys", refused=True)
    else:
        assert all(Path(os.path.normpath(path)).is_relative_to(root) for path in paths)
    for stage, fields in (
        ("view", {"dose": 1, "view": name}),
        ("training", {"dose": number, "view": name, "arm": base}),
    ):
        try:
            folder = Layout(root, "study", "base").folder_of(
                StageKey.from_dict({"stage": stage, **fields, **_gridsize(stage)})
            )
        except LayoutError:
            ledger.bad_input("names and keys", refused=True)
        else:
            assert Path(os.path.normpath(folder)).is_relative_to(root / "study" / "base")
            ledger.bad_input("names and keys", refused=False)
    safe = base_id(name, "0" * 64)
    assert checked_name(safe, "base") == safe


def _gridsize(stage: str) -> dict[str, int]:
    return {"gridsize": 2} if stage == "training" else {}


@fuzz
@given(JSON)
def test_stage_keys_of_any_document(ledger: Ledger, document: Any) -> None:
    fields = document if isinstance(document, dict) else {"stage": document}
    known = {name: value for name, value in fields.items() if name in ("stage", "dose", "view", "split", "arm")}
    try:
        key = StageKey.from_dict({"stage": "view"} | known)
    except Fly64Error:
        ledger.bad_input("names and keys", refused=True)
    else:
        assert key.label
