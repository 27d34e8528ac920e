"""What is garbage, what is not, and that removal takes the first and never the second."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.garbage import KINDS, ORPHAN, SUPERSEDED, TEMPORARY, find_garbage, remove_garbage
from fly64_assets.store.integrity import verify_folder
from fly64_assets.store.keys import BASE, Cell, Dose, Half, StageKey
from fly64_assets.store.layout import Layout
from fly64_assets.store.locks import LOCK_NAME, stage_lock
from fly64_assets.store.sidecars import sidecar_path
from fly64_assets.study.manifests import write_manifests

ENDED = 2**22 + 5  # no process of this number can exist
DENSE = StageKey("view", Cell(1000, "dense"))


@pytest.fixture
def study(workshop: Any, layout: Layout) -> Layout:
    """A base, a dose and a view made from it, manifests, the base active."""
    workshop.make(BASE, {layout.base: b"base" * 50}, values={"origin": "recipe"})
    workshop.simulated(inputs=[layout.base])
    frames = [layout.patched(Dose(1000), "train")]
    workshop.make(DENSE, {layout.view_frames(Half(1000, "dense", "train")): b"kept"}, inputs=frames)
    workshop.store.set_active_base(layout.base_id, "recipe")
    write_manifests(layout, workshop.design, {})
    return layout


def listed(store: ArtifactStore) -> dict[str, str]:
    return {one.path.relative_to(store.folder).as_posix(): one.kind for one in find_garbage(store)}


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_sound_study_has_none(study: Layout, store: ArtifactStore, workshop: Any) -> None:
    assert find_garbage(store) == []
    # Out of date is not useless: a rebuild replaces it.
    workshop.simulated(content=b"others")
    assert find_garbage(store) == []
    assert find_garbage(ArtifactStore(store.data_root, "nothing")) == []


def test_leftovers_of_ended_processes(study: Layout, store: ArtifactStore) -> None:
    dose = study.folder / "dose_1000"
    scratch = dose / f".scratch.{ENDED}.{'0' * 16}.tmp"
    scratch.mkdir()
    (scratch / "checkpoint").write_bytes(b"12345")
    half = dose / f".patched_train.npz.{ENDED}.{'1' * 16}.tmp"
    half.write_bytes(b"half")
    alive = dose / f".patched_train.npz.{os.getppid()}.{'2' * 16}.tmp"
    alive.write_bytes(b"half")
    note = store.folder / f".active_base.json.{ENDED}.{'3' * 16}.tmp"
    note.write_bytes(b"{")
    assert {one.path: one.bytes for one in find_garbage(store)} == {note: 1, scratch: 5, half: 4}
    with stage_lock(dose, "somebody builds"):  # takes over, and so cleans, what lies there
        (dose / half.name).write_bytes(b"half")
        assert {one.path for one in find_garbage(store)} == {note}
    assert {one.path for one in remove_garbage(store, [TEMPORARY])} == {note, half}
    assert not half.exists()
    assert alive.exists()
    assert verify_folder(study.folder).ok


def test_orphans_are_what_nothing_names(study: Layout, store: ArtifactStore, workshop: Any) -> None:
    (study.folder / "dose_1000" / "notes.txt").write_bytes(b"mine")
    workshop.make(StageKey("view", Cell(1000, "sparse")), {study.view_frames(Half(1000, "sparse", "train")): b"x"})
    lost = study.folder / "dose_1000" / "sparse" / "result.json"
    lost.unlink()
    found = listed(store)
    base = study.base_id
    sparse = f"{base}/dose_1000/sparse"
    assert found == {
        f"{base}/dose_1000/notes.txt": ORPHAN,
        f"{sparse}/sparse_train.npz": ORPHAN,
        f"{sparse}/sparse_train.npz.manifest.json": ORPHAN,
        f"{sparse}/result.json.manifest.json": ORPHAN,
    }
    kept = {path: content for path, content in snapshot(study.folder).items() if "sparse" not in path.as_posix()}
    del kept[study.folder / "dose_1000" / "notes.txt"]
    assert remove_garbage(store, [TEMPORARY, SUPERSEDED]) == []
    assert len(remove_garbage(store, KINDS)) == 4
    left = snapshot(study.folder)
    assert left.pop(study.folder / "dose_1000" / "sparse" / LOCK_NAME) == b""
    assert left == kept
    assert verify_folder(study.folder).ok


def test_what_a_live_sidecar_names_is_kept_though_its_own_record_is_gone(study: Layout, store: ArtifactStore) -> None:
    record = study.record(StageKey("simulated", Dose(1000)))
    record.unlink()
    sidecar_path(record).unlink()
    found = listed(store)
    # The view was made from the train half; nothing speaks of the test half any more.
    test = f"{study.base_id}/dose_1000/patched_test.npz"
    assert found == {test: ORPHAN, f"{test}.manifest.json": ORPHAN}
    remove_garbage(store, KINDS)
    assert study.patched(Dose(1000), "train").exists()
    assert sidecar_path(study.patched(Dose(1000), "train")).exists()


def test_beside_a_damaged_record_nothing_is_offered(study: Layout, store: ArtifactStore) -> None:
    record = study.record(DENSE)
    record.write_bytes(record.read_bytes().replace(b"succeeded", b"succeedee"))
    assert find_garbage(store) == []


def test_where_somebody_builds_nothing_is_offered(study: Layout, store: ArtifactStore) -> None:
    stray = study.folder / "dose_1000" / "stray.npz"
    stray.write_bytes(b"x")
    with stage_lock(stray.parent, "somebody builds"):
        assert find_garbage(store) == []
        assert remove_garbage(store, KINDS) == []
    assert stray.exists()
    assert [one.path for one in remove_garbage(store, KINDS)] == [stray]


def second_base(workshop: Any, store: ArtifactStore, origin: str) -> Layout:
    other = store.layout("moon_89abcdef")
    workshop.layout = other
    workshop.make(BASE, {other.base: b"moon" * 50}, values={"origin": origin})
    store.set_active_base(other.base_id, origin)
    return other


def test_a_base_that_the_design_replaced_is_superseded(study: Layout, store: ArtifactStore, workshop: Any) -> None:
    other = second_base(workshop, store, "recipe")
    (superseded,) = find_garbage(store)
    assert (superseded.path, superseded.kind) == (study.folder, SUPERSEDED)
    files = [path for path in study.folder.rglob("*") if path.is_file()]
    assert superseded.bytes == sum(path.stat().st_size for path in files)
    assert f"fly64 base use {study.base_id}" in superseded.why
    with stage_lock(study.folder / "dose_1000", "somebody builds"):
        assert remove_garbage(store, KINDS) == []
    assert remove_garbage(store, [SUPERSEDED]) == [superseded]
    assert not study.folder.exists()
    assert store.bases() == (other.base_id,)
    assert {path.name for path in store.folder.iterdir() if path.name.startswith(".")} == set()


@pytest.mark.parametrize("origin", ["imported", "chosen"])
def test_a_base_that_a_user_brought_is_never_superseded(
    study: Layout, store: ArtifactStore, workshop: Any, origin: str
) -> None:
    other = second_base(workshop, store, origin)
    store.set_active_base(study.base_id, "recipe")
    assert find_garbage(store) == []
    assert other.folder.is_dir()


def test_folders_that_are_no_bases_are_not_ours(study: Layout, store: ArtifactStore, tmp_path: Path) -> None:
    (store.folder / "My results").mkdir()
    (store.folder / "My results" / "figure.png").write_bytes(b"x")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("keep me")
    (store.folder / "linked").symlink_to(outside)
    (study.folder / "linked").symlink_to(outside)
    assert find_garbage(store) == []


def test_a_linked_stray_is_removed_and_not_what_it_points_to(
    study: Layout, store: ArtifactStore, tmp_path: Path
) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("keep me")
    link = study.folder / "dose_1000" / "stray.npz"
    link.symlink_to(precious)
    assert [one.path for one in remove_garbage(store, KINDS)] == [link]
    assert precious.read_text() == "keep me"
