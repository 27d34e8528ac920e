"""Commands for a whole study: ``plan``, ``status``, ``report``, ``verify``, ``audit``, ``clean``."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from fly64_assets.cli.console import MARKS, FolderPath, Session, fail, first_line, json_option, pass_session, print_json
from fly64_assets.cli.driver.drive import label_width
from fly64_assets.cli.driver.progress import counting_bar
from fly64_assets.cli.driver.runs import run_assets, run_audit
from fly64_assets.cli.options import chosen_cells
from fly64_assets.physics.scan import SPLITS
from fly64_assets.store.artifacts import ArtifactStore, State
from fly64_assets.store.garbage import KINDS, find_garbage, remove_garbage
from fly64_assets.store.integrity import verify_folder
from fly64_assets.study.states import active_layout, study_states
from fly64_assets.study.table import Key

SUMMARY: Final = "metrics_summary.json"
_NAME: Final = re.compile(r"[a-z0-9_]{1,100}")
_NEEDED: Final = ("study", "cells", "design", "provenance")


@click.command()
@json_option
@pass_session
def plan(session: Session, as_json: bool) -> None:
    """List every job and what `fly64 run` would do.

    Reads only.

    \b
    Example:
      fly64 plan --json
    """
    design = session.design()
    states = study_states(session.store(design), design)
    jobs = [_row(key, state, gridsize=key.gridsize or None, arm=key.method or None) for key, state in states.items()]
    if as_json:
        print_json({"jobs": jobs})
        return
    width = label_width(states)
    for key, state in states.items():
        action = "leave" if state.done else "run"
        click.echo(f"{action:6} {MARKS[state.name]} {state.name:8} {key.label:{width}} {first_line(state.reason)}")
    waiting = sum(not state.done for state in states.values())
    click.echo(f"{len(jobs)} jobs: {waiting} to run, {len(jobs) - waiting} done")


@click.command()
@json_option
@click.option("--quick", is_flag=True, help="Hash only files that were written to after their sidecars.")
@pass_session
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
    click.echo(f"study {design.name}, base {active.base_id if active else 'none yet'}, data in {store.place}")
    width = label_width(states)
    for key, state in states.items():
        click.echo(f"{MARKS[state.name]} {state.name:8} {key.label:{width}} {first_line(state.reason)}")
    counts = Counter(state.name for state in states.values())
    click.echo(", ".join(f"{counts[name]} {name}" for name in MARKS if counts[name]))


@click.command()
@click.option(
    "--against",
    metavar="OTHER",
    help="Print what changed against another study: its name, its folder or its metrics_summary.json.",
)
@pass_session
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
@click.argument("folder", required=False, type=FolderPath())
@json_option
@pass_session
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
    with counting_bar("verifying", shown=not as_json) as advance:
        found = verify_folder(folder, lambda done, total, _: advance(done, total))
    if as_json:
        print_json(found.to_dict())
    else:
        for entry in found.bad:
            click.echo(f"{MARKS['bad']} {entry.path}: {entry.why}")
        click.echo(f"{found.checked} files checked, {len(found.bad)} bad")
    sys.exit(0 if found.ok else 1)


@click.command()
@click.option("--dose", type=float, metavar="PHOTONS", help="Photons per frame: only this dose and its cells.")
@click.option("--view", metavar="VIEW", help="Only the cell of this dose and view.")
@json_option
@pass_session
def audit(session: Session, dose: float | None, view: str | None, as_json: bool) -> None:
    """Run every check over all data on disk.

    The checks re-read the files (SHA256, DATA-001, physics, oversampling, networks); the Dagster UI shows the findings
    as well.

    \b
    Example:
      fly64 audit
      fly64 audit --dose 1e3 --view dense --json
    """
    design = session.design()
    if view is not None and dose is None:
        raise click.BadParameter("a view is part of a cell: give its --dose as well", param_hint="--view")
    doses, views = chosen_cells(design, [] if dose is None else [dose], [] if view is None else [view])
    checks = run_audit(session, "|".join(str(part) for part in (*doses, *views)))
    failed = [check for check in checks if not check["passed"]]
    if as_json:
        print_json({"ok": not failed, "checks": checks})
    else:
        for check in checks:
            mark = MARKS["good" if check["passed"] else "bad"]
            text = "" if check["passed"] and check["finding"] == "all is well" else f"  {check['finding']}"
            click.echo(f"{mark} {check['check']:18} {check['asset']:28} {check['partition']:16}{text}")
        click.echo(f"{len(checks)} checks, {len(failed)} failed")
    sys.exit(1 if failed else 0)


@click.command()
@click.option("--remove", "kinds", multiple=True, type=click.Choice(KINDS), help="Remove this kind; may be repeated.")
@json_option
@pass_session
def clean(session: Session, kinds: Sequence[str], as_json: bool) -> None:
    """List files that are of no use, and remove them on request.

    Only the study's folder is looked at.

    \b
    temporary   unfinished files and scratch folders of processes that have ended
    superseded  bases that the design made and has replaced, with all their results
    orphan      files that no record lists and no live artifact names
    \b
    Nothing that a live artifact's sidecar names is ever removed, nor anything where a build is at work.
    \b
    Example:
      fly64 clean
      fly64 clean --remove temporary --remove orphan
    """
    store = session.store(session.design())
    removed = remove_garbage(store, kinds) if kinds else []
    left = find_garbage(store)
    items = [(item, True) for item in removed] + [(item, False) for item in left]
    if as_json:
        facts = [{name: getattr(item, name) for name in ("kind", "bytes", "why")} for item, _ in items]
        paths = [Path(os.path.relpath(item.path, store.folder)).as_posix() for item, _ in items]
        rows = zip(paths, facts, items, strict=True)
        print_json({"garbage": [{"path": path} | fact | {"removed": gone} for path, fact, (_, gone) in rows]})
        return
    for item, gone in items:
        title = "removed" if gone else "of no use"
        click.echo(
            f"{title:10} {item.kind:10} {item.bytes:>14,} {os.path.relpath(item.path, store.folder)}: {item.why}"
        )
    if removed:
        click.echo(f"removed {len(removed)} of {sum(item.bytes for item in removed):,} bytes")
    click.echo(
        f"{len(left)} of no use, {sum(item.bytes for item in left):,} bytes, in {store.place}"
        + ("; remove with --remove KIND" if left and not kinds else "")
    )


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


def _row(key: Key, state: State, **further: Any) -> dict[str, Any]:
    place = {name: getattr(key, name) for name in ("repeat", "stage", "dose", "view", "split")}
    return place | further | {"state": state.name, "reason": state.reason}


def _cells(store: ArtifactStore, key: Key, state: State) -> list[dict[str, Any]]:
    """One row per main file of a stage; a stage without files is one row without a path."""
    row = _row(key, state) | {"path": None, "sha256": None}
    active = store.active_base()
    if state.record is None or active is None:
        return [row]
    layout = store.layout(active.base_id)
    rows = []
    for split in SPLITS if "{split}" in key.kind.files[0] else (None,):
        path = layout.result(key, split) if split else layout.result(key)
        sha256 = state.record.outputs.get(path.relative_to(layout.folder).as_posix())
        if sha256 is not None:
            place = path.relative_to(store.data_root).as_posix()
            rows.append(row | {"split": split or key.split, "path": place, "sha256": sha256})
    return rows or [row]
