"""Options of commands that read and write single files: what a file does not show, strictness, overwriting."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from fly64_assets.cli.console import MARKS, Positive, fail
from fly64_assets.contract.corrections import MIRRORS, UNITS, Corrections
from fly64_assets.contract.findings import Finding
from fly64_assets.contract.orientation import ORIENTATIONS
from fly64_assets.contract.places import parse_number_list
from fly64_assets.contract.positions import ORIGINS
from fly64_assets.formats.reading.options import ORDERS, ReadingOptions

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


def _mask_values(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            known = value.upper() == "MAX" or not math.isinf(float(value))
        except ValueError:
            known = False
        if not known:
            raise click.BadParameter(f"{value} is no number; expected a number, MAX or nan")
    return values


def _frame_numbers(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
    try:
        return () if value is None else tuple(parse_number_list(value))
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from problem


max_bytes_option = click.option(
    "--max-bytes", type=int, metavar="BYTES", help="Largest size that a file may declare (default 16 GiB)."
)

_POSITIVE: Final = Positive()

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
)


_OBJECT_CORRECTIONS: Final = (
    click.option(
        "--positions-unit",
        type=click.Choice(UNITS),
        help="Positions are metres, micrometres, object pixels, or those about the object's centre.",
    ),
    click.option(
        "--pixel-size", type=_POSITIVE, metavar="METRES", help="Side of an object pixel, where the file has none."
    ),
    click.option(
        "--energy", "energy_ev", type=_POSITIVE, metavar="EV", help="Photon energy; it comes before that of the file."
    ),
    click.option("--distance", "distance_m", type=_POSITIVE, metavar="METRES", help="Sample to detector."),
    click.option(
        "--detector-pixel", "detector_pixel_m", type=_POSITIVE, metavar="METRES", help="Side of a detector pixel."
    ),
    click.option(
        "--mirror",
        type=click.Choice(MIRRORS),
        help="Positions count to the left (x), up (y), or both, as those of a sample stage may.",
    ),
    click.option(
        "--probe-mode",
        type=click.IntRange(min=0),
        metavar="K",
        help="Take this one of the probe's orthogonal modes, 0 the strongest.",
    ),
    click.option(
        "--slice",
        "slice_number",
        type=click.IntRange(min=0),
        metavar="K",
        help="Take this one of several object slices, from 0.",
    ),
    click.option("--fill-border", is_flag=True, help="Fill a border of the object that is NaN."),
    click.option(
        "--crop",
        type=click.IntRange(min=2),
        metavar="N",
        help="Cut frames (of a base: the probe's window) to this side.",
    ),
    click.option(
        "--pad", type=click.IntRange(min=2), metavar="N", help="Extend frames (of a base: the probe's window) to it."
    ),
)

_FRAME_CORRECTIONS: Final = (
    click.option(
        "--mask",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="NPY, NPZ or TIFF file that is not 0 at bad pixels.",
    ),
    click.option("--good-pixels", metavar="KEY|FILE", help="Key or file of a mask that is not 0 at good pixels."),
    click.option(
        "--mask-value",
        "mask_values",
        multiple=True,
        callback=_mask_values,
        metavar="VALUE|MAX|nan",
        help="Pixels that hold this value in any frame are bad; may be repeated.",
    ),
    click.option("--clip-negative", is_flag=True, help="Set negative counts to 0."),
    click.option("--gain", type=_POSITIVE, metavar="G", help="Stored units for one photon; the frames are counts."),
    click.option(
        "--drop-frames", callback=_frame_numbers, metavar="LIST", help="Leave frames out, as in 3,7-9, from 0."
    ),
    click.option(
        "--orientation",
        type=click.Choice(ORIENTATIONS),
        help="Turn the frames about the DC: rotate-90 counterclockwise as a picture with row 0 at the top, flip-x "
        "mirrors left and right, flip-y top and bottom, transpose exchanges rows and columns.",
    ),
    click.option("--centre", is_flag=True, help="Move the frames to where the probe's far field is."),
    click.option("--scale-probe", is_flag=True, help="Scale the probe to the counts, where it is in another unit."),
)

_FRAME_FORM_OPTIONS: Final = (
    click.option("--counts", is_flag=True, help="The frames are photon counts, stored as floating-point numbers."),
    click.option("--dc-corner", is_flag=True, help="The frames have the DC in the corner."),
    click.option(
        "--probe-from-frames", is_flag=True, help="The file has no probe: make one of the mean frame, in focus."
    ),
    click.option("--frames-last/--frames-first", default=None, help="Frames are stored (N, N, n), or (n, N, N)."),
)

_CORRECTIONS: Final = frozenset(field.name for field in fields(Corrections))
"""Parameters of the options that change the content."""

_FORM: Final = ("rename", "probe_corner", "positions", "real_imaginary", "max_bytes")
"""Parameters of the options about the form of a file, as the conversion takes them."""

_FRAME_FORM: Final = ("counts", "dc_corner", "probe_from_frames", "frames_last")
"""The same of frames."""

_OF_FRAMES: Final = (
    *("mask", "good_pixels", "mask_values", "clip_negative", "gain", "drop_frames", "orientation", "centre"),
    *("scale_probe", *_FRAME_FORM),
)
"""Parameters of the options that concern frames."""

_READING: Final = ("beside", "pairs")
"""Parameters of the options about files of other programs (:class:`ReadingOptions`)."""


def form_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options about the form of a file; it gets them as one mapping, ``form``."""

    @functools.wraps(command)
    def wrapped(*arguments: Any, **others: Any) -> None:
        form = {name: others.pop(name) for name in (*_FORM, *(name for name in _FRAME_FORM if name in others))}
        reading = {name: others.pop(name) for name in _READING}
        corrections = {name: others.pop(name) for name in _CORRECTIONS & set(others)}
        if corrections["crop"] is not None and corrections["pad"] is not None:
            raise click.UsageError("--crop makes frames smaller, --pad larger: give one of them")
        form["corrections"] = Corrections(**corrections)
        form["options"] = ReadingOptions(**reading, max_bytes=form["max_bytes"])
        command(*arguments, form=form, **others)

    for option in reversed((*_FORM_OPTIONS, *_OBJECT_CORRECTIONS)):
        wrapped = option(wrapped)
    return wrapped


def frame_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command with ``form_options`` those about frames, too."""
    for option in reversed((*_FRAME_CORRECTIONS, *_FRAME_FORM_OPTIONS)):
        command = option(command)
    return command


def without_frames(form: dict[str, Any], why: str) -> dict[str, Any]:
    """The form of a file of which no frames are read: without the parameters about them.

    Leaves with a usage error that says ``why`` if an option about frames was given.
    """
    context = click.get_current_context()
    options = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    given = [options[name] for name in _OF_FRAMES if context.get_parameter_source(name) is not ParameterSource.DEFAULT]
    if given:
        raise click.UsageError(f"{', '.join(given)}: {why}")
    return {name: value for name, value in form.items() if name not in _FRAME_FORM}


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
