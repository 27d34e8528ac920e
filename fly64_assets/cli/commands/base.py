"""``fly64 base``: make, import, check, list and choose bases."""

from __future__ import annotations

from pathlib import Path

import click

from fly64_assets.cli.commands.files import json_failure, show_findings
from fly64_assets.cli.console import Session, fail, file_argument, json_option, pass_session, print_json
from fly64_assets.cli.driver.drive import import_base
from fly64_assets.simulation.recipe import LARGEST_OBJECT_PX, PICTURES, BaseRecipe
from fly64_assets.store.artifacts import CHOSEN
from fly64_assets.store.keys import BASE
from fly64_assets.study.design import StudyDesign


def _renames(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.split("=") for value in values]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise click.BadParameter("expected OLD=NEW, for example probe=probeGuess")
    return dict(pairs)


rename_option = click.option(
    "--rename", multiple=True, callback=_renames, metavar="OLD=NEW", help="Read key OLD as NEW; may be repeated."
)


@click.group()
def base() -> None:
    """Make, import, check and choose bases.

    A base is an object, a probe and scan positions, from which frames are simulated.

    \b
    Example:
      fly64 base import my_base.npz
    """


@base.command("make")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--amplitude", default="camera", show_default=True, type=click.Choice(PICTURES), metavar="PICTURE")
@click.option("--phase", default="brick", show_default=True, type=click.Choice(PICTURES), metavar="PICTURE")
@click.option("--size", default=448, show_default=True, help="Object side in pixels.")
@click.option("--patch-size", default=64, show_default=True, help="Window side N: 64, 128 or 256.")
@click.option("--positions", default=2000, show_default=True, help="Number of scan positions.")
@click.option("--pattern", default="uniform", show_default=True, type=click.Choice(["uniform", "raster"]))
@click.option("--seed", default=42, show_default=True, help="Seed of the positions.")
@click.option("--amplitude-range", nargs=2, type=float, default=(0.7, 1.0), show_default=True, metavar="MIN MAX")
@click.option(
    "--phase-range", nargs=2, type=float, default=(0.0, 1.0), show_default=True, metavar="MIN MAX", help="In rad."
)
@click.option("--probe-radius", default=0.25, show_default=True, help="As a fraction of N.")
@click.option("--probe-edge", default=0.04, show_default=True, help="Softness of the rim, as a fraction of N.")
@click.option("--probe-curvature", default=4.0, show_default=True, help="Phase at the rim in rad.")
def base_make(file: Path, size: int, patch_size: int, **options: object) -> None:
    """Make a base file from two pictures of the scikit-image wheel; nothing is downloaded.

    \b
    Pictures: astronaut, brick, camera, cell, chelsea, clock_motion, coffee, coins, grass, gravel,
    hubble_deep_field, ihc, microaneurysms, moon, page, retina, rocket, text
    \b
    Example:
      fly64 base make my_base.npz --amplitude moon --phase retina --size 512
    """
    from fly64_assets.contract.schema import base_arrays
    from fly64_assets.store.atomic import write_atomically
    from fly64_assets.study.intake import npz_bytes, recipe_base

    recipe = BaseRecipe(object_size=size, **options)  # type: ignore[arg-type]
    problems = StudyDesign(base=recipe, patch_size_pixels=patch_size).problems()
    if problems:
        # A size that is right as such and too large for any machine is no error of usage.
        status = 1 if size > LARGEST_OBJECT_PX else 2
        fail(f"{file} is not made: {'; '.join(map(_of_option, problems))}", status)
    content = npz_bytes(base_arrays(recipe_base(recipe, patch_size, file.stem)))
    digest, size_bytes = write_atomically(file, lambda target: target.write(content))
    click.echo(f"{file}: {size} x {size} px object, {recipe.positions} positions, {size_bytes:,} bytes")
    click.echo(f"SHA256 {digest}")


def _of_option(problem: str) -> str:
    """A broken rule with the option of ``fly64 base make`` in place of the design's field."""
    field, rest = problem.split(" ", 1)
    name = {"base.object_size": "size", "patch_size_pixels": "patch-size"}.get(field, field.removeprefix("base."))
    return f"--{name.replace('_', '-')} {rest}"


@base.command("import")
@file_argument
@rename_option
@pass_session
def base_import(session: Session, file: Path, rename: dict[str, str]) -> None:
    """Bring a base file in any known form into the study, and make it the active base.

    \b
    Example:
      fly64 base import my_base.npz
      fly64 run
    """
    import_base(session, session.design(), file, rename)


@base.command("check")
@file_argument
@json_option
@rename_option
@click.option("--patch-size", type=int, help="Expected window side N; default: the probe's own.")
def base_check(file: Path, as_json: bool, rename: dict[str, str], patch_size: int | None) -> None:
    """Check whether a file can serve as a base, and print every finding.

    \b
    Example:
      fly64 base check my_base.npz
    """
    from fly64_assets.contract.canonical import canonicalize_base
    from fly64_assets.contract.npz import open_npz
    from fly64_assets.contract.validate import validate_base
    from fly64_assets.errors import ContractError

    try:
        arrays, done = canonicalize_base(file, rename=rename)
    except ContractError:
        # Not one of the known forms: the findings about the file as it is say why.
        with json_failure(as_json):
            found = validate_base(open_npz(file), patch_size=patch_size)
        show_findings(file, found, as_json)
        return
    if not as_json:
        for step in done:
            click.echo(f"  · on import: {step['operation']} {step['parameters'] or ''}")
    show_findings(file, validate_base(arrays, patch_size=patch_size), as_json, "can serve as a base")


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
        record = store.required(store.layout(name), BASE)
        rows.append({"base": name, "active": name == active, **record.values})
    if as_json:
        print_json({"bases": rows})
        return
    if not rows:
        click.echo(f"study {store.study} has no base yet; `fly64 run` makes the design's own")
    for row in rows:
        size = f"{row['object_height_px']} x {row['object_width_px']} px"
        click.echo(f"{'*' if row['active'] else ' '} {row['base']:40} {size:16} {row['positions']:>6} positions")


@base.command("use")
@click.argument("base_id")
@pass_session
def base_use(session: Session, base_id: str) -> None:
    """Make another base of the study the active one; its earlier results are found as they were.

    \b
    Example:
      fly64 base use my_base_1a2b3c4d
    """
    store = session.store(session.design())
    if base_id not in store.bases():
        known = ", ".join(store.bases()) or "none yet"
        fail(f"base {base_id} is not in study {store.study}; known: {known}", status=2)
    store.set_active_base(base_id, CHOSEN)
    click.echo(f"{base_id} is the active base of study {store.study}")
