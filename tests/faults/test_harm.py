"""Harmed artifacts of every kind: each is named by its reader, made again by a rerun, and nothing else is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.ledger import Ledger
from faults.study import CHAIN, DOSE, ENGINE_STAGES, FULL, VIEW, Reference

from fly64_assets.errors import ArtifactError
from fly64_assets.store.integrity import verify_folder
from fly64_assets.store.keys import Cell, Dose, StageKey
from fly64_assets.store.sidecars import sidecar_path, verified
from fly64_assets.study.states import study_states


def own(path: Path) -> bytes:
    """The bytes of a file that is shared with other copies, after it was made this copy's own."""
    content = path.read_bytes()
    path.unlink()
    return content


def flip(path: Path) -> None:
    content = bytearray(own(path))
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    content = own(path)
    path.write_bytes(content[: len(content) // 2])


def empty(path: Path) -> None:
    own(path)
    path.touch()


def link(path: Path) -> None:
    elsewhere = path.parents[1] / f"elsewhere_{path.name}"
    elsewhere.write_bytes(own(path))
    path.symlink_to(elsewhere)


def edit_sidecar(path: Path) -> None:
    text = own(sidecar_path(path)).decode()
    sidecar_path(path).write_text(text.replace('"sha256": "', '"sha256": "0', 1))


HARMS: dict[str, Callable[[Path], None]] = {
    "bit flipped": flip,
    "truncated": truncate,
    "emptied": empty,
    "deleted": lambda path: path.unlink(),
    "sidecar deleted": lambda path: sidecar_path(path).unlink(),
    "sidecar edited": edit_sidecar,
    "sidecar bit flipped": lambda path: flip(sidecar_path(path)),
    "symlink in its place": link,
}
SOME = ("bit flipped", "sidecar deleted")
RERUNS = (
    [(key, harm) for key in CHAIN[1:] for harm in (SOME[:1] if key in ENGINE_STAGES else HARMS)]
    if FULL
    else [(CHAIN[1], harm) for harm in SOME]
)


@pytest.mark.parametrize("harm", HARMS)
def test_every_artifact_is_found_and_named(reference: Reference, ledger: Ledger, harm: str) -> None:
    """Data, logs, pictures, records and manifests alike; by the reader and by ``fly64 verify``."""
    study = reference.copy()
    folder = study.layout.folder
    artifacts = [path for path in folder.rglob("*") if sidecar_path(path).exists()]
    assert len(artifacts) > 10
    for path in artifacts:
        kept = path.read_bytes(), sidecar_path(path).read_bytes()
        HARMS[harm](path)
        with pytest.raises(ArtifactError) as caught:
            verified(path)
        assert str(path) in str(caught.value)
        for place, content in zip((path, sidecar_path(path)), kept, strict=True):
            place.unlink(missing_ok=True)
            place.write_bytes(content)
        ledger.survived(f"artifact harmed, read: {harm}")
    for path in artifacts:
        HARMS[harm](path)
    named = {bad.path.removesuffix(".manifest.json") for bad in verify_folder(folder).bad}
    assert {path.relative_to(folder).as_posix() for path in artifacts} <= named
    shutil.rmtree(study.folder)


@pytest.mark.parametrize(("key", "harm"), RERUNS, ids=lambda one: getattr(one, "stage", one))
def test_a_rerun_makes_it_again(reference: Reference, ledger: Ledger, key: StageKey, harm: str) -> None:
    study = reference.copy()
    names = sorted(name for name in reference.outputs(key) if name in reference.hashes)
    path = study.layout.folder / (names[0] if names else next(iter(sorted(reference.outputs(key)))))
    HARMS[harm](path)
    assert study.state(key) == "missing"
    for elsewhere in path.parents[1].glob("elsewhere_*"):
        elsewhere.unlink()
    before = study.files()
    reference.after(ledger, f"artifact harmed, made again: {harm}", study, key, before)


def test_a_harmed_input_stops_its_readers(reference: Reference, ledger: Ledger) -> None:
    """Downstream of a flipped byte nothing is built and nothing is called fresh; the byte's own stage repairs it."""
    simulated, view = StageKey("simulated", Dose(DOSE)), StageKey("view", Cell(DOSE, VIEW))
    study = reference.copy()
    victim = study.layout.patched(Dose(DOSE), "train")
    flip(victim)
    before = study.files()
    states = study_states(study.store, study.design)
    assert (states[simulated].name, states[view].name) == ("missing", "stale")
    answer = study.run(view)
    assert not answer["ok"]
    assert "patched_train.npz: has SHA256" in answer["reason"]
    assert study.files() == before
    reference.after(ledger, "input harmed under its reader", study, simulated, before)
