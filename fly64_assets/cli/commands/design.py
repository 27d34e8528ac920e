"""``fly64 design``: show a study's design, or begin one of your own."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import click
import yaml

from fly64_assets.cli.console import Session, fail, json_option, pass_session, print_json
from fly64_assets.cli.file_options import force_option, refuse_to_replace
from fly64_assets.pinn.pretrained.settings import GENERAL
from fly64_assets.store.atomic import write_atomically
from fly64_assets.study.design import STUDIES_FOLDER, StudyDesign, shipped_designs
from fly64_assets.study.fields import NAME_PATTERN

NAME_LINE = re.compile(r"^name:.*$", re.MULTILINE)


@click.group()
def design() -> None:
    """Show a study's design, or begin one of your own.

    A design is a YAML file with the doses, the views and all settings of a study; docs/reference/design.md has every
    field.

    \b
    Example:
      fly64 design init my_study.yaml     # a copy of the demo's design, to be edited
      fly64 design show --study my_study.yaml
    """


@design.command("show")
@json_option
@pass_session
def design_show(session: Session, as_json: bool) -> None:
    """Print every setting of the design.

    Those that the file leaves out have their defaults.

    \b
    Example:
      fly64 design show
      fly64 design show --study fly64 --json
    """
    document = session.design().to_dict()
    if as_json:
        print_json(document)
    else:
        click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)


@design.command("init")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@force_option
@pass_session
def design_init(session: Session, file: Path, force: bool) -> None:
    """Begin a design of your own.

    FILE becomes a copy of the study's design with its comments, under the name of the FILE.

    \b
    Example:
      fly64 design init my_study.yaml
      fly64 design init large.yaml --study fly64
      fly64 run --study my_study.yaml
    """
    source = session.design()
    name = file.stem
    if file.suffix not in (".yaml", ".yml") or not re.fullmatch(NAME_PATTERN, name):
        fail(f"{file}: expected a name of letters a-z, digits and _ that ends in .yaml, such as my_study.yaml", 2)
    if _leaves_its_files(source, file):
        fail(f"{file} is not written: the design names files relative to {source.folder}; write the copy there", 2)
    if problems := replace(source, name=name).problems():
        fail(f"{file} is not written: {'; '.join(problems)}", 2)
    refuse_to_replace([file], force)
    path = STUDIES_FOLDER / f"{session.study}.yaml" if session.study in shipped_designs() else Path(session.study)
    text = path.read_text(encoding="utf-8")
    # In quotes: YAML has other meanings for 123 and no.
    line = f"name: '{name}'"
    text = NAME_LINE.sub(line, text, count=1) if NAME_LINE.search(text) else f"{line}\n{text}"
    write_atomically(file, lambda target: target.write(text.encode()))
    click.echo(f"{file}: edit it, then `fly64 run --study {file}`")


def _leaves_its_files(source: StudyDesign, file: Path) -> bool:
    """Whether a copy of the design would no longer find the base, the mask or the network that it names."""
    network = None if source.pretrained.network == GENERAL else source.pretrained.file(source.folder)
    named = (source.base_path, source.mask_path, network)
    return any(path is not None for path in named) and source.folder != file.absolute().parent
