"""``fly64 base``: make, import, check, list and choose bases."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from fly64_assets.cli.commands.files import json_failure, show_findings
from fly64_assets.cli.console import (
    MARKS,
    Session,
    fail,
    file_argument,
    first_line,
    json_option,
    pass_session,
    print_json,
)
from fly64_assets.cli.driver.drive import import_base
from fly64_assets.cli.file_options import (
    force_option,
    form_options,
    frame_options,
    refuse_to_replace,
    strict_option,
    without_frames,
)
from fly64_assets.contract.findings import ContractReport, FormError, error
from fly64_assets.physics.scan import SCANS
from fly64_assets.simulation.objects.kinds import OBJECT_KINDS, PROBE_KINDS, GeneratedBase
from fly64_assets.simulation.objects.making import generated_base
from fly64_assets.simulation.recipe import LARGEST_OBJECT_PX, PICTURES, BaseRecipe
from fly64_assets.store.artifacts import CHOSEN
from fly64_assets.store.keys import BASE
from fly64_assets.study.campaign import probe_from
from fly64_assets.study.design import StudyDesign

_OF_PICTURES: Final = ("amplitude", "phase", "amplitude_range", "phase_range", "probe_curvature")
"""Options of `fly64 base make` that a generated object does not have."""
_OF_BOTH: Final = ("object_size", "positions", "pattern", "seed", "probe_radius", "probe_edge")
"""Fields that bases of pictures and of generated objects share."""
NO_FRAMES: Final = (
    "{study} reads no frames, which are simulated from the base; that is for studies of measured frames "
    "(scan: measured, as --study measured)"
)


@click.group()
def base() -> None:
    """Make, import, check and choose bases.

    A base is an object, a probe and scan positions, from which frames are simulated; for a study of measured frames
    (scan: measured) it is a file of frames, from which object and probe are calibrated.

    \b
    Example:
      fly64 base import my_base.npz
    """


@base.command("make")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--amplitude", default="camera", show_default=True, type=click.Choice(PICTURES), metavar="PICTURE")
@click.option("--phase", default="brick", show_default=True, type=click.Choice(PICTURES), metavar="PICTURE")
@click.option("--size", metavar="PX", default=448, show_default=True, help="Object side in pixels.")
@click.option("--patch-size", metavar="N", default=64, show_default=True, help="Window side N: 64, 128 or 256.")
@click.option("--positions", metavar="N", default=2000, show_default=True, help="Number of scan positions.")
@click.option("--pattern", default="uniform", show_default=True, type=click.Choice(tuple(SCANS)))
@click.option(
    "--seed", metavar="SEED", default=42, show_default=True, help="Seed of the positions and of a generated object."
)
@click.option("--amplitude-range", nargs=2, type=float, default=(0.7, 1.0), show_default=True, metavar="MIN MAX")
@click.option(
    "--phase-range", nargs=2, type=float, default=(0.0, 1.0), show_default=True, metavar="MIN MAX", help="In rad."
)
@click.option("--probe-radius", metavar="FRACTION", default=0.25, show_default=True, help="As a fraction of N.")
@click.option(
    "--probe-edge", metavar="FRACTION", default=0.04, show_default=True, help="Softness of the rim, as a fraction of N."
)
@click.option("--probe-curvature", metavar="RAD", default=4.0, show_default=True, help="Phase at the rim in rad.")
@click.option(
    "--object", "kind", type=click.Choice(OBJECT_KINDS), metavar="KIND", help="Generate the object instead; see below."
)
@click.option(
    "--probe", "probe", type=click.Choice(PROBE_KINDS), help="With --object: kind of the probe.  [default: curved]"
)
@click.option(
    "--probe-file", type=click.Path(path_type=Path), metavar="NPZ", help="With --object: take the file's probeGuess."
)
@force_option
def base_make(
    file: Path,
    size: int,
    patch_size: int,
    kind: str | None,
    probe: str | None,
    probe_file: Path | None,
    force: bool,
    **options: Any,
) -> None:
    """Make a base file from pictures or a generated object.

    Pictures are those of the scikit-image wheel; nothing is downloaded.

    \b
    Pictures: astronaut, brick, camera, cell, chelsea, clock_motion, coffee, coins, grass, gravel,
    hubble_deep_field, ihc, microaneurysms, moon, page, retina, rocket, text
    \b
    Kinds of objects on which settings were chosen:
      grains, platelets, bumps, camera_brick, coins_grass, moon_coffee
    Kinds that only results are for:
      texture, particles, smooth, edges, cells, circuit, siemens_star, foam, weak, wrapped, retina_rocket
    \b
    Example:
      fly64 base make my_base.npz --amplitude moon --phase retina --size 512
      fly64 base make cells.npz --object cells --probe structured --seed 3
    """
    from fly64_assets.contract.schema import base_arrays
    from fly64_assets.store.atomic import write_atomically
    from fly64_assets.study.intake import npz_bytes, recipe_base

    _check_generated(kind, probe, probe_file)
    recipe = BaseRecipe(object_size=size, **options)
    problems = StudyDesign(base=recipe, patch_size_pixels=patch_size).problems()
    if problems:
        # A size that is right as such and too large for any machine is no error of usage.
        status = 1 if size > LARGEST_OBJECT_PX else 2
        fail(f"{file} is not made: {'; '.join(map(_of_option, problems))}", status)
    refuse_to_replace([file], force)
    if kind is None:
        made = recipe_base(recipe, patch_size, file.stem)
    else:
        given = probe_from(probe_file, patch_size) if probe_file else None
        shared = {name: getattr(recipe, name) for name in _OF_BOTH}
        generated = GeneratedBase(kind, probe or "curved", **shared)  # type: ignore[arg-type]
        made = generated_base(generated, patch_size, file.stem, given)
    content = npz_bytes(base_arrays(made))
    digest, size_bytes = write_atomically(file, lambda target: target.write(content))
    click.echo(f"{file}: {size} x {size} px object, {recipe.positions} positions, {size_bytes:,} bytes")
    click.echo(f"SHA256 {digest}")


def _check_generated(kind: str | None, probe: str | None, probe_file: Path | None) -> None:
    """Refuse options that have no effect beside each other."""
    if kind is None and (probe or probe_file):
        raise click.UsageError("--probe and --probe-file need --object: they go with a generated object")
    if probe and probe_file:
        raise click.UsageError("--probe and --probe-file exclude each other")
    context = click.get_current_context()
    for name in _OF_PICTURES if kind else ():
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} and --object exclude each other: it is for pictures")


def _of_option(problem: str) -> str:
    """A broken rule with the option of ``fly64 base make`` in place of the design's field."""
    field, rest = problem.split(" ", 1)
    name = {"base.object_size": "size", "patch_size_pixels": "patch-size"}.get(field, field.removeprefix("base."))
    return f"--{name.replace('_', '-')} {rest}"


@base.command("import")
@file_argument
@form_options
@frame_options
@strict_option
@pass_session
def base_import(session: Session, file: Path, form: dict[str, Any], strict: bool) -> None:
    """Bring a base file into the study, and make it active.

    Files in any known form are read; every finding is printed.

    Of a study of measured frames (scan: measured) it is a file of frames in any form that `fly64 import` reads, with
    the same options; probe and reference object are calibrated from all their counts, which takes minutes.

    \b
    Example:
      fly64 base import my_base.npz
      fly64 run
      fly64 --study measured base import scan.cxi --probe-from-frames
    """
    design = session.design()
    if not design.of_measured_frames:
        form = without_frames(form, NO_FRAMES.format(study=f"study {design.name} (scan: {design.scan})"))
    import_base(session, design, file, form, strict=strict)


@base.command("check")
@file_argument
@json_option
@form_options
@frame_options
@strict_option
@click.option(
    "--patch-size", type=int, metavar="N", help="Expected window side N; default: the study's, or the probe's own."
)
@pass_session
def base_check(
    session: Session, file: Path, as_json: bool, form: dict[str, Any], strict: bool, patch_size: int | None
) -> None:
    """Check whether a file can serve as a base, and print every finding.

    Of the study that --study names, if it does; otherwise of any study of simulated frames. Of a study of measured
    frames it says which doses and views the file can carry, before anything is calibrated.

    \b
    Example:
      fly64 base check my_base.npz
      fly64 --study my_study.yaml base check my_base.npz --strict
    """
    from fly64_assets.contract.canonical import canonicalize_base
    from fly64_assets.formats.reading.opening import opened
    from fly64_assets.study.intake import base_report

    named = click.get_current_context().find_root().get_parameter_source("study") is not ParameterSource.DEFAULT
    design = session.design() if named else None
    if design is not None and patch_size not in (None, design.patch_size_pixels):
        raise click.UsageError(f"study {design.name} has N = {design.patch_size_pixels}, not --patch-size {patch_size}")
    if design is not None and design.of_measured_frames:
        check_measured(design, file, form, as_json, strict=strict)
        return
    simulated = "this check" if design is None else f"study {design.name} (scan: {design.scan})"
    form = without_frames(form, NO_FRAMES.format(study=simulated))
    try:
        with json_failure(as_json):
            found, form = opened(file, form, frames=False)
            arrays, done = canonicalize_base(found, **form)
    except FormError as problem:
        show_findings(file, ContractReport((error(problem.code, str(problem)),)), as_json)
        return
    if not as_json:
        for step in done:
            details = ", ".join(f"{name} {value}" for name, value in step["parameters"].items())
            click.echo(f"  · on import: {step['operation'].replace('_', ' ')}{f' ({details})' if details else ''}")
    report = base_report(arrays, design, patch_size)
    show_findings(file, report.strict() if strict else report, as_json, "can serve as a base")


def check_measured(design: StudyDesign, file: Path, form: dict[str, Any], as_json: bool, *, strict: bool) -> None:
    """Print what a file of measured frames can carry of a study, and leave with 1 if it cannot be its base."""
    from fly64_assets.study.measured_intake import judged

    try:
        with json_failure(as_json):
            report = judged(file, design, form, strict=strict)[1]
    except FormError as problem:
        report = ContractReport((error(problem.code, str(problem)),))
    show_findings(file, report, as_json, f"can carry study {design.name}")


@base.command("list")
@json_option
@pass_session
def base_list(session: Session, as_json: bool) -> None:
    """List the bases of the study; the active one is marked.

    \b
    Example:
      fly64 --study fly64 base list
    """
    store = session.store(session.design())
    noted = store.active_base()
    active = noted.base_id if noted else None
    rows = []
    for name in store.bases():
        record = store.record(store.layout(name), BASE)
        if record is None or record.outcome == "failed":
            rows.append({"base": name, "active": name == active, "failed": record.reason if record else "damaged"})
        else:
            rows.append({"base": name, "active": name == active, **record.values})
    if as_json:
        print_json({"bases": rows})
        return
    if not rows:
        click.echo(f"study {store.study} has no base yet; `fly64 run` makes the design's own")
    for row in rows:
        if "failed" in row:
            click.echo(f"{MARKS['bad']} {row['base']:40} failed: {first_line(str(row['failed']))}")
            continue
        size = f"{row['object_height_px']} x {row['object_width_px']} px"
        photons = row.get("measured_photons")
        frames = "" if photons is None else f", measured frames with {photons:.4g} photons"
        click.echo(
            f"{'*' if row['active'] else ' '} {row['base']:40} {size:16} {row['positions']:>6} positions{frames}"
        )


@base.command("use")
@click.argument("base_id")
@pass_session
def base_use(session: Session, base_id: str) -> None:
    """Make another base of the study the active one.

    Its earlier results are found as they were.

    \b
    Example:
      fly64 base use my_base_1a2b3c4d
    """
    store = session.store(session.design())
    if base_id not in store.bases():
        known = ", ".join(store.bases()) or "none yet"
        fail(f"base {base_id} is not in study {store.study}; known: {known}", status=2)
    store.required(store.layout(base_id), BASE)
    store.set_active_base(base_id, CHOSEN)
    click.echo(f"{base_id} is the active base of study {store.study}")
