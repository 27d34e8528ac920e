"""Entry point of the command ``fly64``: global options and the list of commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from fly64_assets import __version__
from fly64_assets.cli.commands.base import base
from fly64_assets.cli.commands.campaign import campaign
from fly64_assets.cli.commands.doctor import doctor
from fly64_assets.cli.commands.export import export
from fly64_assets.cli.commands.files import bundle, contract
from fly64_assets.cli.commands.importing import import_data
from fly64_assets.cli.commands.overlap import overlap
from fly64_assets.cli.commands.ptychopinn import legacy
from fly64_assets.cli.commands.resolution import resolution
from fly64_assets.cli.commands.run import compare, generate, reconstruct, run, train
from fly64_assets.cli.commands.study import audit, clean, plan, report, status, verify
from fly64_assets.cli.commands.twin import twin
from fly64_assets.cli.commands.ui import ui
from fly64_assets.cli.console import DataRoot, Session, errors_as_sentences
from fly64_assets.resources.environment import (
    DATA_ROOT_VARIABLE,
    DEFAULT_DATA_ROOT,
    DEFAULT_STUDY,
    EXECUTOR_VARIABLE,
    FAILURE_VARIABLE,
    HOME_VARIABLE,
    INBOX_VARIABLE,
    STEP_CPUS_VARIABLE,
    STEP_GPUS_VARIABLE,
    STEP_MEMORY_VARIABLE,
    STUDY_VARIABLE,
)

SECTIONS: Final = {
    "Study": (run, plan, status, report, twin, campaign),
    "Phases of a study": (generate, overlap, train, reconstruct, compare),
    "Base and data": (base, import_data, export, resolution, bundle),
    "Check": (contract, verify, audit, doctor),
    "Admin": (ui, clean),
    "Compatibility": (legacy,),
}
VARIABLES: Final = (
    (INBOX_VARIABLE, "folder in which the Dagster sensor looks for new bases"),
    (FAILURE_VARIABLE, "command that is run for every failed run"),
    (EXECUTOR_VARIABLE, "where steps of launched runs work: in_run, ray or kubernetes [default: in_run]"),
    (STEP_GPUS_VARIABLE, "GPUs requested per engine run on a cluster [default: 1]"),
    (STEP_CPUS_VARIABLE, "processor cores requested per engine run on a cluster [default: 1]"),
    (STEP_MEMORY_VARIABLE, "memory in GiB requested per engine run on a cluster [default: 4]"),
    (HOME_VARIABLE, "folder of the Dagster instance [default: .dagster]"),
)


class GroupedCommands(click.Group):
    """A group that lists its commands by subject, and whose commands end with a sentence, whatever goes wrong."""

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
        with formatter.section("Environment variables"):
            formatter.write_dl(VARIABLES)


@click.group(cls=GroupedCommands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--study",
    envvar=STUDY_VARIABLE,
    show_envvar=True,
    default=DEFAULT_STUDY,
    show_default=True,
    metavar="NAME-or-FILE",
    help="A shipped design (demo, fly64, fly001_128) or a YAML file.",
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
      fly64 --study fly64 run --dose 1e3 --view dense
      fly64 status
    """
    context.obj = Session(study, data_root)


for section in SECTIONS.values():
    for command in section:
        main.add_command(command)

if __name__ == "__main__":
    main()
