"""``fly64 push`` and ``fly64 pull`` as commands: whole studies, some cells, kills in the middle."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fixtures.object_store import s3_address, s3_url  # noqa: F401
from fixtures.store import BASE_ID, Workshop

from fly64_assets.store.artifacts import IMPORTED, ArtifactStore
from fly64_assets.store.integrity import verify_folder
from fly64_assets.store.keys import Cell, StageKey
from fly64_assets.store.storage import root_folder

DOSES = (1000, 10_000, 100_000)


def workshop_on(root: str) -> Workshop:
    store = ArtifactStore(root_folder(root), "demo")
    return Workshop(store, store.layout(BASE_ID))


@pytest.fixture
def study(tmp_path: Path) -> Workshop:
    """A base, three doses and two views in a folder, some MB."""
    workshop = workshop_on(str(tmp_path / "data"))
    workshop.base()
    for dose in DOSES:
        workshop.simulated(dose=dose, content=os.urandom(20_000))
    for view in ("dense", "sparse"):
        cell = Cell(1000, view)
        files = {workshop.layout.view_frames(cell.half(split)): os.urandom(1000) for split in ("train", "test")}
        workshop.make(StageKey("view", cell), files, values=view_values())
    workshop.store.set_active_base(BASE_ID, IMPORTED)
    return workshop


def view_values() -> dict[str, dict[str, dict[str, object]]]:
    facts = {"outcome": "succeeded", "reason": "", "n_accepted": 3, "n_rejected": 0, "n_offered": 3}
    return {"splits": {split: dict(facts) for split in ("train", "test")}}


def fly64(root: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fly64_assets.cli.main", "--data-root", root, *command],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def everything(workshop: Workshop) -> dict[str, str]:
    """SHA256 of every output of every stage."""
    keys = [StageKey("view", Cell(1000, view)) for view in ("dense", "sparse")]
    keys += [StageKey("simulated", Cell(dose, "dense").whole_dose) for dose in DOSES]
    records = [workshop.store.record(workshop.layout, key) for key in keys]
    return {name: sha256 for record in records if record for name, sha256 in record.outputs.items()}


def test_a_study_goes_to_an_object_store_and_comes_back(study: Workshop, s3_url: str, tmp_path: Path) -> None:  # noqa: F811
    data, back = str(study.store.data_root), str(tmp_path / "back")
    some = fly64(data, "push", s3_url, "--dose", "1e3", "--view", "dense")
    assert some.returncode == 0, some.stderr
    assert "3 of 3 stages copied" in some.stdout  # base, dose, view
    rest = fly64(data, "push", s3_url)
    assert rest.returncode == 0, rest.stderr
    assert "3 of 6 stages copied" in rest.stdout
    assert "3 were there already" in rest.stdout
    again = fly64(data, "push", s3_url)
    assert "0 of 6 stages copied" in again.stdout
    assert fly64(s3_url, "verify").returncode == 0
    assert fly64(back, "pull", s3_url).returncode == 0
    returned = workshop_on(back)
    assert everything(returned) == everything(study)
    assert returned.store.active_base() == study.store.active_base()
    assert verify_folder(returned.layout.folder).ok
    assert subprocess.run(
        ["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=returned.layout.report_folder, check=False
    ).returncode == 0  # fmt: skip


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_stopped_in_the_middle_nothing_is_half_there_and_the_same_command_goes_on(
    study: Workshop, s3_url: str, number: signal.Signals, status: int  # noqa: F811
) -> None:  # fmt: skip
    data = str(study.store.data_root)
    command = [sys.executable, "-m", "fly64_assets.cli.main", "--data-root", data, "push", s3_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not everything(seen := workshop_on(s3_url)) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    if process.returncode != 0:  # it was quicker than the signal on this machine
        assert process.returncode == status, said
        assert ("nothing is half-written" in said) == (status == 130)
    seen = workshop_on(s3_url)
    assert everything(seen).items() <= everything(study).items()
    assert [bad for bad in verify_folder(seen.store.folder).bad if "SHA256SUMS" not in bad.path] == []
    again = fly64(data, "push", s3_url)
    assert again.returncode == 0, again.stderr
    there = re.search(r"(\d+) were there already", again.stdout)
    assert there is not None
    assert int(there[1]) >= 1
    assert everything(workshop_on(s3_url)) == everything(study)


def test_what_cannot_be_copied_is_named_and_the_rest_is_copied(study: Workshop, s3_url: str) -> None:  # noqa: F811
    harmed = study.layout.patched(Cell(10_000, "dense").whole_dose, "train")
    harmed.write_bytes(harmed.read_bytes()[:-1] + b"?")
    answer = fly64(str(study.store.data_root), "push", s3_url)
    assert answer.returncode == 1
    assert "5 of 6 stages copied" in answer.stdout
    assert "dose_10000: simulated: " in answer.stderr
    assert harmed.name in answer.stderr


def test_a_damaged_copy_is_replaced_and_counted(study: Workshop, tmp_path: Path) -> None:
    data, there = str(study.store.data_root), str(tmp_path / "there")
    first = fly64(data, "push", there)
    assert "6 of 6 stages copied" in first.stdout
    assert "in place of" not in first.stdout
    harmed = workshop_on(there).layout.patched(Cell(1000, "dense").whole_dose, "train")
    content = harmed.read_bytes()
    harmed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    again = fly64(data, "push", there)
    assert again.returncode == 0, again.stderr
    assert "1 of 6 stages copied" in again.stdout
    assert "1 in place of another or damaged result" in again.stdout
    assert harmed.read_bytes() == content


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("push", "gs://bucket/x"), "expected s3://BUCKET/PREFIX"),
        (("push", "DATA"), "is both where results come from and where they go"),
        (("push", "URL", "--dose", "7"), "7 is not a dose of study demo (its doses: 1000, 10000, 100000)"),
        (("pull", "URL"), "URL holds no study demo: check this address and --study"),
        (("pull", "DATA/nowhere"), "DATA/nowhere holds no study demo: check this address and --study"),
        (("--study", "fly64", "push", "URL"), "has no base yet"),
    ],
)
def test_wrong_uses_are_sentences(study: Workshop, s3_url: str, command: tuple[str, ...], words: str) -> None:  # noqa: F811
    data = str(study.store.data_root)
    *command, words = (part.replace("DATA", data).replace("URL", s3_url) for part in (*command, words))
    answer = fly64(data, *command)
    assert answer.returncode in (1, 2)
    assert words in " ".join(answer.stderr.split())
    assert "Traceback" not in answer.stderr
