"""Copying stages between data roots of both kinds, in every direction."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import obstore
import pytest
from fixtures.object_store import BUCKET, s3_address, s3_url  # noqa: F401
from fixtures.store import BASE_ID, Workshop
from obstore.store import S3Store

from fly64_assets.errors import ArtifactError
from fly64_assets.store import objects
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.integrity import verify_folder
from fly64_assets.store.keys import BASE, Dose, StageKey
from fly64_assets.store.layout import sidecar_path
from fly64_assets.store.sidecars import verified
from fly64_assets.store.storage import root_folder
from fly64_assets.store.transfer import Copied, copy_stage

KEY = StageKey("simulated", Dose(1000))
DIRECTIONS = ["folder to object store", "object store to folder", "folder to folder", "object store to object store"]


def workshop_on(root: str) -> Workshop:
    store = ArtifactStore(root_folder(root), "demo")
    return Workshop(store, store.layout(BASE_ID))


@pytest.fixture
def roots(request: pytest.FixtureRequest, s3_url: str, tmp_path: Path) -> tuple[str, str]:  # noqa: F811
    kinds = request.param.split(" to ")
    first, second = (
        str(tmp_path / name) if kind == "folder" else f"{s3_url}/{name}"
        for kind, name in zip(kinds, ("from", "to"), strict=True)
    )
    return first, second


@pytest.mark.parametrize("roots", DIRECTIONS, indirect=True)
def test_a_stage_arrives_whole_and_only_once(
    roots: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = map(workshop_on, roots)
    source.base()
    record = source.simulated(inputs=[source.layout.base], logs={source.layout.output(KEY, "a.log"): b"log"})
    monkeypatch.setenv("FLY64_CACHE", str(tmp_path / "cache_here"))  # where nothing was fetched yet
    source, target = map(workshop_on, roots)
    for key in (BASE, KEY):
        copied = copy_stage(source.layout, target.layout, key)
        assert (copied.stages, copied.replaced) == (1, 0)
        assert copy_stage(source.layout, target.layout, key) == Copied()
    monkeypatch.setenv("FLY64_CACHE", str(tmp_path / "cache_there"))
    seen = workshop_on(roots[1])
    assert seen.store.record(seen.layout, KEY) == record
    assert seen.state(KEY, [seen.layout.base]).name == "fresh"
    for name, sha256 in record.outputs.items():
        verified(seen.layout.folder / name)
        assert hashlib.sha256((seen.layout.folder / name).read_bytes()).hexdigest() == sha256
    assert verify_folder(seen.layout.folder).ok
    assert [path.name for path in target.layout.folder_of(KEY).glob(".*.tmp")] == []


@pytest.mark.parametrize("roots", DIRECTIONS[:2], indirect=True)
def test_another_result_is_replaced_and_what_is_of_no_use_goes(roots: tuple[str, str]) -> None:
    source, target = map(workshop_on, roots)
    target.simulated(content=b"old", logs={target.layout.output(KEY, "old.log"): b"log"})
    record = source.simulated(content=b"new")
    assert copy_stage(source.layout, target.layout, KEY).replaced == 1
    seen = workshop_on(roots[1])
    assert seen.store.record(seen.layout, KEY) == record
    assert not seen.layout.output(KEY, "old.log").exists()
    assert not target.layout.output(KEY, "old.log").exists()
    assert not sidecar_path(target.layout.output(KEY, "old.log")).exists()
    assert verify_folder(seen.layout.folder).ok


@pytest.mark.parametrize("roots", DIRECTIONS[:2], indirect=True)
def test_a_flipped_byte_at_the_source_is_not_copied(roots: tuple[str, str], s3_url: str) -> None:  # noqa: F811
    source, target = map(workshop_on, roots)
    record = source.simulated()
    path = source.layout.patched(Dose(1000), "test")
    content = path.read_bytes()
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    if roots[0].startswith("s3"):
        bucket = S3Store(BUCKET, prefix=roots[0].partition(f"{BUCKET}/")[2], client_options={"allow_http": True})
        obstore.put(bucket, f"objects/{record.outputs['dose_1000/patched_test.npz']}", flipped)
    path.write_bytes(flipped)
    standing = target.simulated(content=b"standing")
    with pytest.raises(ArtifactError, match=r"patched_test\.npz"):
        copy_stage(source.layout, target.layout, KEY)
    assert target.store.record(target.layout, KEY) == standing
    assert verify_folder(target.layout.folder).ok


class Stopped(BaseException):
    """As Ctrl-C ends a transfer."""


@pytest.mark.parametrize("roots", DIRECTIONS[:2], indirect=True)
def test_interrupted_anywhere_it_leaves_what_was_there_and_goes_on(
    roots: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real: dict[str, Callable[..., object]] = {
        name: getattr(objects.Objects, name) for name in ("put", "upload", "download")
    }
    done, moment, calls = False, 0, 0

    def stopping(call: Callable[..., object]) -> Callable[..., object]:
        def counted(*args: object) -> object:
            nonlocal calls
            calls += 1
            if calls == moment:
                raise Stopped
            return call(*args)

        return counted

    while not done:
        moment += 1
        source, target = (workshop_on(f"{root}/{moment}") for root in roots)
        source.simulated(content=b"new")
        standing = target.simulated(content=b"old")
        monkeypatch.setenv("FLY64_CACHE", str(tmp_path / f"cache_{moment}"))  # where nothing was fetched yet
        source, target = (workshop_on(f"{root}/{moment}") for root in roots)
        calls = 0
        with monkeypatch.context() as interrupted, suppress(Stopped):
            for name, call in real.items():
                interrupted.setattr(objects.Objects, name, stopping(call))
            copy_stage(source.layout, target.layout, KEY)
            done = True
        seen = workshop_on(f"{roots[1]}/{moment}")
        record = seen.store.required(seen.layout, KEY)
        assert record in (standing, source.store.record(source.layout, KEY))
        assert seen.state(KEY).name == "fresh"
        assert verify_folder(seen.layout.folder).ok
        with monkeypatch.context() as patient:  # an interrupt may come while a claim is given back
            patient.setattr("fly64_assets.store.claims.SILENT_SECONDS", -1.0)
            copy_stage(source.layout, seen.layout, KEY)
        assert seen.store.record(seen.layout, KEY) == source.store.record(source.layout, KEY)
    assert moment > 2
