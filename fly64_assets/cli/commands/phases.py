"""The phases of a study by name: ``generate``, ``overlap``, ``train``, ``reconstruct``, ``compare``.

Belongs here: one thin command for each phase. Does not belong here: what a phase builds (``schedule``), how it is
driven (``drive``). A phase builds nothing of another: where an input is missing it says which phase makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NoReturn

import click

from fly64_assets.cli.console import fail
from fly64_assets.cli.driver.drive import States, carry_out, print_plan, states_for
from fly64_assets.cli.driver.schedule import (
    COMPARE,
    GENERATE,
    OVERLAP,
    RECONSTRUCT,
    TRAIN,
    Phase,
    PhasePlan,
    phase_plan,
    phases_before,
)
from fly64_assets.cli.options import (
    Order,
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
from fly64_assets.study.design import StudyDesign

NAMED: Final = 12
"""Stages that a message names before it counts the others."""

allow_missing_option = click.option(
    "--allow-missing",
    is_flag=True,
    help="Leave out, and name, what lacks inputs of an earlier phase; still exit with 0.",
)


@click.command()
@dose_option
@refused("--view", "all views of a dose are cut from the same frames")
@refused("--gridsize", "frames are simulated before they are grouped")
@refused("--split", "both halves of the scan come from one simulation")
@refused("--backend", "no network takes part")
@allow_missing_option
@driven
def generate(order: Order, allow_missing: bool, **asked: Any) -> None:
    """Make or import the base, and simulate the frames of every dose.

    \b
    Example:
      fly64 generate --base-npz my_base.npz
      fly64 generate --dose 1e3 --dry-run
    """
    _phase(order, GENERATE, allow_missing, asked)


@click.command("overlap")
@dose_option
@view_option
@gridsize_option
@refused("--split", "a view is cut from both halves of the scan")
@refused("--backend", "no network takes part")
@allow_missing_option
@driven
def cut_views(order: Order, allow_missing: bool, **asked: Any) -> None:
    """Cut the overlap views of every cell and measure their overlap; with a FILE, measure that file's positions.

    What `fly64 overlap FILE` takes is shown by `fly64 overlap FILE --help`.

    \b
    Example:
      fly64 overlap --dose 1e3 --view dense
      fly64 overlap patched_train.npz --gridsize 2 --s-img 0.8 --n-groups 512 --json
    """
    _phase(order, OVERLAP, allow_missing, asked)


@click.command()
@dose_option
@view_option
@gridsize_option
@backend_option
@refused("--split", "a network learns on the train half of its cell, and on nothing else")
@allow_missing_option
@driven
def train(order: Order, allow_missing: bool, **asked: Any) -> None:
    """Train the network of every cell.

    \b
    Example:
      fly64 train --gridsize 2 --accelerator cpu --deterministic --num-workers 0 --logger csv
      fly64 train --dose 1e4 --view dense --backend tensorflow
    """
    _phase(order, TRAIN, allow_missing, asked)


@click.command()
@dose_option
@view_option
@gridsize_option
@split_option
@backend_option
@from_pinn_option
@allow_missing_option
@driven
def reconstruct(order: Order, allow_missing: bool, **asked: Any) -> None:
    """Reconstruct the object of every cell with its networks and with LSQML.

    \b
    Example:
      fly64 reconstruct --dose 1e4 --view sparse --split test
      fly64 reconstruct --allow-missing
    """
    _phase(order, RECONSTRUCT, allow_missing, asked)


@click.command()
@dose_option
@view_option
@gridsize_option
@refused("--split", "both halves of a cell are compared in one frame")
@refused("--backend", "every arm that has run is compared")
@allow_missing_option
@driven
def compare(order: Order, allow_missing: bool, **asked: Any) -> None:
    """Compare the arms of every cell with the truth, and write the report.

    With --allow-missing a cell that lacks an arm is compared without it; the report names what is missing.

    \b
    Example:
      fly64 compare
      fly64 compare --view dense --allow-missing
    """
    _phase(order, COMPARE, allow_missing, asked)


def _phase(order: Order, phase: Phase, allow_missing: bool, asked: Mapping[str, Any]) -> None:
    design = order.session.design()
    filters = chosen(design, phase.stages, **asked)
    states = states_for(order, design, filters)
    plan = phase_plan(design, states, filters)
    _name_missing(states, plan)
    if plan.missing and not allow_missing:
        if order.dry_run:
            print_plan(states, plan.keys, filters, plan.left_out)
        _refuse(design, states, plan)
    carry_out(order, design, states, plan.keys, filters, plan.left_out)


def _name_missing(states: States, plan: PhasePlan) -> None:
    for key, lacking in list(plan.missing.items())[:NAMED]:
        inputs = ", ".join(f"{other.label} ({states[other].name})" for other in lacking)
        click.echo(f"{key.label} lacks {inputs}", err=True)
    if len(plan.missing) > NAMED:
        click.echo(f"... and {len(plan.missing) - NAMED} more", err=True)


def _refuse(design: StudyDesign, states: States, plan: PhasePlan) -> NoReturn:
    before = phases_before(design, states, [key for lacking in plan.missing.values() for key in lacking])
    first = ", then ".join(f"`fly64 {name}`" for name in before)
    fail(
        f"{len(plan.missing)} stage(s) lack their inputs and nothing was started: run {first} first, or `fly64 run` "
        "for everything; --allow-missing goes on without them"
    )
