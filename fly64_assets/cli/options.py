"""Options that ``fly64 run`` and the phases share: names, types, rules, and what they mean for a study."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from fly64_assets.cli.console import DataRoot, Session, pass_session
from fly64_assets.cli.driver.drive import RunOptions
from fly64_assets.cli.driver.schedule import Filters
from fly64_assets.engines.execution import ACCELERATORS, PRECISIONS
from fly64_assets.physics.scan import SPLITS
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.table import BACKENDS

GPU_SETTINGS: Final = ("accelerator", "devices", "precision", "deterministic")

Command = Callable[..., None]


# -- filters ------------------------------------------------------------------------------------------------------

dose_option = click.option(
    "--dose", "doses", multiple=True, type=float, metavar="PHOTONS", help="Photons per frame; repeatable. Default: all."
)
view_option = click.option(
    "--view", "views", multiple=True, metavar="VIEW", help="baseline, dense, sparse, ...; repeatable. Default: all."
)
gridsize_option = click.option(
    "--gridsize",
    "gridsizes",
    multiple=True,
    type=int,
    metavar="G",
    help="Views of this gridsize, which concerns cnn; repeatable.",
)
split_option = click.option(
    "--split", "splits", multiple=True, type=click.Choice(SPLITS), help="Half that iterative methods use; repeatable."
)
backend_option = click.option(
    "--backend",
    "backends",
    multiple=True,
    type=click.Choice(tuple(BACKENDS)),
    help="Of the networks; repeatable. Default: pytorch, and what has run before.",
)
from_pinn_option = click.option(
    "--from-pinn",
    is_flag=True,
    help="Also LSQML started from the network's object (method lsqml_from_pinn). Default: where it has run before.",
)
allow_missing_option = click.option(
    "--allow-missing",
    is_flag=True,
    help="Leave out, and name, what lacks inputs of an earlier phase; still exit with 0.",
)


def refused(option: str, why: str) -> Callable[[Command], Command]:
    """An option that other phases have: here it is a usage error, and the message says why."""

    def refuse(context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> None:
        if values:
            raise click.UsageError(f"{context.info_name} has no {option}: {why}")

    return click.option(option, multiple=True, expose_value=False, hidden=True, callback=refuse)


def chosen(
    design: StudyDesign,
    stage_names: Sequence[str],
    *,
    doses: Sequence[float],
    views: Sequence[str] = (),
    gridsizes: Sequence[int] = (),
    splits: Sequence[str] = (),
    backends: Sequence[str] = (),
    from_pinn: bool = False,
) -> Filters:
    """The filters that the options of a command mean for a study; what the study does not have is a usage error."""
    cells = chosen_cells(design, doses, views, gridsizes)
    methods = [BACKENDS[backend] for backend in backends] + ["lsqml_from_pinn"] * from_pinn
    return Filters(*cells, tuple(splits), tuple(stage_names), tuple(methods))


def chosen_cells(
    design: StudyDesign, doses: Sequence[float], views: Sequence[str], gridsizes: Sequence[int] = ()
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Doses and views of the study, as given on the command line; an unknown one is a usage error."""
    known = {view: design.gridsize(view) for view in design.views}
    said = ", ".join(f"{view} {gridsize}" for view, gridsize in known.items())
    for given in doses:
        if given not in design.doses:
            there = ", ".join(map(str, design.doses))
            why = f"{given:.15g} is not a dose of study {design.name} (its doses: {there})"
            raise click.BadParameter(why, param_hint="--dose")
    for view in views:
        if view not in known:
            why = f"{view!r} is not a view of study {design.name} ({', '.join(known)})"
            raise click.BadParameter(why, param_hint="--view")
    for gridsize in gridsizes:
        if gridsize not in known.values():
            why = f"no view of study {design.name} has the gridsize {gridsize} ({said})"
            raise click.BadParameter(why, param_hint="--gridsize")
    chosen_views = tuple(view for view in views or known if known[view] in gridsizes) if gridsizes else tuple(views)
    if gridsizes and not chosen_views:
        raise click.BadParameter(f"none of these views has it ({said})", param_hint="--gridsize")
    return tuple(dose for given in doses for dose in design.doses if dose == given), chosen_views


# -- execution ----------------------------------------------------------------------------------------------------


class OnlyChoice(click.Choice[str]):
    """The one value of an option that stays for compatibility; any other is refused with the reason."""

    def __init__(self, value: str, why: str) -> None:
        super().__init__([value])
        self._value, self._why = value, why

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The value itself, or a usage error."""
        if str(value) != self._value:
            self.fail(f"{value} is not available, only {self._value}: {self._why}", param, ctx)
        return self._value


_BASE_OPTION: Final = click.option(
    "--base-npz",
    "base_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Import this base first and make it the active one, as `fly64 base import`.",
)
_DRIVE_OPTIONS: Final = (
    click.option("--dry-run", is_flag=True, help="Print what would run, and write nothing."),
    click.option(
        "--jobs", type=click.IntRange(1), metavar="N", help="Cells at a time. Default: the machine's cores, at most 4."
    ),
    _BASE_OPTION,
    click.option(
        "--output-root",
        type=DataRoot(),
        metavar="DIR",
        help="Folder of all artifacts: the same as --data-root before the command.",
    ),
    click.option(
        "--num-workers",
        hidden=True,
        type=OnlyChoice("0", "all frames of a cell are in memory, and no other process loads them; see --jobs"),
        expose_value=False,
        help="For compatibility, 0 only: all frames of a cell are in memory; see --jobs.",
    ),
    click.option(
        "--logger",
        hidden=True,
        type=OnlyChoice("csv", "every training writes its losses by epoch to history.csv beside its bundle"),
        expose_value=False,
        help="For compatibility, csv only: the losses by epoch, history.csv beside every bundle.",
    ),
)


def _engine_options(*, hidden: bool) -> tuple[Callable[[Command], Command], ...]:
    """Options about engines. A phase that starts none accepts them, as all phases take the same, but hides them."""
    return (
        click.option(
            "--accelerator", type=click.Choice(ACCELERATORS), hidden=hidden, help="Where engines run. Default: auto."
        ),
        click.option(
            "--devices",
            type=click.IntRange(1),
            metavar="N",
            hidden=hidden,
            help="Devices on which a network trains. Default: 1.",
        ),
        click.option(
            "--precision",
            type=click.Choice(PRECISIONS),
            hidden=hidden,
            help="Arithmetic of trainings. Default: 32-true.",
        ),
        click.option(
            "--deterministic/--no-deterministic",
            default=None,
            hidden=hidden,
            help="Algorithms of engines. Default: deterministic.",
        ),
    )


def driven(command: Command, *, takes_base: bool = True, has_engines: bool = True) -> Command:
    """Give a command the options of all commands that drive the graph; it gets them as :class:`RunOptions`.

    One that brings its own base has no ``--base-npz``; one that starts no engine does not show the options about them.
    """

    @functools.wraps(command)
    @pass_session
    def wrapped(
        session: Session,
        /,
        output_root: Path | None,
        dry_run: bool,
        jobs: int | None,
        base_file: Path | None = None,
        **others: Any,
    ) -> None:
        given = {name: others.pop(name) for name in GPU_SETTINGS}
        gpu = {name: value for name, value in given.items() if value is not None}
        jobs = jobs or min(os.cpu_count() or 1, 4)
        if output_root is not None:
            source = click.get_current_context().find_root().get_parameter_source("data_root")
            if source is ParameterSource.COMMANDLINE and output_root.resolve() != session.data_root.resolve():
                both = f"--data-root {session.data_root} and --output-root {output_root}"
                raise click.UsageError(f"{both} are the same option")
            session = replace(session, data_root=output_root)
        command(RunOptions(session, base_file, dry_run, jobs, gpu), **others)

    options: list[Callable[[Any], Any]] = [*_DRIVE_OPTIONS, *_engine_options(hidden=not has_engines)]
    for option in reversed(options):
        if takes_base or option is not _BASE_OPTION:
            wrapped = option(wrapped)
    return wrapped
