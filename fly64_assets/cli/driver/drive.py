"""Driving the asset graph until every stage of a request has succeeded, failed or been skipped.

Belongs here: what ``fly64 run`` and the phases do with a list of stages. Does not belong here: which stages those are
(``schedule``), options (``options``).
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

import click

from fly64_assets.cli.commands.base import import_base
from fly64_assets.cli.console import fail
from fly64_assets.cli.driver.instance import dagster_home, run_worker
from fly64_assets.cli.driver.lost_runs import settle_instance
from fly64_assets.cli.driver.progress import StudyBars
from fly64_assets.cli.driver.schedule import Filters, Run, cell_runs, dose_run, single_run
from fly64_assets.cli.options import Order
from fly64_assets.store.artifacts import IMPORTED, ArtifactStore, State
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.stages import Key
from fly64_assets.study.states import active_layout, study_states

States = Mapping[Key, State]


class _WithoutBase(ArtifactStore):
    """The store as it would be before its first base; for looking only."""

    def active_base(self) -> None:
        """No base."""


def states_for(order: Order, design: StudyDesign, filters: Filters) -> dict[Key, State]:
    """States of the study on the base that the order names, which is imported now (not in a dry run)."""
    store = order.session.store(design)
    if order.base_file is not None:
        if order.dry_run:
            store = _would_be(order, design, store)
        else:
            import_base(order.session, design, order.base_file, {})
    return study_states(store, design, methods=filters.methods)


def _would_be(order: Order, design: StudyDesign, store: ArtifactStore) -> ArtifactStore:
    """The store with the order's base active, after a look at the file."""
    from fly64_assets.study.intake import base_name

    assert order.base_file is not None
    name = base_name(design, order.base_file)
    click.echo(f"{order.base_file} would be the active base {name}")
    if name in store.bases():
        return store.on(name, IMPORTED)
    return _WithoutBase(store.data_root, store.study)


def carry_out(
    order: Order,
    design: StudyDesign,
    states: States,
    keys: list[Key],
    filters: Filters,
    left_out: Collection[Key] = (),
) -> None:
    """Build ``keys`` and leave with 1 if a requested stage is not done then; stages left out are no part of it."""
    accelerator = _accelerator(order) if order.gpu or (keys and not order.dry_run) else ""
    if order.dry_run:
        print_plan(states, keys, filters, left_out)
        return
    store = order.session.store(design)
    if keys:
        try:
            with _stopped_by_sigterm():
                store = _Driver(order, design, keys, accelerator, store).drive()
        except KeyboardInterrupt:
            click.echo("interrupted: nothing is half-written; the same command goes on from here", err=True)
            sys.exit(130)
    _conclude(store, design, filters, left_out)


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM stops the work as Ctrl-C does: no worker goes on alone."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _accelerator(order: Order) -> str:
    """Where engines will run. Raises ``EngineError`` where the order cannot be met on this machine."""
    from fly64_assets.resources.gpu import GpuResource

    return GpuResource(**order.gpu).execution().accelerator


def print_plan(states: States, keys: list[Key], filters: Filters, left_out: Collection[Key]) -> None:
    """The requested stages: what would run, what is left alone, what lacks its inputs."""
    for key, state in states.items():
        if key in keys or filters.match(key):
            action = "run" if key in keys else "lacks" if key in left_out else "leave"
            click.echo(
                f"{action:6} {state.name:8} {key.label:48} {state.reason.splitlines()[0] if state.reason else ''}"
            )
    click.echo(f"{len(keys)} of {len(states)} stages would run; nothing was written")


@dataclass
class _Driver:
    """Runs in the right order, some at a time, all on one base, whichever becomes the active one meanwhile."""

    order: Order
    design: StudyDesign
    keys: list[Key]
    accelerator: str
    store: ArtifactStore
    stop: threading.Event = field(default_factory=threading.Event)

    def drive(self) -> ArtifactStore:
        """Base, then every dose followed by its cells, then the report; returns the store on the base of all that."""
        dagster_home()
        settle_instance()
        jobs = self.order.jobs
        with self._open_slots(), StudyBars(len(self.keys)) as self.bars, ThreadPoolExecutor(jobs) as pool:
            first = single_run(self.design, self.keys, "base")
            if first and not self._launch(first):
                return self.store
            active = self.store.active_base()
            self.store = self.store.on(active.base_id, active.origin) if active else self.store
            try:
                self._doses(pool)
            except KeyboardInterrupt:
                self.stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
            last = single_run(self.design, self.keys, "report")
            if last:
                self._launch(last)
        return self.store

    def _doses(self, pool: ThreadPoolExecutor) -> None:
        waiting: dict[Future[bool], int | None] = {}
        for dose in self.design.doses:
            run = dose_run(self.design, self.keys, dose)
            if run:
                waiting[pool.submit(self._launch, run)] = dose
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
        runs = [cell_runs(self.design, self.keys, dose, view) for view in self.design.views]
        return {pool.submit(self._sequence, cell): None for cell in runs if cell}

    def _sequence(self, runs: list[Run]) -> bool:
        outcomes = [self._launch(run) for run in runs]  # the comparison runs whatever came of the arms
        return all(outcomes)

    def _launch(self, run: Run) -> bool:
        if self.stop.is_set():
            return False
        self.bars.say(f"▸ {run.label}")
        order, pinned = self.order, self.store.pinned
        base = pinned.base_id if pinned else None
        result = run_worker(order.session, run.assets, run.partition, self.bars.engine, self.stop, order.gpu, base)
        self.bars.advance(len(run.keys))
        if result.ok:
            self.bars.say(f"✓ {run.label}")
        else:
            self.bars.say(f"✗ {run.label}: {result.reason}\n  log: {result.log}")
        return result.ok

    @contextmanager
    def _open_slots(self) -> Iterator[None]:
        """On a CPU let as many engines work as there are jobs; on a GPU the instance's own limit stands."""
        import dagster as dg

        if self.accelerator != "cpu":
            yield
            return
        storage = dg.DagsterInstance.get().event_log_storage
        storage.set_concurrency_slots("gpu", self.order.jobs)
        try:
            yield
        finally:
            storage.delete_concurrency_limit("gpu")


def _conclude(store: ArtifactStore, design: StudyDesign, filters: Filters, left_out: Collection[Key]) -> None:
    """Say how it stands, and leave with 1 if a requested stage has neither succeeded nor been skipped."""
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
