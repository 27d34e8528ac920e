"""A study of hundreds of cells, and what the commands and pages cost that look at all of them.

    python benchmarks/many_cells.py [--doses 20] [--views 15] [--bases 24] [--folder DIR] [--quick] [--json]

One cell of a small study is computed by all its engines. Its files are then stored once for every cell of a study of
doses x views, each through the store with the inputs, parameters and sidecars of its own place, and every cell is
reported to a Dagster instance. Every command runs in a process of its own, and its seconds are the processor's; those
of pages are the clock's. The peer of a command is the same one on the study of one cell, so that a ratio far below the
number of cells says that the work per cell is small against the start of the command. ``--folder`` keeps the study
(and takes it if it is there).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from measure import entry, show

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from endtoend.client import ASSETS, CHECKS, PARTITIONS, Client
from endtoend.services import HOST, free_port, until

from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.keys import BASE, REPORT, Cell, Coordinates, Half
from fly64_assets.store.records import StageRecord
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign, load_design
from fly64_assets.study.states import active_layout, expected
from fly64_assets.study.table import STAGES, Key, Stage

BIN = Path(sys.executable).parent
NAME = "many"
FLOOR = "{ version }"
"""The least that a webserver can be asked."""
ONE = {
    "name": NAME,
    "dose_list": [1e3],
    "overlap_views": {},
    "base": {"amplitude": "coins", "phase": "grass", "object_size": 132, "positions": 60},
    "pinn": {"epochs": 1, "levels": [1.2], "level_iterations": 1, "steps_per_epoch": 1},
    "lsqml": {"epochs": 2},
}


def environment(folder: Path) -> dict[str, str]:
    """Of every command on the study in ``folder``."""
    own = {"DAGSTER_HOME": folder / "dagster", "FLY64_STUDY": folder / "study.yaml", "FLY64_DATA_ROOT": folder / "data"}
    return {**os.environ, "OMP_NUM_THREADS": "1", **{name: str(value) for name, value in own.items()}}


def fly64(folder: Path, *arguments: str) -> float:
    """Processor seconds of a command, which must succeed, and of what it starts."""
    before = os.times()
    subprocess.run([BIN / "fly64", *arguments], cwd=folder, env=environment(folder), check=True, capture_output=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def one_cell(folder: Path) -> Path:
    """The template: a study of one cell, computed by its engines."""
    if not (folder / "data" / NAME).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "study.yaml").write_text(yaml.safe_dump(ONE))
        fly64(folder, "run")
    return folder


def many_cells(folder: Path, template: Path, doses: int, views: int, bases: int) -> StudyDesign:
    """The study of many cells: the template's files at every place, and every cell reported to Dagster."""
    spaced = {f"view_{number:02d}": round(0.3 + 0.5 * number / views, 3) for number in range(1, views)}
    design_file = folder / "study.yaml"
    if design_file.is_file():
        return load_design(design_file)
    folder.mkdir(parents=True)
    dose_list = [float(1000 + 100 * number) for number in range(doses)]
    design_file.write_text(yaml.safe_dump(ONE | {"dose_list": dose_list, "overlap_views": spaced}))
    design, source = load_design(design_file), load_design(template / "study.yaml")
    store, old = ArtifactStore(folder / "data", NAME), ArtifactStore(template / "data", NAME)
    old_layout = active_layout(old)
    layout = store.layout(old_layout.base_id)
    for key in stages.study_keys(design):
        if key != REPORT:
            _store_one(store, layout, design, key, old.required(old_layout, _of_template(key, source)), old_layout)
        if key == BASE:
            store.set_active_base(layout.base_id, "design")
    for number in range(1, bases):
        copy = layout.folder.with_name(f"{NAME}_{number:08x}")
        copy.mkdir()
        for path in (*layout.folder.glob("base.npz*"), *layout.folder.glob("base.json*")):
            shutil.copy(path, copy)
    _report_to_dagster(folder, design)
    return design


def _of_template(key: Key, design: StudyDesign) -> Key:
    """The stage of the template whose files stand for those of ``key``."""
    return STAGES[stages.stage_of(key).asset].key(design, _place(key.at))


def _place(at: Coordinates) -> Coordinates:
    document: dict[str, Any] = {**vars(at), "dose": 1000} if hasattr(at, "dose") else {}
    if isinstance(at, (Cell, Half)):
        document["view"] = "baseline"
    document.pop("split", None)
    kind = Cell if isinstance(at, Half) else type(at)
    return kind(**document)


def _store_one(
    store: ArtifactStore, layout: Any, design: StudyDesign, key: Key, record: StageRecord, old_layout: Any
) -> None:
    version = stages.code_version(key)
    wanted = {} if key == BASE else expected(store, layout, design, key).inputs
    with store.build(
        layout, key, inputs=wanted, parameters=stages.parameters(design, key), design_sha256=design.sha256(),
        code_version=version, seeds=design.repeat_seeds(key.repeat),
    ) as build:  # fmt: skip
        for name in record.outputs:
            path, target = old_layout.folder / name, layout.output(key, Path(name).name)
            content = path.read_bytes()
            if path.name == "comparison.json":
                document = json.loads(content)
                content = json.dumps(document | {"dose": key.dose, "view": key.view}).encode()
            if key.stage == "view" and path.suffix == ".npz":
                continue
            build.write_bytes(target, content, data=name not in record.diagnostics)
        if key.stage == "view" and key.view != "baseline":
            for half in ("train", "test"):
                source = layout.patched(key.at.whole_dose, half)
                build.write_bytes(layout.view_frames(key.at.half(half)), source.read_bytes())
        build.succeed(record.values)


def _report_to_dagster(folder: Path, design: StudyDesign) -> None:
    """Every partition of every asset as materialised."""
    import dagster as dg

    from fly64_assets.automation.runs import load_instance

    home = folder / "dagster"
    home.mkdir()
    import fly64_assets

    shutil.copy(Path(fly64_assets.__file__).with_name("dagster.yaml"), home)
    os.environ["DAGSTER_HOME"] = str(home)
    with load_instance() as instance:
        for stage in STAGES.values():
            if not stage.on_request:
                for partition in partitions(design, stage):
                    event = dg.AssetMaterialization(stage.asset, partition=partition, metadata={"outcome": "succeeded"})
                    instance.report_runless_asset_event(event)


def partitions(design: StudyDesign, stage: Stage) -> list[Any]:
    """Keys of an asset's partitions, None for one without."""
    import dagster as dg

    if stage.kind in ("base", "report"):
        return [None]
    if stage.kind == "simulated":
        return [str(dose) for dose in design.doses]
    return [dg.MultiPartitionKey({"dose": str(dose), "view": view}) for dose in design.doses for view in design.views]


COMMANDS: dict[str, tuple[str, ...]] = {
    "status": ("status",),
    "status --quick": ("status", "--quick"),
    "plan": ("plan",),
    "run --dry-run": ("run", "--dry-run"),
    "base list": ("base", "list"),
    "report": ("report",),
}


@contextmanager
def webserver(folder: Path) -> Iterator[Client]:
    """Dagster's webserver on the study in ``folder``, without a daemon, and a client of it."""
    port = free_port()
    command = [BIN / "dagster-webserver", "-h", HOST, "-p", str(port), "-m", "fly64_assets.definitions"]
    silent = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=silent, stderr=silent)
    try:
        client = Client(port)
        until(partial(_answers, client), 300, "webserver")
        yield client
    finally:
        process.terminate()
        process.wait(60)


def _answers(client: Client) -> bool:
    with suppress(OSError, AssertionError):
        return bool(client.ask(FLOOR))
    return False


def pages(folder: Path, rounds: int, cells: int) -> list[dict[str, Any]]:
    """Seconds of the queries behind the pages of the UI; the peer asks for the version of the server."""
    key = {"path": ["overlap_view"]}
    with webserver(folder) as client:
        backfill = client.backfill(["overlap_view"], None)
        questions: dict[str, Callable[[], object]] = {
            "asset graph": lambda: client.ask(ASSETS),
            "partition status": lambda: client.ask(PARTITIONS, key=key),
            "checks of an asset": lambda: client.ask(CHECKS, key=key),
            "backfill page": lambda: client.backfill_state(backfill),
        }
        results = []
        for name, ask in questions.items():
            ask()
            times = [(_seconds(ask), _seconds(lambda: client.ask(FLOOR))) for _ in range(rounds)]
            ours, floor = (sorted(column)[len(times) // 2] for column in zip(*times, strict=True))
            results.append(entry(f"UI: {name}", ours, floor, unit="s", peer="a query of nothing", n=rounds, size=cells))
    return results


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def measure(folder: Path, doses: int, views: int, bases: int, rounds: int) -> list[dict[str, Any]]:
    """One entry for each command."""
    template = one_cell(folder / "one")
    design = many_cells(folder / f"cells_{doses}x{views}", template, doses, views, bases)
    many, cells = folder / f"cells_{doses}x{views}", len(design.doses) * len(design.views)
    results = []
    for name, command in COMMANDS.items():
        once = 1 if name == "report" else rounds
        times = [(fly64(template, *command), fly64(many, *command)) for _ in range(once)]
        peer, ours = (min(column) for column in zip(*times, strict=True))
        results.append(entry(f"fly64 {name}", ours, peer, unit="s", peer="one cell", n=once, size=cells))
    return results + pages(template, 10, 1) + pages(many, 10, cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--doses", type=int, default=20)
    parser.add_argument("--views", type=int, default=15)
    parser.add_argument("--bases", type=int, default=24)
    parser.add_argument("--folder", type=Path, help="where the studies are kept; a temporary folder by default")
    parser.add_argument("--quick", action="store_true", help="4 x 3 cells, every command once")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fly64_cells_") as scratch:
        size = (4, 3, 4, 1) if options.quick else (options.doses, options.views, options.bases, 3)
        results = measure(options.folder or Path(scratch), *size)
    show(results, as_json=options.json)


if __name__ == "__main__":
    main()
