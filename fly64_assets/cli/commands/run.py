"""``fly64 run``: whatever a request needs, from the base to the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from fly64_assets.cli.driver.drive import carry_out, states_for
from fly64_assets.cli.driver.schedule import STAGE_NAMES, to_build
from fly64_assets.cli.options import (
    Order,
    backend_option,
    chosen,
    dose_option,
    driven,
    from_pinn_option,
    gridsize_option,
    split_option,
    view_option,
)


@click.command()
@dose_option
@view_option
@gridsize_option
@split_option
@click.option("--stage", "stage_names", multiple=True, type=click.Choice(STAGE_NAMES), help="Default: all.")
@backend_option
@from_pinn_option
@driven
def run(order: Order, stage_names: Sequence[str], **asked: Any) -> None:
    """Build what is missing or out of date, through Dagster; finished cells are left alone.

    \b
    Example:
      fly64 run
      fly64 run --dose 1e3 --view dense --view sparse
      fly64 run --stage reconstruction --split test --dry-run
      fly64 run --backend pytorch --backend tensorflow
    """
    design = order.session.design()
    filters = chosen(design, stage_names, **asked)
    states = states_for(order, design, filters)
    carry_out(order, design, states, to_build(design, states, filters), filters)
