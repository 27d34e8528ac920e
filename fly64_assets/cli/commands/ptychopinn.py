"""``fly64 legacy``: configurations and data sets from PtychoPINN, and data sets for it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from fly64_assets.cli.console import MARKS, file_argument, json_option, print_json
from fly64_assets.cli.file_options import force_option, form_options, frame_options, refuse_to_replace, strict_option
from fly64_assets.contract.findings import FormError
from fly64_assets.errors import DesignError
from fly64_assets.ptychopinn.importing import FIXED_SCALE, REFUSED, Entry, read_configuration
from fly64_assets.store.atomic import write_atomically
from fly64_assets.store.yaml_file import yaml_text
from fly64_assets.study.design import StudyDesign

out_argument = click.argument("out", type=click.Path(path_type=Path, dir_okay=False))


@click.group()
def legacy() -> None:
    """Read PtychoPINN's files, and write data sets for it.

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
    """Read a configuration (YAML or JSON) and say of every key whether it is understood, ignored or refused.

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
    _show(found.entries, as_json, {"design": dict(found.design)})
    if not as_json and out is not None:
        click.echo(f"{out}: written" if found.ok else f"{out}: not written; correct what is refused first")
    sys.exit(0 if found.ok else 1)


@legacy.command("import")
@file_argument
@out_argument
@form_options
@frame_options
@click.option("--counts", is_flag=True, help="The frames are photon counts, stored as floating-point numbers.")
@click.option("--dc-corner", is_flag=True, help="The frames have the DC in the corner.")
@click.option("--probe-from-frames", is_flag=True, help="The file has no probe: make one of the mean frame, in focus.")
@click.option("--frames-last/--frames-first", default=None, help="Frames are stored (N, N, n), or (n, N, N).")
@strict_option
@force_option
@json_option
def legacy_import(
    file: Path,
    out: Path,
    form: dict[str, Any],
    counts: bool,
    dc_corner: bool,
    probe_from_frames: bool,
    frames_last: bool | None,
    strict: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Turn a data set into one that obeys DATA-001, and say what became of every key, with every finding.

    Reads NPZ, CXI, NeXus, HDF5 (ptychodus, PtyPy, PtyLab), MATLAB, NPY and TIFF files, told apart by their content.
    A measurement needs no object: ones stand in for it.

    \b
    Example:
      fly64 legacy import Run1084_recon3_postPC.npz run1084.npz
      fly64 legacy import scan.cxi scan.npz --probe-from-frames
      fly64 legacy import product.h5 scan.npz --with patterns.npz
    """
    from fly64_assets.ptychopinn.data_sets import import_data_set

    refuse_to_replace([out], force, file)
    form |= {"frames_last": frames_last, "counts": counts, "dc_corner": dc_corner}
    form["probe_from_frames"] = probe_from_frames
    try:
        entries = import_data_set(file, out, form, strict=strict)
    except FormError as problem:
        entries = (Entry("(contract)", problem.code, REFUSED, str(problem)),)
    ok = all(entry.verdict != REFUSED for entry in entries)
    _show(entries, as_json, {"written": str(out) if ok else None})
    if not as_json:
        click.echo(f"{out}: written" if ok else f"{out}: not written")
    sys.exit(0 if ok else 1)


@legacy.command("export")
@file_argument
@out_argument
@force_option
def legacy_export(file: Path, out: Path, force: bool) -> None:
    """Write a data set of a study with the keys of existing loaders (`diff3d`) beside its own.

    \b
    Example:
      fly64 legacy export data/demo/.../patched_train.npz for_ptychopinn.npz
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


def _show(entries: Sequence[Entry], as_json: bool, further: dict[str, object]) -> None:
    if as_json:
        ok = all(entry.verdict != REFUSED for entry in entries)
        print_json({"ok": ok, "entries": [entry.to_dict() for entry in entries], **further})
        return
    for entry in entries:
        click.echo(f"{MARKS[entry.verdict]} {entry.verdict:10} {entry.key} = {entry.value}: {entry.text}")
