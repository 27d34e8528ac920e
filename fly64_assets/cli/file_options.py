"""Options of commands that read and write single files: what a file does not show, strictness, overwriting."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import click

from fly64_assets.cli.console import MARKS, fail
from fly64_assets.contract.findings import Finding
from fly64_assets.contract.positions import ORIGINS
from fly64_assets.formats.reading.said import MIRRORS, ORDERS, Said

strict_option = click.option("--strict", is_flag=True, help="Refuse what otherwise is only warned of.")
force_option = click.option("--force", is_flag=True, help="Replace what exists already.")


def _renames(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.split("=") for value in values]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise click.BadParameter("expected OLD=NEW, for example probe=probeGuess")
    for which, names in zip(("OLD", "NEW"), zip(*pairs, strict=True), strict=False):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise click.BadParameter(f"{twice} is named as {which} more than once")
    return dict(pairs)


def _pairs(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.rsplit("=", 1) for value in values]
    if any(len(pair) != 2 or not pair[0] or pair[1] not in ORDERS for pair in pairs):
        raise click.BadParameter("expected NAME=xy or NAME=yx, for example positions=yx")
    return dict(pairs)


max_bytes_option = click.option("--max-bytes", type=int, help="Largest size that a file may declare (default 16 GiB).")

_POSITIVE: Final = click.FloatRange(min=0, min_open=True)

_FORM_OPTIONS: Final = (
    click.option(
        "--rename",
        multiple=True,
        callback=_renames,
        metavar="OLD=NEW",
        help="Read key OLD as NEW; may be repeated, and exchange two keys.",
    ),
    click.option("--probe-corner", is_flag=True, help="The probe has its centre in the corner (FFT order)."),
    click.option(
        "--positions",
        type=click.Choice(ORIGINS),
        help="Positions count from the object's centre, or are the windows' first pixels (corners).",
    ),
    click.option(
        "--real-imaginary",
        is_flag=True,
        help="A last axis of two holds real and imaginary parts of the object or probe.",
    ),
    max_bytes_option,
    click.option(
        "--with",
        "beside",
        multiple=True,
        type=click.Path(path_type=Path, dir_okay=False),
        help="Another file that belongs to it, as the frames beside a reconstruction; may be repeated.",
    ),
    click.option(
        "--pairs",
        multiple=True,
        callback=_pairs,
        metavar="NAME=ORDER",
        help="Member NAME holds positions (n, 2), ORDER xy (columns first) or yx.",
    ),
    click.option("--energy", "energy_ev", type=_POSITIVE, help="Photon energy in eV, where the file has none."),
    click.option("--distance", "distance_m", type=_POSITIVE, help="Sample to detector in metres."),
    click.option("--detector-pixel", "detector_pixel_m", type=_POSITIVE, help="Side of a detector pixel in metres."),
    click.option(
        "--mirror",
        type=click.Choice(MIRRORS),
        help="Positions count to the left (x), up (y), or both, as those of a sample stage may.",
    ),
)


_FORM: Final = ("rename", "probe_corner", "positions", "real_imaginary", "max_bytes")
"""Parameters of the options about the form of a file, as the conversion takes them."""

_SAID: Final = ("beside", "pairs", "energy_ev", "distance_m", "detector_pixel_m", "mirror")
"""Parameters of the options about files of other programs (:class:`Said`)."""


def form_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options about the form of a file; it gets them as one mapping, ``form``."""

    @functools.wraps(command)
    def wrapped(*arguments: Any, **others: Any) -> None:
        form = {name: others.pop(name) for name in _FORM}
        said = {name: others.pop(name) for name in _SAID}
        form["said"] = Said(**said, max_bytes=form["max_bytes"])
        command(*arguments, form=form, **others)

    for option in reversed(_FORM_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def refuse_to_replace(targets: Iterable[Path], force: bool, *inputs: Path) -> None:
    """Leave if a file to be written is an input of the command, or exists and may not be replaced."""
    for target in targets:
        if not os.path.lexists(target):
            continue
        for file in inputs:
            if file.exists() and target.exists() and target.samefile(file):
                fail(f"{target} would replace {file}, from which it is made: choose another name", status=2)
        if not force:
            fail(f"{target} exists already: choose another name, or replace it with --force")
        if target.exists() and not target.is_file():
            fail(f"{target} is no regular file and is not replaced: choose another name")


def say_finding(finding: Finding, *, err: bool = False) -> None:
    """Print one finding about a file."""
    click.echo(f"  {MARKS[finding.severity]} {finding.code}: {finding.message}", err=err)
