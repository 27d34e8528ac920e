from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fly64_assets.errors import ArtifactError
from fly64_assets.store.integrity import verify_folder
from fly64_assets.store.keys import REPORT, Dose
from fly64_assets.store.layout import Layout
from fly64_assets.store.sidecars import sidecar_path
from fly64_assets.study.manifests import write_manifests

PATCHED = "dose_1000/patched_train.npz"


@pytest.fixture
def study(workshop: Any, layout: Layout) -> Layout:
    """A base, two doses, their manifests: 2 + 2 x 3 files and 6 of the study."""
    workshop.base()
    workshop.simulated(1000)
    workshop.simulated(10000)
    workshop.store.set_active_base(layout.base_id, "imported")
    write_manifests(layout, workshop.design, {})
    return layout


def test_an_intact_folder_anywhere(study: Layout, tmp_path: Path) -> None:
    found = verify_folder(study.folder)
    assert found.ok
    assert found.to_dict() == {"checked": 14, "bad": []}
    elsewhere = tmp_path / "usb" / "renamed"
    shutil.copytree(study.folder, elsewhere)
    assert verify_folder(elsewhere).to_dict() == {"checked": 14, "bad": []}
    assert verify_folder(study.folder / "dose_1000").checked == 3
    assert verify_folder(study.data_root).checked == 15


def flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


HARMS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "flipped": (flip, PATCHED, "has SHA256"),
    "sidecar gone": (lambda p: sidecar_path(p).unlink(), PATCHED, "has no sidecar"),
    "sidecar flipped": (lambda p: flip(sidecar_path(p)), PATCHED, "sidecar"),
    "file gone": (lambda p: p.unlink(), f"{PATCHED}.manifest.json", "sidecar without its file"),
    "both gone": (lambda p: (p.unlink(), sidecar_path(p).unlink()), PATCHED, "listed in the record dose_1000/result"),
    "stranger": (lambda p: p.with_name("x.npz").write_bytes(b"x"), "dose_1000/x.npz", "has no sidecar"),
    "manifest edited": (
        lambda p: flip(p.parents[1] / "training_manifest.json"),
        "training_manifest.json",
        "has SHA256",
    ),
}


@pytest.mark.parametrize("harm", HARMS)
def test_each_harm_is_named_and_nothing_else(study: Layout, harm: str) -> None:
    action, path, why = HARMS[harm]
    action(study.patched(Dose(1000), "train"))
    found = verify_folder(study.folder)
    assert [bad.path for bad in found.bad] == [path]
    assert why in found.bad[0].why
    assert str(study.folder) not in found.bad[0].why


def test_any_flipped_byte_of_any_file_is_found(study: Layout) -> None:
    files = [path for path in study.folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert len(files) == 28
    for path in files:
        content = path.read_bytes()
        flip(path)
        names = {bad.path.removesuffix(".manifest.json") for bad in verify_folder(study.folder).bad}
        assert path.relative_to(study.folder).as_posix().removesuffix(".manifest.json") in names
        path.write_bytes(content)
    assert verify_folder(study.folder).ok


def test_unfinished_writes_and_locks_are_no_artifacts(study: Layout) -> None:
    folder = study.folder / "dose_1000"
    (folder / ".patched_train.npz.123.0123456789abcdef.tmp").write_bytes(b"half")
    (folder / ".scratch.123.0123456789abcdef.tmp").mkdir()
    (folder / ".scratch.123.0123456789abcdef.tmp" / "result.json").write_bytes(b"{}")
    assert verify_folder(study.folder).to_dict() == {"checked": 14, "bad": []}


def test_progress_reaches_the_total(study: Layout) -> None:
    seen: list[tuple[int, int, float]] = []
    verify_folder(study.folder, lambda done, total, values: seen.append((done, total, values["bytes"])))
    sizes = [p.stat().st_size for p in study.folder.rglob("*") if p.is_file() and not p.name.startswith(".")]
    sidecars = [p.stat().st_size for p in study.folder.rglob("*.manifest.json")]
    assert [done for done, _, _ in seen] == list(range(1, 15))
    assert seen[-1] == (14, 14, sum(sizes) - sum(sidecars))


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not a folder"):
        verify_folder(tmp_path / "nothing")


def sha256sum(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"],
        cwd=folder / "report",
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_sha256sum_agrees(study: Layout, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(study.folder, copy)
    shutil.rmtree(study.folder)
    good = sha256sum(copy)
    assert good.returncode == 0
    lines = good.stdout.splitlines()
    assert len(lines) == 13
    assert "../base.npz: OK" in lines
    assert f"../{PATCHED}: OK" in lines
    flip(copy / PATCHED)
    bad = sha256sum(copy)
    assert bad.returncode == 1
    assert [line for line in bad.stdout.splitlines() if not line.endswith(": OK")] == [f"../{PATCHED}: FAILED"]


def test_sums_rewritten_over_a_damaged_file_still_tell(workshop: Any, study: Layout) -> None:
    flip(study.folder / PATCHED)
    workshop.make(REPORT, {study.report_folder / "index.html": b"<html>"})
    write_manifests(study, workshop.design, {})
    bad = sha256sum(study.folder)
    assert [line for line in bad.stdout.splitlines() if not line.endswith(": OK")] == [f"../{PATCHED}: FAILED"]
    assert "index.html: OK" in bad.stdout
