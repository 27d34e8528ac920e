"""A real tiny study whose stages are run in children that meet faults, and its judge.

Belongs here: running, copying and judging. Does not belong here: the faults themselves (the tests).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.ledger import Ledger

from fly64_assets.errors import ArtifactError
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.atomic import is_temporary
from fly64_assets.store.garbage import MANIFESTS, TEMPORARY, remove_garbage
from fly64_assets.store.integrity import verify_folder
from fly64_assets.store.keys import BASE, REPORT, Cell, Dose, Half, StageKey
from fly64_assets.store.layout import SUFFIX, Layout
from fly64_assets.store.records import find_records
from fly64_assets.store.sidecars import verified
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign, load_design
from fly64_assets.study.states import active_layout, base_state, expected

FULL = os.environ.get("FLY64_FAULTS") == "full"
DOSE, VIEW, ARM = 10000, "dense", "pinn"
STUDY = """
name: faults
dose_list: [1e4]
overlap_views: {dense: 0.7}
base: {amplitude: coins, phase: grass, object_size: 132, positions: 60}
pinn: {epochs: 1}
lsqml: {epochs: 2}
"""
SIMULATED, CELL_VIEW = StageKey("simulated", Dose(DOSE)), StageKey("view", Cell(DOSE, VIEW))
TRAINING = StageKey("training", Cell(DOSE, VIEW), ARM, 2)
INFERENCE = StageKey("inference", Cell(DOSE, VIEW), ARM)
RECONSTRUCTION = StageKey("reconstruction", Half(DOSE, VIEW, "test"), "lsqml")
COMPARISON = StageKey("comparison", Cell(DOSE, VIEW))
ENGINE_STAGES = (TRAINING, INFERENCE, RECONSTRUCTION)
CHAIN = (BASE, SIMULATED, CELL_VIEW, *((*ENGINE_STAGES, COMPARISON, REPORT) if FULL else ()))


class Zygote:
    """The process from which stages are forked."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("zygote.py"))]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._answer()

    def start(self, request: dict[str, Any]) -> int:
        """Fork a child for a request; its process number."""
        return int(self._ask(request)["pid"])

    def wait(self, pid: int) -> dict[str, Any]:
        """How the child ended: ``code`` (negative: signal) and, if it got there, its answer."""
        return self._ask({"wait": pid})

    def stop(self) -> None:
        """End the zygote."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


class Study:
    """One copy of the tiny study: its stages can be run, met by faults, and compared with the undisturbed one."""

    def __init__(self, zygote: Zygote, folder: Path) -> None:
        self.zygote = zygote
        self.folder = folder
        self.root = folder / "data"
        self.file = folder / "study.yaml"
        self.design: StudyDesign = load_design(self.file)
        self.store = ArtifactStore(self.root, self.design.name)

    @property
    def layout(self) -> Layout:
        return active_layout(self.store)

    def start(self, key: StageKey, **faults: Any) -> int:
        """Begin to run a stage as ``fly64 run`` does."""
        request = {
            "root": str(self.root),
            "study": str(self.file),
            "log": str(self.folder.with_suffix(".log")),
            "assets": [stages.stage_of(key).asset],
            "partition": "|".join(str(part) for part in (key.dose, key.view) if part) or None,
        }
        if key != BASE or self.store.active_base():
            request["stage_folder"] = str(self.layout.folder_of(key))
        return self.zygote.start(request | faults)

    def run(self, key: StageKey, **faults: Any) -> dict[str, Any]:
        """Run a stage to its end, whatever that is."""
        return self.zygote.wait(self.start(key, **faults))

    def forget(self, key: StageKey) -> None:
        """Remove the record of a stage, so that it has to be built again."""
        path = self.layout.record(key)
        path.unlink()
        path.with_name(path.name + ".manifest.json").unlink()

    def state(self, key: StageKey) -> str:
        """Name of the state of a stage, given what it would read now; every byte of it hashed."""
        if key == BASE:
            return base_state(self.store, self.design).name
        wanted = expected(self.store, self.layout, self.design, key)
        if wanted.waits_for:
            return "missing"
        asked, code = stages.parameters(self.design, key), stages.code_version(key)
        return self.store.state(self.layout, key, wanted.inputs, asked, code_version=code).name

    def hashes(self) -> dict[str, str]:
        """SHA256 of every data file that a record lists, by its place; logs, pictures and the report left out."""
        return {
            name: sha256
            for record in find_records(self.layout)
            for name, sha256 in record.outputs.items()
            if name not in record.diagnostics
        }

    @property
    def place(self) -> str:
        """The folder of the base, relative to the data root."""
        return self.layout.folder.relative_to(self.root).as_posix()

    def derived(self) -> list[Path]:
        """The manifests of the study, which are written anew with the report."""
        return [self.layout.manifest(name) for name in MANIFESTS]

    def wait_for(self, path: Path) -> None:
        """Wait until a file is there."""
        deadline = time.monotonic() + 120
        while not path.exists():
            assert time.monotonic() < deadline, f"{path} did not appear"
            time.sleep(0.002)

    def files(self) -> dict[str, tuple[int, int]]:
        """Size and time of every visible file."""
        return {
            path.relative_to(self.root).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
            for path in self.root.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        }


@dataclass
class Reference:
    """The undisturbed study: its folder, data hashes and the number of write points of each stage."""

    study: Study
    hashes: dict[str, str]
    points: dict[StageKey, int]
    scratch: Path

    def copy(self, folder: Path | None = None) -> Study:
        """A copy of the study, in a new folder or in a given one.

        In a new folder it shares the files: the store never changes one in place, and faults take a copy first.
        """
        share = folder is None
        folder = folder or Path(tempfile.mkdtemp(dir=self.scratch))
        folder.chmod(0o755)
        copy = os.link if share else shutil.copy2
        shutil.copytree(self.study.folder, folder, copy_function=copy, dirs_exist_ok=True, symlinks=True)
        return Study(self.study.zygote, folder)

    def after(self, ledger: Ledger, fault: str, study: Study, key: StageKey, before: dict[str, Any] | None) -> None:
        """Judge a study after a fault in ``key``: nothing wrong is read as right, a rerun completes, all is as ever.

        ``before`` are the files before the fault: those of other stages must not have been made again.
        """
        row = ledger.row(fault)
        row.injected += 1
        wrong = self.wrong(study, key)
        row.wrong += bool(wrong)
        assert not wrong, f"{fault} in {key.label}: read as right: {wrong}"

        answer = study.run(key)
        assert answer.get("ok"), f"{fault} in {key.label}: the rerun failed: {answer.get('reason')}"
        lost = {name for name, sha256 in self.hashes.items() if study.hashes().get(name) != sha256}
        row.lost += bool(lost)
        assert not lost, f"{fault} in {key.label}: {lost} differ from the undisturbed study"
        assert [other.label for other in CHAIN if study.state(other) not in ("fresh", "skipped")] == []
        self.nothing_repeated(study, key, before)
        remove_garbage(study.store, [TEMPORARY])
        rest = [path for path in study.layout.folder_of(key).rglob(".*") if is_temporary(path.name)]
        assert not rest, f"{fault} in {key.label}: left behind {rest}"
        assert verify_folder(study.layout.folder).bad == ()
        row.survived += 1
        study.folder.with_suffix(".log").unlink(missing_ok=True)
        shutil.rmtree(study.folder, ignore_errors=True)  # it may be the root of a small disk

    def wrong(self, study: Study, key: StageKey) -> list[str]:
        """Files of a stage that are verified though they are not those of the undisturbed study, and false states."""
        found = []
        mine = {name: self.hashes[name] for name in self.outputs(key) if name in self.hashes}
        for name, sha256 in mine.items():
            path = study.layout.folder / name
            try:
                if verified(path).sha256 != sha256:
                    found.append(name)
            except ArtifactError:
                continue
        if study.state(key) == "fresh" and not mine.items() <= study.hashes().items():
            found.append(f"{key.label} is called fresh")
        return found

    def nothing_repeated(self, study: Study, key: StageKey, before: dict[str, Any] | None) -> None:
        """Files of other stages are the same files as before."""
        if before is None:
            return
        derived = {"faults/active_base.json", *(f"{study.place}/{path.name}" for path in study.derived())}
        mine = {f"{study.place}/{name}" for name in self.outputs(key)} | derived
        after = study.files()
        repeated = [
            name
            for name, identity in before.items()
            if name.removesuffix(SUFFIX) not in mine and "/report/" not in name and after.get(name) != identity
        ]
        assert not repeated, f"made again though finished: {repeated}"

    def outputs(self, key: StageKey) -> set[str]:
        """Places of the files of a stage, its record among them, relative to the folder of the base."""
        layout = self.study.layout
        record = self.study.store.required(layout, key)
        return {*record.outputs, layout.record(key).relative_to(layout.folder).as_posix()}


def kill_group(pid: int) -> None:
    """SIGKILL to a child and to the engines that it started."""
    os.killpg(pid, signal.SIGKILL)
