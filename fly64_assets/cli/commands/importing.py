"""``fly64 import``: a data set of a file in any known form, with what became of each of its keys."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fly64_assets.cli.console import MARKS, file_argument, json_option, print_json
from fly64_assets.cli.file_options import force_option, form_options, frame_options, refuse_to_replace, strict_option
from fly64_assets.contract.findings import FormError
from fly64_assets.ptychopinn.importing import REFUSED, Entry


def _archive_name(_context: click.Context, _parameter: click.Parameter, value: Path) -> Path:
    if value.suffix != ".npz":
        raise click.BadParameter(f"{value.name} does not end in .npz, and an NPZ file is written: name it so")
    return value


archive_argument = click.argument("out", type=click.Path(path_type=Path, dir_okay=False), callback=_archive_name)


@click.command("import")
@file_argument
@archive_argument
@form_options
@frame_options
@strict_option
@force_option
@json_option
def import_data(file: Path, out: Path, form: dict[str, Any], strict: bool, force: bool, as_json: bool) -> None:
    """Turn measured data into a data set that obeys DATA-001.

    Says what became of every key. Reads NPZ, CXI, NeXus, HDF5 (ptychodus, PtyPy, PtyLab), MATLAB, NPY and TIFF files,
    told apart by their content. A measurement needs no object: ones stand in for it. Every finding is printed; what
    the file does not show is refused with the option that says it. `fly64 legacy import` is the same command.

    Steps are done in this order, whatever that of the options: modes and slices, --drop-frames, masks (which lie as
    the frames of the file do), --clip-negative, --gain, --orientation, --centre, --positions-unit, --crop or --pad,
    --fill-border, --scale-probe.

    \b
    Example:
      fly64 import scan.cxi scan.npz --probe-from-frames
      fly64 import product.h5 scan.npz --with patterns.npz
      fly64 import Run1084_recon3_postPC.npz run1084.npz
    """
    from fly64_assets.ptychopinn.data_sets import import_data_set

    refuse_to_replace([out], force, file)
    new_folder = not out.parent.exists()
    try:
        entries = import_data_set(file, out, form, strict=strict)
    except FormError as problem:
        entries = (Entry("(contract)", problem.code, REFUSED, str(problem)),)
    ok = all(entry.verdict != REFUSED for entry in entries)
    show_entries(entries, as_json, {"written": str(out) if ok else None})
    if not as_json:
        made = f", in the new folder {out.parent}" if new_folder else ""
        click.echo(f"{out}: written{made}" if ok else f"{out}: not written")
    sys.exit(0 if ok else 1)


def show_entries(entries: Sequence[Entry], as_json: bool, further: dict[str, object]) -> None:
    """Print a line for each key, or one JSON document with more."""
    if as_json:
        ok = all(entry.verdict != REFUSED for entry in entries)
        print_json({"ok": ok, "entries": [entry.to_dict() for entry in entries], **further})
        return
    for entry in entries:
        click.echo(f"{MARKS[entry.verdict]} {entry.verdict:10} {entry.key} = {entry.value}: {entry.text}")
