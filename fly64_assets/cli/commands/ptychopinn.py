"""``fly64 legacy``: configurations and data sets from PtychoPINN, and data sets for it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from fly64_assets.cli.commands.importing import archive_argument, import_data, show_entries
from fly64_assets.cli.console import file_argument, json_option
from fly64_assets.cli.file_options import force_option, refuse_to_replace
from fly64_assets.errors import DesignError
from fly64_assets.ptychopinn.importing import FIXED_SCALE, read_configuration
from fly64_assets.store.atomic import write_atomically
from fly64_assets.store.yaml_file import yaml_text
from fly64_assets.study.design import StudyDesign


@click.group()
def legacy() -> None:
    """Read PtychoPINN's files, and write data sets for it.

    `fly64 legacy import` and `fly64 import` are the same command.

    \b
    Example:
      fly64 legacy config training.yaml --design my_study.yaml
    """


@legacy.command("config")
@file_argument
@click.option("--design", "out", type=click.Path(path_type=Path, dir_okay=False), help="Write a study design there.")
@click.option(
    FIXED_SCALE,
    "fixed_scale",
    is_flag=True,
    help="Take a configuration that learns the intensity scale without that: here it comes from the data.",
)
@force_option
@json_option
def legacy_config(file: Path, out: Path | None, fixed_scale: bool, force: bool, as_json: bool) -> None:
    """Read a configuration of PtychoPINN.

    It is YAML or JSON; every key is understood, ignored or refused, and the command says which.

    \b
    Example:
      fly64 legacy config training.yaml --design my_study.yaml
    """
    if out is not None:
        refuse_to_replace([out], force, file)
    found = read_configuration(file, StudyDesign().rng_seeds, broken_rules, fixed_scale=fixed_scale)
    if out is not None and found.ok:
        content = yaml_text(found.design).encode()
        write_atomically(out, lambda target: target.write(content))
    show_entries(found.entries, as_json, {"design": dict(found.design)})
    if not as_json and out is not None:
        click.echo(f"{out}: written" if found.ok else f"{out}: not written; correct what is refused first")
    sys.exit(0 if found.ok else 1)


legacy.add_command(import_data)


@legacy.command("export")
@file_argument
@archive_argument
@force_option
def legacy_export(file: Path, out: Path, force: bool) -> None:
    """Write a data set with the keys of PtychoPINN.

    The keys of its loaders (`diff3d`) stand beside those of the study.

    \b
    Example:
      fly64 legacy export data/demo/*/dose_1000/patched_train.npz for_ptychopinn.npz
    """
    from fly64_assets.ptychopinn.data_sets import export_data_set

    refuse_to_replace([out], force, file)
    click.echo(f"{out}: {', '.join(export_data_set(file, out))}")


def broken_rules(document: Mapping[str, Any]) -> Sequence[str]:
    """Every rule that a design document breaks, as a sentence."""
    try:
        StudyDesign.from_dict(document)
    except DesignError as error:
        return error.problems
    return ()
