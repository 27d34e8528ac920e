from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.records import StageRecord
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.layout import Layout, StageKey

BASE_ID = "camera_0123abcd"
VIEW_VALUES = {"splits": {split: {"outcome": "succeeded", "reason": ""} for split in ("train", "test")}}
"""What every record of a view says at least."""


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "data", "demo")


@pytest.fixture
def layout(store: ArtifactStore) -> Layout:
    return store.layout(BASE_ID)


class Workshop:
    """Builds small real stages: bytes stand for frames, everything else is the store's own work."""

    design = StudyDesign()

    def __init__(self, store: ArtifactStore, layout: Layout) -> None:
        self.store, self.layout = store, layout

    def make(
        self,
        key: StageKey,
        files: dict[Path, bytes],
        *,
        inputs: Any = (),
        parameters: dict[str, Any] | None = None,
        values: dict[str, Any] | None = None,
        logs: dict[Path, bytes] | None = None,
        skip: str = "",
        announce: Callable[[str], None] | None = None,
    ) -> StageRecord:
        with self.store.build(
            self.layout,
            key,
            inputs=inputs,
            parameters=parameters or {"seed": 42},
            design=self.design,
            code_version="1",
            seeds={"simulation": 42},
            announce=announce,
        ) as build:
            for path, content in files.items():
                build.write_bytes(path, content)
            for path, content in (logs or {}).items():
                build.write_bytes(path, content, data=False)
            if skip:
                build.skip(skip, values or {})
            else:
                build.succeed(values or (VIEW_VALUES if key.stage == "view" else {}))
        return build.record

    def base(self) -> StageRecord:
        return self.make(StageKey("base"), {self.layout.base: b"base" * 50})

    def simulated(self, dose: int = 1000, content: bytes = b"frames", **options: Any) -> StageRecord:
        files = {self.layout.patched(dose, split): content * 100 + split.encode() for split in ("train", "test")}
        return self.make(StageKey("simulated", dose), files, **options)

    def state(self, key: StageKey, inputs: Any = (), parameters: dict[str, Any] | None = None, **options: Any) -> Any:
        options = {"code_version": "1"} | options
        return self.store.state(self.layout, key, inputs, parameters or {"seed": 42}, **options)


@pytest.fixture
def workshop(store: ArtifactStore, layout: Layout) -> Workshop:
    return Workshop(store, layout)


@pytest.fixture
def in_child() -> Callable[[Callable[[], Any]], tuple[int, Any]]:
    """Run a function in a forked process; its wait status (negative: signal) and what it returned or printed."""

    def run(work: Callable[[], Any]) -> tuple[int, Any]:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(reader)
                with os.fdopen(writer, "wb") as pipe:
                    pickle.dump(work(), pipe)
                code = 0
            except BaseException:  # noqa: BLE001
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            answer = pipe.read()
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status), pickle.loads(answer) if answer else None

    return run
