"""Entry point of the command ``fly64``: global options and the list of commands."""

from __future__ import annotations

from pathlib import Path

import click

from fly64_assets import __version__
from fly64_assets.cli.commands.audit import audit
from fly64_assets.cli.commands.base import base
from fly64_assets.cli.commands.clean import clean
from fly64_assets.cli.commands.doctor import doctor
from fly64_assets.cli.commands.files import bundle, contract
from fly64_assets.cli.commands.overlap import overlap
from fly64_assets.cli.commands.phases import compare, generate, reconstruct, train
from fly64_assets.cli.commands.ptychopinn import legacy
from fly64_assets.cli.commands.resolution import resolution
from fly64_assets.cli.commands.run import run
from fly64_assets.cli.commands.study import plan, report, status, verify
from fly64_assets.cli.commands.ui import ui
from fly64_assets.cli.console import Session
from fly64_assets.resources.environment import DATA_ROOT_VARIABLE, DEFAULT_DATA_ROOT, DEFAULT_STUDY, STUDY_VARIABLE


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--study",
    envvar=STUDY_VARIABLE,
    default=DEFAULT_STUDY,
    show_default=True,
    metavar="NAME-or-FILE",
    help="A shipped design (demo, fly64, fly001_128) or a YAML file.",
)
@click.option(
    "--data-root",
    envvar=DATA_ROOT_VARIABLE,
    default=Path(DEFAULT_DATA_ROOT),
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of all artifacts.",
)
@click.version_option(__version__, prog_name="fly64")
@click.pass_context
def main(context: click.Context, study: str, data_root: Path) -> None:
    """How few photons and how little overlap can a ptychography scan get away with?

    \b
    Example:
      fly64 run                                  all nine cells of the demo study
      fly64 --study fly64 run --dose 1e3 --view dense
      fly64 status
    """
    context.obj = Session(study, data_root)


for command in (
    run,
    generate,
    overlap,
    train,
    reconstruct,
    compare,
    plan,
    status,
    report,
    verify,
    audit,
    clean,
    doctor,
    base,
    contract,
    resolution,
    bundle,
    legacy,
    ui,
):
    main.add_command(command)
