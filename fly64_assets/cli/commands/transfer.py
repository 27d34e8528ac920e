"""``fly64 push`` and ``fly64 pull``: a study, or some of its cells, between this data root and another one."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click

from fly64_assets.cli.console import DataRoot, Session, fail, pass_session, signals_to
from fly64_assets.cli.driver.progress import counting_bar
from fly64_assets.cli.driver.schedule import STAGE_NAMES, Filters
from fly64_assets.cli.options import chosen, dose_option, split_option, view_option
from fly64_assets.errors import ArtifactError
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.keys import BASE
from fly64_assets.store.layout import Layout
from fly64_assets.store.storage import root_name
from fly64_assets.store.transfer import Copied, copy_files, copy_stage
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.manifests import write_manifests
from fly64_assets.study.stages import study_keys
from fly64_assets.study.states import active_layout
from fly64_assets.study.table import ON_REQUEST, Key

_ROOT: Final = click.argument("url", type=DataRoot(), metavar="URL")
_STAGE: Final = click.option(
    "--stage", "stage_names", multiple=True, type=click.Choice(STAGE_NAMES), help="Repeatable. Default: all."
)


def _of_results(command: Callable[..., None]) -> Callable[..., None]:
    """Where to copy to or from, and which results."""
    return _ROOT(dose_option(view_option(split_option(_STAGE(command)))))


@click.command()
@_of_results
@pass_session
def push(session: Session, url: Path, stage_names: Sequence[str], **cells: Any) -> None:
    """Copy the study's results to another data root.

    URL is s3://BUCKET/PREFIX, or a folder. Only what is missing there is copied, each file is verified, and a stage
    appears whole or not at all; after Ctrl-C the same command goes on from there.

    \b
    Example:
      fly64 push s3://beamline/fly64
      fly64 push s3://beamline/fly64 --dose 1e3 --view dense
    """
    design = session.design()
    filters = chosen(design, stage_names, **cells)
    _transfer(design, session.store(design), ArtifactStore(url.resolve(), design.name), filters)


@click.command()
@_of_results
@pass_session
def pull(session: Session, url: Path, stage_names: Sequence[str], **cells: Any) -> None:
    """Copy the study's results from another data root.

    URL is s3://BUCKET/PREFIX, or a folder. As `fly64 push`, in the other direction.

    \b
    Example:
      fly64 pull s3://beamline/fly64
      fly64 pull s3://beamline/fly64 --stage comparison --stage report
    """
    design = session.design()
    filters = chosen(design, stage_names, **cells)
    source = ArtifactStore(url.resolve(), design.name)
    if source.active_base() is None:
        fail(f"{root_name(source.data_root)} holds no study {design.name}: check this address and --study")
    _transfer(design, source, session.store(design), filters)


def _transfer(design: StudyDesign, source: ArtifactStore, target: ArtifactStore, filters: Filters) -> None:
    """Copy what is asked for, say what was done, and leave with 1 if a result could not be copied."""
    if source.data_root == target.data_root:
        raise click.UsageError(f"{root_name(source.data_root)} is both where results come from and where they go")
    layout = active_layout(source)
    keys = [key for key in study_keys(design, ON_REQUEST) if filters.match(key) and layout.record(key).exists()]
    if not keys:
        fail(f"{source.place} has none of the results asked for; `fly64 status` shows what there is")
    try:
        with signals_to(signal.default_int_handler, signal.SIGTERM):
            copied, bad = _copy_all(layout, target.layout(layout.base_id), keys, whole=filters == Filters())
            _name_base(source, target, layout.base_id)
            if any(one.files for one in copied):
                write_manifests(target.layout(layout.base_id), design)
    except KeyboardInterrupt:
        click.echo("interrupted: nothing is half-written; the same command goes on from here", err=True)
        sys.exit(130)
    size, replaced = sum(one.bytes for one in copied), sum(one.replaced for one in copied)
    there = sum(not one.files for one in copied)
    click.echo(
        f"{sum(one.stages for one in copied)} of {len(keys)} stages copied to {target.place} ({size / 1e6:,.1f} MB"
        + (f", {replaced} in place of another or damaged result" if replaced else "")
        + f"); {there} were there already"
    )
    if bad:
        fail(f"{len(bad)} result(s) could not be copied:\n" + "\n".join(f"  {why}" for why in bad))


def _copy_all(source: Layout, target: Layout, keys: Sequence[Key], *, whole: bool) -> tuple[list[Copied], list[str]]:
    """Copy stages, and with ``whole`` the files that belong to none; what each was, and why others could not be copied.

    A stage that was there already is an empty :class:`Copied`.
    """
    copied: list[Copied] = []
    bad: list[str] = []
    with counting_bar("copying", shown=True) as advance:
        for done, key in enumerate(keys, start=1):
            try:
                copied.append(copy_stage(source, target, key, click.echo))
            except ArtifactError as error:
                bad.append(f"{key.label}: {error}")
            advance(done, len(keys))
        if whole:
            try:
                twin = copy_files(source, target, source.twin)
            except ArtifactError as error:
                bad.append(str(error))
            else:
                copied += [twin] if twin.files else []
    return copied, bad


def _name_base(source: ArtifactStore, target: ArtifactStore, base_id: str) -> None:
    """Make the base the active one at the target, if none is there yet; otherwise say which one is."""
    there, here = target.active_base(), source.active_base()
    if there is None and here is not None and target.record(target.layout(base_id), BASE):
        target.set_active_base(base_id, here.origin)
    elif there is not None and there.base_id != base_id:
        how = f"`fly64 base use {base_id}` changes it"
        click.echo(f"the active base at {target.place} stays {there.base_id} ({how} there)")
