"""``fly64 run``, and its phases by name: ``generate``, ``train``, ``reconstruct``, ``compare``.

(``overlap``, the phase with a second use, has a module of its own.) Phases do not build upstream stages: where an input
is missing they say which phase makes it; ``run`` builds it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from fly64_assets.cli.console import fail
from fly64_assets.cli.driver.drive import RunOptions, carry_out, print_plan, states_for
from fly64_assets.cli.driver.schedule import PHASES, STAGE_NAMES, phase_plan, phases_before, to_build
from fly64_assets.cli.options import (
    allow_missing_option,
    backend_option,
    chosen,
    dose_option,
    driven,
    from_pinn_option,
    gridsize_option,
    refused,
    split_option,
    view_option,
)

NAMED: Final = 12
"""Stages that a message names before it counts the others."""


@click.command()
@dose_option
@view_option
@gridsize_option
@split_option
@click.option("--stage", "stage_names", multiple=True, type=click.Choice(STAGE_NAMES), help="Repeatable. Default: all.")
@backend_option
@from_pinn_option
@driven
def run(options: RunOptions, stage_names: Sequence[str], **asked: Any) -> None:
    """Build what is missing or out of date, through Dagster.

    Finished cells are left alone; after Ctrl-C the same command goes on from there.

    \b
    Example:
      fly64 run
      fly64 run --dose 1e3 --view dense --view sparse
      fly64 run --stage reconstruction --split test --dry-run
      fly64 run --backend pytorch --backend tensorflow
    """
    design = options.session.design()
    filters = chosen(design, stage_names, **asked)
    states = states_for(options, design, filters)
    carry_out(options, design, states, to_build(design, states, filters), filters)


@click.command()
@dose_option
@refused("--view", "all views of a dose are cut from the same frames")
@refused("--gridsize", "frames are simulated before they are grouped")
@refused("--split", "both halves of the scan come from one simulation")
@refused("--backend", "no network is involved")
@allow_missing_option
@driven
def generate(options: RunOptions, allow_missing: bool, **asked: Any) -> None:
    """Make or import the base, and simulate every dose.

    \b
    Example:
      fly64 generate --base-npz my_base.npz
      fly64 generate --dose 1e3 --dry-run
    """
    run_phase(options, "generate", allow_missing, asked)


@click.command()
@dose_option
@view_option
@gridsize_option
@backend_option
@refused("--split", "a network learns on the train half of its cell, and on nothing else")
@allow_missing_option
@driven
def train(options: RunOptions, allow_missing: bool, **asked: Any) -> None:
    """Train the network of every cell.

    \b
    Example:
      fly64 train --dose 1e3 --accelerator cpu --deterministic
      fly64 train --dose 1e4 --view dense --backend tensorflow
    """
    run_phase(options, "train", allow_missing, asked)


@click.command()
@dose_option
@view_option
@gridsize_option
@split_option
@backend_option
@from_pinn_option
@allow_missing_option
@driven
def reconstruct(options: RunOptions, allow_missing: bool, **asked: Any) -> None:
    """Reconstruct every cell with networks and solvers.

    \b
    Example:
      fly64 reconstruct --dose 1e4 --view sparse --split test
      fly64 reconstruct --allow-missing
    """
    run_phase(options, "reconstruct", allow_missing, asked)


@click.command()
@dose_option
@view_option
@gridsize_option
@refused("--split", "both halves of a cell are compared on one pixel grid")
@refused("--backend", "every method that has run is compared")
@allow_missing_option
@functools.partial(driven, has_engines=False)
def compare(options: RunOptions, allow_missing: bool, **asked: Any) -> None:
    """Compare all methods, and write the report.

    With --allow-missing a cell that lacks a method is compared without it; the report names what is missing.

    \b
    Example:
      fly64 compare
      fly64 compare --view dense --allow-missing
    """
    run_phase(options, "compare", allow_missing, asked)


def run_phase(options: RunOptions, phase: str, allow_missing: bool, asked: Mapping[str, Any]) -> None:
    """Build the stages of one phase from what other phases have left; name those that lack their inputs."""
    design = options.session.design()
    filters = chosen(design, PHASES[phase], **asked)
    states = states_for(options, design, filters)
    plan = phase_plan(design, states, filters)
    for key, lacking in list(plan.missing.items())[:NAMED]:
        inputs = ", ".join(f"{other.label} ({states[other].name})" for other in lacking)
        click.echo(f"{key.label} lacks {inputs}", err=True)
    if len(plan.missing) > NAMED:
        click.echo(f"... and {len(plan.missing) - NAMED} more", err=True)
    if plan.missing and not allow_missing:
        if options.dry_run:
            print_plan(states, plan.keys, filters, plan.left_out)
        before = phases_before(design, states, [key for lacking in plan.missing.values() for key in lacking])
        first = ", then ".join(f"`fly64 {name}`" for name in before)
        fail(
            f"{len(plan.missing)} stage(s) lack their inputs and nothing was started: run {first} first, or "
            "`fly64 run` for everything; --allow-missing goes on without them"
        )
    carry_out(options, design, states, plan.keys, filters, plan.left_out)
