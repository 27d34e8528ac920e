"""Driving the asset graph until every stage of a request has succeeded, failed or been skipped."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from fly64_assets.cli.console import MARKS, Session, fail, first_line, signals_to
from fly64_assets.cli.driver.instance import ready_instance
from fly64_assets.cli.driver.progress import StudyBars
from fly64_assets.cli.driver.runs import run_assets
from fly64_assets.cli.driver.schedule import Filters, Run, cell_runs, stage_run
from fly64_assets.cli.file_options import say_finding
from fly64_assets.engines.process import Progress
from fly64_assets.store.artifacts import IMPORTED, ArtifactStore, State
from fly64_assets.store.atomic import explained, make_folder
from fly64_assets.store.storage import storage_in
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.states import active_layout, study_states
from fly64_assets.study.table import Key

States = Mapping[Key, State]


@dataclass(frozen=True)
class RunOptions:
    """How a request is to be carried out."""

    session: Session
    base_file: Path | None
    """A base to import first."""
    dry_run: bool
    """Say what would be done, and write nothing."""
    jobs: int
    """Cells at a time."""
    gpu: Mapping[str, Any]
    """Settings of the resource ``gpu`` other than its own; not among any stage's parameters (CONFIG-002)."""


class _WithoutBase(ArtifactStore):
    """The store as it would be before its first base; for looking only."""

    def active_base(self) -> None:
        """No base."""


def import_base(
    session: Session,
    design: StudyDesign,
    file: Path,
    form: Mapping[str, Any] | None,
    *,
    strict: bool = False,
    gpu: Mapping[str, Any] | None = None,
) -> None:
    """Bring a base file into the study, make it the active base, and say so with everything that was found.

    ``form`` is what the user says about the form of the file, None where the command has no options for that. Measured
    frames are calibrated with the settings ``gpu`` of the resource of that name.
    """
    from fly64_assets.resources.gpu import GpuResource
    from fly64_assets.study.intake import intake_file
    from fly64_assets.study.intake_terms import ON_THE_CPU, Engine

    store = session.store(design)
    engine = ON_THE_CPU
    if design.of_measured_frames:
        engine = Engine(GpuResource(**(gpu or {})).execution(), printed("calibration"))
    record = intake_file(
        store, design, file, form=form, announce=click.echo, say=say_finding, strict=strict, engine=engine
    )
    values = record.values
    click.echo(
        f"{values['base_id']} is the active base of study {design.name}: object {values['object_height_px']} x "
        f"{values['object_width_px']} px, N = {values['patch_size_px']}, {values['positions']} positions, "
        f"probe {values['probe_diameter_px']:.1f} px"
    )
    if "measured_photons" in values:
        click.echo(
            f"  {values['frames']} measured frames with {values['measured_photons']:.4g} photons each on average; "
            f"deviance {values['deviance']:.4g} per pixel ({values['expected_deviance']:.4g} expected) after "
            f"{values['calibration_seconds']:.0f} s: {values['stop_reason']}"
        )


def printed(label: str) -> Progress:
    """Prints progress at every tenth."""
    tenth = 0

    def report(done: int, total: int, values: Mapping[str, float]) -> None:
        nonlocal tenth
        if 10 * done // total > tenth:
            tenth = 10 * done // total
            numbers = ", ".join(f"{name} {value:.5g}" for name, value in values.items())
            click.echo(f"  {label}: {done} of {total} ({numbers})" if numbers else f"  {label}: {done} of {total}")

    return report


def states_for(options: RunOptions, design: StudyDesign, filters: Filters) -> dict[Key, State]:
    """States of the study on the requested base, which is imported now (not in a dry run)."""
    store = options.session.store(design)
    if options.base_file is not None:
        if options.dry_run:
            from fly64_assets.study.intake import base_name

            name = base_name(design, options.base_file, say_finding)
            click.echo(f"{options.base_file} would be the active base {name}")
            known = name in store.bases()
            store = store.on(name, IMPORTED) if known else _WithoutBase(store.data_root, store.study)
        else:
            import_base(options.session, design, options.base_file, None, gpu=options.gpu)
    return study_states(store, design, methods=filters.methods)


def carry_out(
    options: RunOptions,
    design: StudyDesign,
    states: States,
    keys: list[Key],
    filters: Filters,
    left_out: Collection[Key] = (),
) -> None:
    """Build ``keys`` and exit with 1 if a requested stage is not done then; stages left out do not count."""
    accelerator = ""
    if options.gpu or (keys and not options.dry_run):
        from fly64_assets.resources.gpu import GpuResource

        # Raises EngineError where the request cannot be met on this machine.
        accelerator = GpuResource(**options.gpu).execution().accelerator
    if options.dry_run:
        print_plan(states, keys, filters, left_out)
        return
    store, failed = options.session.store(design), list[str]()
    if keys:
        store, failed = build_stages(options, design, keys, accelerator, store)
    _conclude(store, design, filters, left_out, failed)


def build_stages(
    options: RunOptions, design: StudyDesign, keys: list[Key], accelerator: str, store: ArtifactStore
) -> tuple[ArtifactStore, list[str]]:
    """Build stages on the base of a store; the store on the base that was used, and the labels of runs that failed.

    An interrupt leaves with status 130.
    """
    report_file_system(store.data_root)
    driver = _Driver(options, design, keys, accelerator, store)
    try:
        # SIGTERM stops the work as Ctrl-C does: no run continues without its command.
        with signals_to(signal.default_int_handler, signal.SIGTERM):
            return driver.drive(), driver.failed
    except KeyboardInterrupt:
        click.echo("interrupted: nothing is half-written; the same command goes on from here", err=True)
        sys.exit(130)


def report_file_system(root: Path) -> None:
    """Say what the file system of the data root cannot do, if anything; the folder is made where it is missing."""
    with explained(root / "study"):
        make_folder(root)
        level, sentence = storage_in(root).examined(root)
    if level != "good":
        click.echo(sentence, err=True)


def label_width(keys: Iterable[Key]) -> int:
    """Width of a column that holds the labels of some stages."""
    return max((len(key.label) for key in keys), default=0)


def print_plan(states: States, keys: list[Key], filters: Filters, left_out: Collection[Key]) -> None:
    """The requested stages: what would run, what is left alone, what lacks its inputs."""
    width, chosen = label_width(states), set(keys)
    for key, state in states.items():
        if key in chosen or filters.match(key):
            action = "run" if key in chosen else "lacks" if key in left_out else "leave"
            click.echo(f"{action:6} {state.name:8} {key.label:{width}} {first_line(state.reason)}")
    click.echo(f"{len(keys)} of {len(states)} stages would run; nothing was written")


@dataclass
class _Driver:
    """Runs in order of dependence, some at a time, all on one base even if another becomes the active one."""

    options: RunOptions
    design: StudyDesign
    keys: list[Key]
    accelerator: str
    store: ArtifactStore
    stop: threading.Event = field(default_factory=threading.Event)
    failed: list[str] = field(default_factory=list)

    def drive(self) -> ArtifactStore:
        """Base, then every dose followed by its cells, then the report; returns the store on the base of all that."""
        from fly64_assets.study.intake import base_remarks

        ready_instance()
        with StudyBars(len(self.keys)) as self.bars, ThreadPoolExecutor(self.options.jobs) as pool:
            first = stage_run(self.keys, "base")
            if first and not self._start(first):
                return self.store
            for remark in base_remarks(self.store, self.design):
                self.bars.say(f"{MARKS['info']} {remark}")
            active = self.store.active_base()
            self.store = self.store.on(active.base_id, active.origin) if active else self.store
            try:
                self._doses(pool)
            except KeyboardInterrupt:
                self.stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
            if last := stage_run(self.keys, "report"):
                self._start(last)
        return self.store

    def _doses(self, pool: ThreadPoolExecutor) -> None:
        waiting: dict[Future[bool], int | None] = {}
        for dose in self.design.doses:
            run = stage_run(self.keys, "simulated", dose)
            if run:
                waiting[pool.submit(self._start, run)] = dose
            else:
                waiting |= self._cells(pool, dose)
        while waiting:
            # A short wait lets Ctrl-C through.
            done, _ = wait(waiting, timeout=0.5, return_when="FIRST_COMPLETED")
            for future in done:
                dose_done = waiting.pop(future)
                if future.result() and dose_done is not None:
                    waiting |= self._cells(pool, dose_done)

    def _cells(self, pool: ThreadPoolExecutor, dose: int) -> dict[Future[bool], int | None]:
        runs = [cell_runs(self.keys, dose, view) for view in self.design.views]
        # The comparison runs even if methods failed, hence the list.
        return {pool.submit(lambda cell: all(list(map(self._start, cell))), cell): None for cell in runs if cell}

    def _start(self, run: Run) -> bool:
        if self.stop.is_set():
            return False
        self.bars.say(f"▸ {run.label}")
        base = self.store.pinned.base_id if self.store.pinned else None
        result = run_assets(
            self.options.session,
            run.assets,
            run.partition,
            gpu=self.options.gpu,
            base=base,
            # On a CPU as many engines work as there are jobs; a GPU is shared with the runs of the UI.
            slots=self.accelerator != "cpu",
            listen=self.bars.engine,
            stop=self.stop,
        )
        self.bars.finish(len(run.keys))
        why = "" if result.ok else f": {result.reason}\n  log: {result.log}"
        if not result.ok:
            self.failed.append(run.label)
        self.bars.say(f"{MARKS['good' if result.ok else 'bad']} {run.label}{why}")
        for warning in recorded_warnings(self.store, run.keys) if result.ok else ():
            self.bars.say(f"  {MARKS['warning']} {warning}")
        return result.ok


def recorded_warnings(store: ArtifactStore, keys: Iterable[Key]) -> list[str]:
    """What was found in the files of some stages that stops nothing, each with its stage."""
    layout = active_layout(store)
    records = {key: store.record(layout, key) for key in keys}
    return [
        f"{key.label}: {warning}"
        for key, record in records.items()
        if record is not None
        for warning in record.values.get("warnings", ())
    ]


def _conclude(
    store: ArtifactStore, design: StudyDesign, filters: Filters, left_out: Collection[Key], failed: Collection[str]
) -> None:
    """Print the summary; exit with 1 if a requested stage has neither succeeded nor been skipped, or a run failed."""
    states = study_states(store, design, methods=filters.methods)
    asked = {key: state for key, state in states.items() if filters.match(key) and key not in left_out}
    bad = {key: state for key, state in asked.items() if not state.done}
    skipped = sum(state.name == "skipped" for state in asked.values())
    click.echo(f"{len(asked) - len(bad)} of {len(asked)} stages are done ({skipped} of them skipped)")
    page = active_layout(store).report_folder / "index.html" if store.active_base() else None
    if page and page.exists():
        click.echo(f"report: {page}")
    if bad:
        lines = "\n".join(f"  {state.name:8} {key.label}: {state.reason}" for key, state in bad.items())
        fail(f"{len(bad)} stage(s) are not done:\n{lines}")
    if failed:
        fail(f"results of before are kept, since making them anew failed: {', '.join(failed)} (see above why)")
