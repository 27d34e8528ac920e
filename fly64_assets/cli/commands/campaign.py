"""``fly64 campaign``: one study on many generated bases, and the table of all scores."""

from __future__ import annotations

import csv
import functools
import io
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
from click.core import ParameterSource

from fly64_assets.cli.console import MARKS, fail, first_line
from fly64_assets.cli.driver.drive import RunOptions, build_stages
from fly64_assets.cli.driver.schedule import Filters, to_build
from fly64_assets.cli.options import driven
from fly64_assets.evaluation.atlas.cells import UNIFORM
from fly64_assets.physics.scan import JUDGED_SPLIT
from fly64_assets.store.artifacts import CHOSEN, ArtifactStore, State
from fly64_assets.store.atomic import write_atomically
from fly64_assets.study.campaign import (
    COLUMNS,
    Campaign,
    CampaignBase,
    as_texts,
    campaign_rows,
    find_base,
    generated_parameters,
    load_campaign,
)
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.states import study_states
from fly64_assets.study.table import STAGES, Key

ACTIONS: Final = ("run", "status", "table")
METHODS: Final = tuple(
    dict.fromkeys(stage.method for stage in STAGES.values() if stage.method and not stage.on_request)
)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("action", type=click.Choice(ACTIONS), default="run")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="CSV", help="Of `table`: a file.")
@click.option("--method", "methods", multiple=True, type=click.Choice(METHODS), help="Repeatable. Default: all.")
@click.option("--object", "object_kinds", multiple=True, metavar="KIND", help="Repeatable. Default: all of the file.")
@functools.partial(driven, takes_base=False)
def campaign(
    options: RunOptions,
    file: Path,
    action: str,
    out: Path | None,
    methods: tuple[str, ...],
    object_kinds: tuple[str, ...],
) -> None:
    """Run one study on many generated bases, resumably.

    FILE names the study's design, the kinds of objects and probes, and the seeds; every combination is a base of its
    own in the study's folder. `run` builds what is missing, base after base, as `fly64 run` would on each; `status`
    counts what is done; `table` writes the scores of the judged half as CSV, a row for each base, dose, view, method.

    \b
    Example:
      fly64 campaign atlas.yaml                      # run, or go on where it was
      fly64 campaign atlas.yaml status
      fly64 campaign atlas.yaml table --out atlas.csv
    """
    context = click.get_current_context()
    if context.find_root().get_parameter_source("study") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--study and a campaign exclude each other: its file names the study")
    if out is not None and action != "table":
        raise click.UsageError("--out is for `table`")
    found = load_campaign(file)
    design = found.design()
    options = replace(options, session=replace(options.session, study=found.study_source))
    store = options.session.store(design)
    unknown = [kind for kind in object_kinds if kind not in found.objects]
    if unknown:
        raise click.BadParameter(
            f"{unknown[0]!r} is not in the file ({', '.join(found.objects)})", param_hint="--object"
        )
    chosen = [base for base in found.bases() if not object_kinds or base.object in object_kinds]
    if action == "table":
        _write_table(design, store, chosen, methods, out)
    elif action == "status":
        _show(design, store, chosen, _filters(found), methods)
    else:
        _run(options, design, store, chosen, _filters(found), methods)


def _filters(found: Campaign) -> Filters:
    return Filters(splits=(JUDGED_SPLIT,) if found.judged_only else ())


def _wanted(states: Mapping[Key, State], methods: Collection[str]) -> dict[Key, State]:
    """States of those stages that belong to some methods, or to none; without ``methods``, of all."""
    return {key: state for key, state in states.items() if not methods or not key.method or key.method in methods}


def _run(
    options: RunOptions,
    design: StudyDesign,
    store: ArtifactStore,
    bases: Collection[CampaignBase],
    filters: Filters,
    methods: Collection[str],
) -> None:
    from fly64_assets.resources.gpu import GpuResource
    from fly64_assets.study.intake import intake_generated

    accelerator = "" if options.dry_run else GpuResource(**options.gpu).execution().accelerator
    failed: list[str] = []
    for number, base in enumerate(bases, 1):
        title = f"base {number} of {len(bases)}: {base.name}"
        name = find_base(store, design, base)
        if not name and options.dry_run:
            click.echo(f"{title}: would be made, and everything on it built")
            continue
        if not name:
            parameters, probe = generated_parameters(base, design), base.given_probe(design.patch_size_pixels)
            record = intake_generated(store, design, base.recipe, base.name, parameters, probe, click.echo)
            name = str(record.values["base_id"])
        own = store.on(name, CHOSEN)
        states = _wanted(study_states(own, design), methods)
        keys = to_build(design, states, filters)
        click.echo(f"{title} ({name}): {len(keys)} of {len(states)} stages to build")
        if keys and not options.dry_run:
            failed += [f"{base.name} {label}" for label in build_stages(options, design, keys, accelerator, own)[1]]
    if not options.dry_run:
        _show(design, store, bases, filters, methods)
    if failed:
        fail(f"{len(failed)} run(s) failed: {', '.join(failed[:8])}{', ...' if len(failed) > 8 else ''}")


def _states(
    design: StudyDesign, store: ArtifactStore, base: CampaignBase, filters: Filters, methods: Collection[str]
) -> dict[Key, State]:
    """States of the wanted stages of a base; empty where it was not made yet."""
    name = find_base(store, design, base)
    if not name:
        return {}
    states = study_states(store.on(name, CHOSEN), design, quick=True)
    return {key: state for key, state in _wanted(states, methods).items() if filters.match(key)}


def _show(
    design: StudyDesign,
    store: ArtifactStore,
    bases: Collection[CampaignBase],
    filters: Filters,
    methods: Collection[str],
) -> None:
    """One line for each base, and their sum; leaves with 1 if a stage failed."""
    total: Counter[str] = Counter()
    lines: list[str] = []
    missing = 0
    for base in bases:
        states = _states(design, store, base, filters, methods)
        if not states:
            missing += 1
            click.echo(f"{MARKS['missing']} {base.name:40} not made yet")
            continue
        counts = Counter(state.name for state in states.values())
        total += counts
        mark = "failed" if counts["failed"] else "fresh" if set(counts) <= {"fresh", "skipped"} else "missing"
        click.echo(f"{MARKS[mark]} {base.name:40} {_counted(counts)}")
        lines += [
            f"  {base.name} {key.label}: {first_line(state.reason)}"
            for key, state in states.items()
            if state.name == "failed"
        ]
    click.echo(f"{len(bases)} bases, {missing} of them not made yet; stages: {_counted(total) or 'none'}")
    if lines:
        fail(f"{len(lines)} stage(s) failed:\n" + "\n".join(lines))


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items())


def _write_table(
    design: StudyDesign,
    store: ArtifactStore,
    bases: Collection[CampaignBase],
    methods: Collection[str],
    out: Path | None,
) -> None:
    # The uniform object is what methods are measured against, and stays.
    rows = [row for row in campaign_rows(bases, design, store) if not methods or row["method"] in (*methods, UNIFORM)]
    if not rows:
        fail("no cell of the campaign was compared yet: `fly64 campaign FILE run` first")
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(as_texts(row) for row in rows)
    if out is None:
        click.echo(text.getvalue(), nl=False)
        return
    content = text.getvalue().encode()
    write_atomically(out, lambda target: target.write(content))
    click.echo(f"{out}: {len(rows)} rows of {len({row['base'] for row in rows})} bases")
