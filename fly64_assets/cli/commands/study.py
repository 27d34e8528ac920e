"""Commands that look at a whole study: ``plan``, ``status``, ``report``, ``verify``."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from fly64_assets.cli.console import (
    MARKS,
    Session,
    clean_errors,
    fail,
    first_line,
    json_option,
    pass_session,
    print_json,
)
from fly64_assets.cli.driver.runs import run_assets
from fly64_assets.physics.scan import SPLITS
from fly64_assets.store.artifacts import ArtifactStore, State
from fly64_assets.store.integrity import verify_folder
from fly64_assets.store.layout import Layout
from fly64_assets.study.states import active_layout, study_states
from fly64_assets.study.table import Key

SUMMARY: Final = "metrics_summary.json"
_NAME: Final = re.compile(r"[a-z0-9_]{1,100}")
_NEEDED: Final = ("study", "cells", "design", "provenance")


@click.command()
@json_option
@pass_session
@clean_errors
def plan(session: Session, as_json: bool) -> None:
    """List every job and what `fly64 run` would do.

    Reads only.

    \b
    Example:
      fly64 plan --json
    """
    design = session.design()
    states = study_states(session.store(design), design)
    jobs = [_job(key, state) for key, state in states.items()]
    if as_json:
        print_json({"jobs": jobs})
        return
    for key, state in states.items():
        action = "leave" if state.done else "run"
        click.echo(f"{action:6} {MARKS[state.name]} {state.name:8} {key.label:48} {first_line(state.reason)}")
    waiting = sum(not state.done for state in states.values())
    click.echo(f"{len(jobs)} jobs: {waiting} to run, {len(jobs) - waiting} done")


@click.command()
@json_option
@click.option("--quick", is_flag=True, help="Hash only files that were written to after their sidecars.")
@pass_session
@clean_errors
def status(session: Session, as_json: bool, quick: bool) -> None:
    """Show the state of every cell, with the reason.

    A state is fresh, stale (what changed), missing, failed (why) or skipped (why).

    \b
    Example:
      fly64 --study fly64 status
    """
    design = session.design()
    store = session.store(design)
    states = study_states(store, design, quick=quick)
    cells = [cell for key, state in states.items() for cell in _cells(store, key, state)]
    if as_json:
        print_json({"cells": cells})
        return
    active = store.active_base()
    click.echo(f"study {design.name}, base {active.base_id if active else 'none yet'}, data in {store.folder}")
    for key, state in states.items():
        click.echo(f"{MARKS[state.name]} {state.name:8} {key.label:48} {first_line(state.reason)}")
    counts = Counter(state.name for state in states.values())
    click.echo(", ".join(f"{counts[name]} {name}" for name in MARKS if counts[name]))


@click.command()
@click.option(
    "--against",
    metavar="OTHER",
    help="Print what changed against another study: its name, its folder or its metrics_summary.json.",
)
@pass_session
@clean_errors
def report(session: Session, against: str | None) -> None:
    """Rebuild the report, and print where it is.

    \b
    Example:
      fly64 report
      fly64 report --against /backup/data/demo/demo_97032cb4
    """
    design = session.design()
    store = session.store(design)
    folder = active_layout(store).report_folder
    # Read before anything is built: the other summary may be this one's predecessor.
    other = None if against is None else other_summary(store, against)
    result = run_assets(session, ["study_report"])
    if not result.ok:
        fail(f"the report could not be built: {result.reason} (log: {result.log})")
    click.echo(str(folder / "index.html"))
    if other is not None:
        from fly64_assets.evaluation.report.against import compare_studies, render_against

        click.echo(f"\n{render_against(compare_studies(read_summary(folder / SUMMARY), other))}", nl=False)


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@json_option
@pass_session
@clean_errors
def verify(session: Session, folder: Path | None, as_json: bool) -> None:
    """Hash every file and compare with its sidecar.

    FOLDER is by default that of the study's active base; a copy of it anywhere is good as well.

    \b
    Example:
      fly64 verify
      fly64 verify /media/copy/of/the/folder --json
    """
    if folder is None:
        folder = active_layout(session.store(session.design())).folder
    from fly64_assets.cli.driver.progress import counting_bar

    with counting_bar("verifying", shown=not as_json) as advance:
        found = verify_folder(folder, lambda done, total, _: advance(done, total))
    if as_json:
        print_json(found.to_dict())
    else:
        for entry in found.bad:
            click.echo(f"{MARKS['bad']} {entry.path}: {entry.why}")
        click.echo(f"{found.checked} files checked, {len(found.bad)} bad")
    sys.exit(0 if found.ok else 1)


def other_summary(store: ArtifactStore, other: str) -> dict[str, Any]:
    """Summary of the study meant by a name in the same data root, a folder or a file; one sentence if there is none."""
    path = Path(other)
    places = [path, path / SUMMARY, path / "report" / SUMMARY]
    if _NAME.fullmatch(other):
        neighbour = ArtifactStore(store.data_root, other)
        if neighbour.active_base() is not None:
            places.append(active_layout(neighbour).report_folder / SUMMARY)
    existing = next((place for place in places if place.is_file()), None)
    if existing is None:
        looked = ", ".join(str(place) for place in places)
        fail(f"no report to compare with at {looked}; run `fly64 report` there first")
    return read_summary(existing)


def read_summary(path: Path) -> dict[str, Any]:
    """A study's ``metrics_summary.json``; one sentence if it is none. The file may come from anywhere."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        fail(f"{path} cannot be read as the summary of a study: {error}")
    if not isinstance(document, dict) or any(name not in document for name in _NEEDED):
        fail(f"{path} is no summary of a study: expected the members {', '.join(_NEEDED)}; run `fly64 report` there")
    return document


def _job(key: Key, state: State) -> dict[str, Any]:
    return {
        "repeat": key.repeat,
        "stage": key.stage,
        "dose": key.dose,
        "view": key.view,
        "split": key.split,
        "gridsize": key.gridsize or None,
        "arm": key.method or None,
        "state": state.name,
        "reason": state.reason,
    }


def _cells(store: ArtifactStore, key: Key, state: State) -> Iterator[dict[str, Any]]:
    """One row per main file of a stage; a stage without files is one row without a path."""
    row: dict[str, Any] = {
        "repeat": key.repeat,
        "stage": key.stage,
        "dose": key.dose,
        "view": key.view,
        "split": key.split,
    }
    row |= {"state": state.name, "reason": state.reason, "path": None, "sha256": None}
    active = store.active_base()
    if state.record is None or active is None:
        yield row
        return
    layout = store.layout(active.base_id)
    found = False
    for split, path in _main_files(layout, key):
        name = path.relative_to(layout.folder).as_posix()
        if name in state.record.outputs:
            found = True
            place = path.relative_to(store.data_root).as_posix()
            yield row | {"split": split, "path": place, "sha256": state.record.outputs[name]}
    if not found:
        yield row


def _main_files(layout: Layout, key: Key) -> list[tuple[str | None, Path]]:
    """The files for which a stage exists, each with its split."""
    (name,) = key.kind.files
    if "{split}" in name:
        return [(split, layout.result(key, split)) for split in SPLITS]
    return [(key.split, layout.result(key))]
