"""``fly64 run``: drive the asset graph until every requested cell has succeeded, failed or been skipped."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

import click

from fly64_assets import stages
from fly64_assets.cli.console import Session, clean_errors, fail, pass_session
from fly64_assets.cli.instance import dagster_home, run_worker
from fly64_assets.cli.progress import StudyBars
from fly64_assets.cli.schedule import STAGE_NAMES, Filters, Run, cell_runs, dose_run, single_run, to_build
from fly64_assets.design import SPLITS, StudyDesign
from fly64_assets.store.artifacts import State
from fly64_assets.store.layout import StageKey

MOST_JOBS = 4
ARM_OF_BACKEND = {"pytorch": "pinn", "tensorflow": stages.LEGACY_ARM}


@click.command()
@click.option("--dose", "doses", multiple=True, type=float, help="Photons per frame; may be repeated. Default: all.")
@click.option("--view", "views", multiple=True, help="baseline, dense, sparse, ...; may be repeated. Default: all.")
@click.option("--split", "splits", multiple=True, type=click.Choice(SPLITS), help="Of the iterative arm.")
@click.option("--stage", "stage_names", multiple=True, type=click.Choice(STAGE_NAMES), help="Default: all.")
@click.option(
    "--backend",
    "backends",
    multiple=True,
    type=click.Choice(tuple(ARM_OF_BACKEND)),
    help="Of the networks; may be repeated. Default: pytorch, and what has run before.",
)
@click.option(
    "--from-pinn",
    is_flag=True,
    help="Also LSQML started from the network's object: the arm lsqml_from_pinn. Default: where it has run before.",
)
@click.option("--dry-run", is_flag=True, help="Print what would run, and write nothing.")
@click.option("--jobs", type=click.IntRange(1), help="Cells at a time. Default: the machine's cores, at most 4.")
@pass_session
@clean_errors
def run(
    session: Session,
    doses: Sequence[float],
    views: Sequence[str],
    splits: Sequence[str],
    stage_names: Sequence[str],
    backends: Sequence[str],
    from_pinn: bool,
    dry_run: bool,
    jobs: int | None,
) -> None:
    """Build what is missing or out of date, through Dagster; finished cells are left alone.

    \b
    Example:
      fly64 run
      fly64 run --dose 1e3 --view dense --view sparse
      fly64 run --stage reconstruction --split test --dry-run
      fly64 run --backend pytorch --backend tensorflow
    """
    design = session.design()
    filters = _filters(design, doses, views, splits, stage_names, backends, from_pinn)
    states = stages.study_states(session.store(design), design, arms=filters.arms)
    keys = to_build(design, states, filters)
    if dry_run:
        _print_plan(states, keys, filters)
        return
    if keys:
        driver = _Driver(session, design, keys)
        try:
            driver.drive(jobs or min(os.cpu_count() or 1, MOST_JOBS))
        except KeyboardInterrupt:
            click.echo("interrupted: nothing is half-written; `fly64 run` goes on from here", err=True)
            sys.exit(130)
    _conclude(session, design, filters)


def _filters(
    design: StudyDesign,
    doses: Sequence[float],
    views: Sequence[str],
    splits: Sequence[str],
    stage_names: Sequence[str],
    backends: Sequence[str],
    from_pinn: bool,
) -> Filters:
    networks = tuple(ARM_OF_BACKEND[backend] for backend in backends)
    return Filters(*chosen_cells(design, doses, views), tuple(splits), tuple(stage_names), networks, from_pinn)


def chosen_cells(
    design: StudyDesign, doses: Sequence[float], views: Sequence[str]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Doses and views of the study, as given on the command line; an unknown one is wrong use."""
    whole = tuple(dose for given in doses for dose in design.doses if dose == given)
    for given in doses:
        if given not in design.doses:
            raise click.BadParameter(
                f"{given:g} is not a dose of study {design.name} ({design.doses})", param_hint="--dose"
            )
    for view in views:
        if view not in design.views:
            known = ", ".join(design.views)
            raise click.BadParameter(f"{view!r} is not a view of study {design.name} ({known})", param_hint="--view")
    return whole, tuple(views)


def _print_plan(states: dict[StageKey, State], keys: list[StageKey], filters: Filters) -> None:
    for key, state in states.items():
        if key in keys or filters.match(key):
            action = "run" if key in keys else "leave"
            click.echo(
                f"{action:6} {state.name:8} {key.label:48} {state.reason.splitlines()[0] if state.reason else ''}"
            )
    click.echo(f"{len(keys)} of {len(states)} stages would run; nothing was written")


@dataclass
class _Driver:
    """Runs in the right order, some at a time."""

    session: Session
    design: StudyDesign
    keys: list[StageKey]
    failed: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def drive(self, jobs: int) -> None:
        """Base, then every dose followed by its cells, then the report."""
        dagster_home()
        with _open_slots(jobs), StudyBars(len(self.keys)) as self.bars, ThreadPoolExecutor(jobs) as pool:
            first = single_run(self.keys, "base")
            if first and not self._launch(first):
                return
            try:
                self._doses(pool)
            except KeyboardInterrupt:
                self.stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
            last = single_run(self.keys, "report")
            if last:
                self._launch(last)

    def _doses(self, pool: ThreadPoolExecutor) -> None:
        waiting: dict[Future[bool], int | None] = {}
        for dose in self.design.doses:
            run = dose_run(self.keys, dose)
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
        runs = [cell_runs(self.keys, dose, view) for view in self.design.views]
        return {pool.submit(self._sequence, cell): None for cell in runs if cell}

    def _sequence(self, runs: list[Run]) -> bool:
        outcomes = [self._launch(run) for run in runs]  # the comparison runs whatever came of the arms
        return all(outcomes)

    def _launch(self, run: Run) -> bool:
        if self.stop.is_set():
            return False
        self.bars.say(f"▸ {run.label}")
        result = run_worker(self.session, run.assets, run.partition, self.bars.engine, self.stop)
        self.bars.advance(len(run.keys))
        if result.ok:
            self.bars.say(f"✓ {run.label}")
        else:
            self.bars.say(f"✗ {run.label}: {result.reason}\n  log: {result.log}")
        return result.ok


@contextmanager
def _open_slots(jobs: int) -> Iterator[None]:
    """On a CPU let as many engines work as there are jobs; on a GPU the instance's own limit stands."""
    import dagster as dg

    from fly64_assets.resources.gpu import cuda_devices

    if cuda_devices() > 0:
        yield
        return
    storage = dg.DagsterInstance.get().event_log_storage
    storage.set_concurrency_slots("gpu", jobs)
    try:
        yield
    finally:
        storage.delete_concurrency_limit("gpu")


def _conclude(session: Session, design: StudyDesign, filters: Filters) -> None:
    """Say how it stands, and leave with 1 if a requested stage has neither succeeded nor been skipped."""
    store = session.store(design)
    states = stages.study_states(store, design, arms=filters.arms)
    asked = {key: state for key, state in states.items() if filters.match(key)}
    bad = {key: state for key, state in asked.items() if not state.done}
    skipped = sum(state.name == "skipped" for state in asked.values())
    click.echo(f"{len(asked) - len(bad)} of {len(asked)} stages are done ({skipped} of them skipped)")
    page = stages.active_layout(store).report_folder / "index.html" if store.active_base() else None
    if page and page.exists():
        click.echo(f"report: {page}")
    if bad:
        lines = "\n".join(f"  {state.name:8} {key.label}: {state.reason}" for key, state in bad.items())
        fail(f"{len(bad)} stage(s) are not done:\n{lines}")
