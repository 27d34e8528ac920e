"""Entry point of the command ``fly64``: global options and the list of commands."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click

from fly64_assets import __version__
from fly64_assets.cli.commands.advise import advise
from fly64_assets.cli.commands.base import base
from fly64_assets.cli.commands.campaign import campaign
from fly64_assets.cli.commands.design import design
from fly64_assets.cli.commands.doctor import doctor
from fly64_assets.cli.commands.export import export
from fly64_assets.cli.commands.files import bundle, contract
from fly64_assets.cli.commands.importing import import_data
from fly64_assets.cli.commands.instance import instance
from fly64_assets.cli.commands.opening import open_page
from fly64_assets.cli.commands.overlap import overlap
from fly64_assets.cli.commands.pretrained import infer, pretrain
from fly64_assets.cli.commands.ptychopinn import legacy
from fly64_assets.cli.commands.resolution import resolution
from fly64_assets.cli.commands.run import compare, generate, reconstruct, run, train
from fly64_assets.cli.commands.study import audit, clean, plan, report, status, verify
from fly64_assets.cli.commands.transfer import pull, push
from fly64_assets.cli.commands.twin import twin
from fly64_assets.cli.commands.ui import ui
from fly64_assets.cli.console import SESSION_MARK, DataRoot, Session, errors_as_sentences
from fly64_assets.resources.environment import (
    DATA_ROOT_VARIABLE,
    DEFAULT_DATA_ROOT,
    DEFAULT_STUDY,
    EXECUTOR_VARIABLE,
    FAILURE_VARIABLE,
    HOME_VARIABLE,
    INBOX_VARIABLE,
    POSTGRES_PASSWORD_VARIABLE,
    STEP_CPUS_VARIABLE,
    STEP_GPUS_VARIABLE,
    STEP_MEMORY_VARIABLE,
    STUDY_VARIABLE,
)
from fly64_assets.store.storage import CACHE_SIZE_VARIABLE, CACHE_VARIABLE, DEFAULT_CACHE_GB

SECTIONS: Final = {
    "Study": (advise, run, design, plan, status, report, open_page, twin, campaign),
    "Phases of a study": (generate, overlap, train, reconstruct, compare),
    "Base and data": (base, import_data, export, infer, pretrain, resolution, bundle),
    "Check": (contract, verify, audit, doctor),
    "Admin": (ui, instance, clean, push, pull),
    "Compatibility": (legacy,),
}
VARIABLES: Final = (
    (INBOX_VARIABLE, "folder in which the Dagster sensor looks for new bases"),
    (FAILURE_VARIABLE, "command that is run for every failed run"),
    (EXECUTOR_VARIABLE, "where steps of launched runs work: in_run, ray or kubernetes [default: in_run]"),
    (STEP_GPUS_VARIABLE, "GPUs requested per engine run on a cluster [default: 1]"),
    (STEP_CPUS_VARIABLE, "processor cores requested per engine run on a cluster [default: 1]"),
    (STEP_MEMORY_VARIABLE, "memory in GiB requested per engine run on a cluster [default: 4]"),
    (CACHE_VARIABLE, "folder of local copies of data roots in object stores [default: ~/.cache/fly64]"),
    (CACHE_SIZE_VARIABLE, f"GB of data that one such copy keeps [default: {DEFAULT_CACHE_GB:.0f}]"),
    (HOME_VARIABLE, "folder of the Dagster instance [default: .dagster]"),
    (POSTGRES_PASSWORD_VARIABLE, "password of the PostgreSQL database of the instance"),
)


WHICH_CHECK: Final = (
    ("fly64 doctor", "before the first run: can this machine run a study?"),
    ("fly64 base check", "before an import: can this file be the base of a study?"),
    ("fly64 contract check", "is this data set one that every method reads?"),
    ("fly64 status", "what of the study is missing or out of date?"),
    ("fly64 verify", "after copying, or in doubt of a disk: has any file changed since it was written?"),
    ("fly64 bundle verify", "the same of one trained network, anywhere"),
    ("fly64 audit", "judge the content of everything again: contract, physics, networks; minutes to hours"),
)
GLOBAL_OPTIONS: Final = ("--study", "--data-root")
SEVERAL: Final = "ui"
"""The command that has an option ``--study`` of its own, which may be repeated."""
AFTER_TOO: Final = "--study NAME-or-FILE and --data-root DIR (see `fly64 --help`) may stand here, too."


class GroupedCommands(click.Group):
    """A group that lists its commands by subject, and whose commands end with a sentence, whatever goes wrong.

    Its global options may stand anywhere in the command line.
    """

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Take the global options that follow the command as if they stood before it."""
        return super().parse_args(context, global_options_first(args))

    def invoke(self, context: click.Context) -> Any:
        """Carry out the command."""
        with errors_as_sentences():
            return super().invoke(context)

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each subject."""
        width = max(len(name) for name in self.commands)
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{one.name or '':{width}}", one.get_short_help_str(80)) for one in commands])
        with formatter.section("Which check"):
            formatter.write_dl(WHICH_CHECK)
        with formatter.section("Environment variables"):
            formatter.write_dl(VARIABLES)


def global_options_first(args: Sequence[str]) -> list[str]:
    """The command line with its global options, and their values, before everything else.

    Examples
    --------
    >>> global_options_first(["run", "--study", "fly64", "--dry-run", "--data-root=d"])
    ['--study', 'fly64', '--data-root=d', 'run', '--dry-run']
    >>> global_options_first(["ui", "--study", "demo", "--data-root", "d", "--study", "fly64"])
    ['--data-root', 'd', 'ui', '--study', 'demo', '--study', 'fly64']
    """
    first: list[str] = []
    rest: list[str] = []
    words = iter(args)
    for word in words:
        if word == "--":
            return [*first, *rest, word, *words]
        moved = [name for name in GLOBAL_OPTIONS if name != "--study" or rest[:1] != [SEVERAL]]
        if word in moved:
            first += [word, *itertools.islice(words, 1)]
        elif word.startswith(tuple(f"{name}=" for name in moved)):
            first.append(word)
        else:
            rest.append(word)
    return [*first, *rest]


def with_commands(group: click.Group) -> Iterator[click.Command]:
    """All commands below a group."""
    for command in group.commands.values():
        yield command
        if isinstance(command, click.Group):
            yield from with_commands(command)


@click.group(cls=GroupedCommands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--study",
    envvar=STUDY_VARIABLE,
    show_envvar=True,
    default=DEFAULT_STUDY,
    show_default=True,
    metavar="NAME-or-FILE",
    help="A shipped design (demo, fly64, fly001_128, measured) or a YAML file.",
)
@click.option(
    "--data-root",
    envvar=DATA_ROOT_VARIABLE,
    show_envvar=True,
    default=Path(DEFAULT_DATA_ROOT),
    show_default=True,
    type=DataRoot(),
    metavar="DIR-or-URL",
    help="Folder of all data and results, or s3://BUCKET/PREFIX.",
)
@click.version_option(__version__, prog_name="fly64")
@click.pass_context
def main(context: click.Context, study: str, data_root: Path) -> None:
    """How few photons and how little overlap can a ptychography scan get away with?

    \b
    study   doses, views and settings (a design), with everything built from them
    base    object, probe and scan positions, from which the frames are simulated
    view    a scan thinned to an overlap of windows; "baseline" is the full scan
    cell    one dose and one view; every method reconstructs every cell
    method  how the object is recovered: the network (pinn), LSQML, ...
    split   a half of the scan: networks learn on "train", methods reconstruct both

    \b
    Example:
      fly64 run                     # all nine cells of the demo study
      fly64 open                    # its report in the browser
      fly64 run --study fly64 --dose 1e3 --view dense
      fly64 status --study fly64
    """
    context.obj = Session(study, data_root)


for section in SECTIONS.values():
    for command in section:
        main.add_command(command)
for command in with_commands(main):
    if getattr(command.callback, SESSION_MARK, False):
        command.epilog = AFTER_TOO

if __name__ == "__main__":
    main()
