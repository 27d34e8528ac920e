"""``fly64 doctor``: is this machine, this folder and this study fit to run? Each answer says what to do."""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Final

import click

from fly64_assets.cli.console import MARKS, Session, json_option, pass_session, print_json, refusal, unusable
from fly64_assets.cli.driver.instance import FREE_SLOTS, differences, slots_are_kept, unfit
from fly64_assets.errors import Fly64Error
from fly64_assets.resources.environment import EXECUTOR_VARIABLE, HOME_VARIABLE, instance_folder
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.garbage import find_garbage
from fly64_assets.store.storage import storage_in
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.states import study_states
from fly64_assets.study.table import STAGES

ENGINES: Final = ("torch", "ptychi", "tensorflow")
OPTIONAL: Final = {"tensorflow": "only the method legacy_pinn (`--backend tensorflow`) needs it, all else works"}
"""Engines that some systems have no package of, and what is lost without them."""
LEAST_FREE_BYTES: Final = 2 * 10**9
FRAME_COPIES: Final = 6
"""Frames on disk, in copies of one dose's: simulated with patches (3), and the views' with theirs."""
GOOD, WARNING, BAD = "good", "warning", "bad"


Diagnosis = tuple[str, str]
"""``good``, ``warning`` or ``bad``, and what was found."""


@click.command()
@json_option
@pass_session
def doctor(session: Session, as_json: bool) -> None:
    """Check machine, disk, cluster, engines and study.

    Says what is wrong and what to do about it; changes nothing.

    \b
    Example:
      fly64 doctor
    """
    findings = []
    for subject, examine in examinations(session):
        try:
            level, sentence = examine()
        except Fly64Error as error:
            level, sentence = BAD, str(error)
        except OSError as error:
            level, sentence = BAD, refusal(error)
        findings.append({"subject": subject, "level": level, "sentence": sentence})
        if not as_json:
            click.echo(f"{MARKS[level]} {subject:12} {sentence}")
    ok = all(finding["level"] != BAD for finding in findings)
    if as_json:
        print_json({"ok": ok, "findings": findings})
    sys.exit(0 if ok else 1)


def examinations(session: Session) -> Iterator[tuple[str, Callable[[], Diagnosis]]]:
    """Every subject, and the function that examines it."""
    yield "versions", _versions
    design = session.design()
    root = session.data_root
    yield "design", lambda: (GOOD, f"{design.name}: {len(design.doses)} doses x {len(design.views)} views")
    yield "disk", lambda: _disk(root, design)
    yield "files", lambda: _files(_existing(root))
    yield "instance", _instance
    yield "slots", _slots
    yield "cluster", _cluster
    yield "study", lambda: _study(session.store(design), design)
    yield "garbage", lambda: _garbage(session.store(design))
    yield "machine", _machine
    for name in ENGINES:
        yield "engine", functools.partial(_engine, name)


def _versions() -> Diagnosis:
    dagster, webserver = metadata.version("dagster"), metadata.version("dagster-webserver")
    if dagster != webserver:
        return BAD, f"dagster {dagster} and dagster-webserver {webserver} differ; run `make`"
    return GOOD, f"Python {platform.python_version()}, dagster {dagster}"


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists. Raises :class:`Fly64Error` where it can never exist."""
    if why := unusable(path / "file"):
        raise Fly64Error(f"--data-root: {why}")
    return next(folder for folder in (path.resolve() / "file").parents if folder.is_dir())


def _disk(data_root: Path, design: StudyDesign) -> Diagnosis:
    root = _existing(data_root)
    free = shutil.disk_usage(root).free
    needed = LEAST_FREE_BYTES
    positions = getattr(design.base, "positions", 0)
    needed += FRAME_COPIES * positions * design.patch_size_pixels**2 * 4 * len(design.doses) * design.repeats
    sentence = f"{free / 1e9:.1f} GB free in {root}; the study needs about {needed / 1e9:.1f} GB"
    return GOOD if free >= needed else WARNING, sentence


def _files(root: Path) -> Diagnosis:
    return storage_in(root).examined(root)


def _instance() -> Diagnosis:
    home = instance_folder()
    settings = home / "dagster.yaml"
    if why := unfit(settings):
        return BAD, f"{HOME_VARIABLE}: {why}"
    if not home.exists():
        return GOOD, f"Dagster's instance will be made in {home}"
    if not os.access(home, os.W_OK):
        return BAD, f"{home} is not writable: set {HOME_VARIABLE} or change its permissions"
    if not settings.exists():
        return WARNING, f"{home} has no dagster.yaml; `fly64 run` puts the project's own there"
    from fly64_assets.automation.runs import hours_from_utc, load_instance, storage_place

    with load_instance() as instance:
        freed = instance.run_monitoring_enabled and instance.run_monitoring_settings.get(FREE_SLOTS)
        where, hours = storage_place(instance), hours_from_utc(instance)
    different = differences(settings)
    said = f"; other settings than shipped: {', '.join(different)}" if different else ""
    if not freed:
        return WARNING, f"{slots_are_kept(settings)}{said}"
    if hours:
        return WARNING, (
            f"the clock of {where} is {abs(hours):g} h {'ahead of' if hours > 0 else 'behind'} UTC; Dagster takes it "
            f"for UTC: it may fail new runs as too old. In psql: ALTER DATABASE ... SET timezone TO 'UTC'{said}"
        )
    return GOOD, f"Dagster's instance is {home}, its runs are in {where}{said}"


def _slots() -> Diagnosis:
    """Who holds the slots of pools, and whether they will ever give them back."""
    if not (instance_folder() / "dagster.yaml").exists():
        return GOOD, "no run holds a slot of a pool"
    from fly64_assets.automation.runs import load_instance, slot_holders

    with load_instance() as instance:
        holders = slot_holders(instance)
    if not holders:
        return GOOD, "no run holds a slot of a pool"
    states = {run_id: run.status.value.lower() if run else "not known here" for run_id, run in holders.items()}
    said = ", ".join(f"run {run_id[:8]} ({state})" for run_id, state in states.items())
    if all(run and not run.is_finished for run in holders.values()):
        return GOOD, f"slots of pools are held or waited for by {said}"
    unknown = "; those of runs that are not known are freed in the UI (Deployment, Concurrency)"
    return WARNING, (
        f"slots of pools are held by {said}: `fly64 run` and `fly64 ui` free what finished runs hold"
        f"{unknown if None in holders.values() else ''}"
    )


def _cluster() -> Diagnosis:
    """Where runs and their steps work, and whether what is set for that can be carried out."""
    from fly64_assets.automation.demands import demand_of, largest
    from fly64_assets.automation.executors import IN_RUN, chosen_executor
    from fly64_assets.automation.runs import load_instance, to_a_cluster
    from fly64_assets.automation.slurm import SlurmRunLauncher
    from fly64_assets.automation.slurm_jobs import require_commands

    wrong: list[str] = []
    unknown: list[str] = []
    with _noted(wrong):
        chosen_executor()
    with _noted(wrong):
        demand = largest(demand_of(stage, engine=True) for stage in STAGES.values() if stage.engine)
    launcher = ""
    if (instance_folder() / "dagster.yaml").exists():
        with _noted(unknown), load_instance() as instance:
            launcher = type(instance.run_launcher).__name__ if to_a_cluster(instance) else ""
            with _noted(wrong):
                if isinstance(instance.run_launcher, SlurmRunLauncher):
                    require_commands()
    if wrong:
        return BAD, "; ".join(wrong)
    if unknown:
        return WARNING, "where runs work is not known: see instance"
    steps = os.environ.get(EXECUTOR_VARIABLE) or IN_RUN
    if not launcher and steps == IN_RUN:
        return GOOD, "no cluster is set: runs work on this machine"
    where = f"runs by {launcher or 'this machine'}, steps by {'their run' if steps == IN_RUN else steps}"
    asked = f"{demand.cpus} core(s), {demand.gpus} GPU(s), {demand.memory_gib} GiB of memory"
    return GOOD, f"{where}; an engine requests {asked}"


@contextmanager
def _noted(faults: list[str]) -> Iterator[None]:
    """Add the sentence of an error to a list, and go on after the block."""
    try:
        yield
    except Fly64Error as error:
        faults.append(str(error))


def _study(store: ArtifactStore, design: StudyDesign) -> Diagnosis:
    if store.active_base() is None:
        return GOOD, f"no base yet in {store.folder}; `fly64 run` makes the design's own"
    states = study_states(store, design, quick=True)
    counts = Counter(state.name for state in states.values())
    sentence = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    level = WARNING if counts["failed"] else GOOD
    return level, f"{sentence} (`fly64 status` says which and why)"


def _garbage(store: ArtifactStore) -> Diagnosis:
    garbage = find_garbage(store)
    if not garbage:
        return GOOD, "no leftovers, superseded bases or orphans"
    size = sum(item.bytes for item in garbage)
    return WARNING, f"{len(garbage)} of no use, {size:,} bytes: see `fly64 clean`"


def _machine() -> Diagnosis:
    from fly64_assets.resources.gpu import cuda_devices

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return GOOD, f"{os.cpu_count()} cores, {memory / 1e9:.0f} GB memory, {cuda_devices() or 'no'} GPU"


def _engine(name: str) -> Diagnosis:
    """Import an engine in a process of its own."""
    command = [sys.executable, "-c", f"import {name}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode == 0:
        return GOOD, f"{name} {metadata.version(name)}"
    if name in OPTIONAL and importlib.util.find_spec(name) is None:
        return WARNING, f"{name} is not installed: {OPTIONAL[name]}"
    last = answer.stderr.strip().splitlines()[-1:] or [f"status {answer.returncode}"]
    return BAD, f"{name} cannot be imported ({last[0]}): install the project again"
