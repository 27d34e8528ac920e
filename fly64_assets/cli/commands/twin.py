"""``fly64 twin``: a study of measured frames repeated in simulation, and both in one report."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace
from typing import Any

import click

from fly64_assets.cli.driver.drive import RunOptions, carry_out, import_base
from fly64_assets.cli.driver.schedule import to_build
from fly64_assets.cli.options import chosen, dose_option, driven, view_option
from fly64_assets.study.states import study_states
from fly64_assets.study.table import ON_REQUEST


@click.command()
@dose_option
@view_option
@functools.partial(driven, takes_base=False)
def twin(options: RunOptions, **asked: Any) -> None:
    """Repeat a study of measured frames in simulation, and compare.

    The report says whether the simulation would have predicted the results.

    The twin has the reference object, probe, positions, mask and dose of the calibration as its truth; doses, views,
    seeds and methods are those of the study. It is a study of its own, NAME_twin, which this command runs as
    `fly64 run` does: after Ctrl-C the same command goes on from there.

    \b
    Example:
      fly64 --study measured twin
      fly64 --study measured twin --dose 1e4 --view baseline
      fly64 --study measured twin --dry-run
    """
    from fly64_assets.study import twin as twins

    session, design = options.session, options.session.design()
    filters = chosen(design, (), **asked)
    store = session.store(design)
    layout = twins.measured_layout(store, design)
    states = study_states(store, design)
    comparisons = {key: state for key, state in states.items() if key.stage == "comparison" and filters.match(key)}
    twins.require_compared(design, comparisons)
    filters = replace(filters, methods=tuple({key.method for key in states if key.method in ON_REQUEST}))
    if options.dry_run:
        frames, path, *_ = layout.twin
        click.echo(f"{frames} and {path} would be written, and the frames be the base of study {design.name}_twin")
        made = twins.Twin(twins.twin_design(design, frames), path, frames)
    else:
        made = twins.make_twin(layout, design)
    of_twin = replace(options, session=replace(session, study=str(made.path)))
    twin_store = session.store(made.design)
    if not options.dry_run:
        import_base(of_twin.session, made.design, made.frames, None, gpu=options.gpu)
    states = study_states(twin_store, made.design, methods=filters.methods)
    keys = to_build(made.design, states, filters)
    status = 0
    try:
        carry_out(of_twin, made.design, states, keys, filters)
    except SystemExit as ended:
        # A method that failed is named in the report as well; an interrupt ends everything.
        if ended.code != 1:
            raise
        status = 1
    if not options.dry_run:
        page = twins.write_twin_report(store, design, twin_store, made, list(comparisons))
        click.echo(f"report on both studies: {page}")
    sys.exit(status)
