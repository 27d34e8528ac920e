"""``fly64 advise``: which scan, dose and method, and what to expect, from the atlas of the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from fly64_assets.api.advising import advise as advise_for
from fly64_assets.cli.console import Positive, json_option, print_json
from fly64_assets.errors import AdviceError
from fly64_assets.evaluation.advice.known import LARGEST_RANGE, ObjectNumbers
from fly64_assets.evaluation.advice.question import LEAST_PHOTONS, MOST_PHOTONS
from fly64_assets.simulation.objects.kinds import OBJECT_KINDS, PROBE_KINDS

NUMBERS: Final = ("phase_range", "bandwidth", "sparsity")


def kind_or_file(value: str) -> str | Path:
    """A file where the name ends with .npz, else a kind."""
    return Path(value) if value.endswith(".npz") else value


@click.command()
@click.option(
    "--photons-per-pixel",
    type=Positive(MOST_PHOTONS, LEAST_PHOTONS),
    metavar="N",
    help="Dose: photons per object pixel.",
)
@click.option("--total-photons", type=Positive(), metavar="N", help="Dose: photons of the whole scan.")
@click.option("--photons-per-nm2", type=Positive(), metavar="N", help="Dose per area; needs --pixel-size-nm.")
@click.option("--phase-error", type=Positive(), metavar="RAD", help="Goal: root mean square of the phase's error.")
@click.option("--resolution", type=Positive(), metavar="PX", help="Goal: full period by the half-bit criterion.")
@click.option("--field", nargs=2, type=Positive(), required=True, metavar="H W", help="Field to scan, object pixels.")
@click.option("--object", "obj", metavar="KIND-or-FILE", help=f"Like {', '.join(OBJECT_KINDS)}; or an NPZ file.")
@click.option(
    "--phase-range", type=Positive(LARGEST_RANGE), metavar="RAD", help="Instead of --object: 1st to 99th percentile."
)
@click.option("--bandwidth", type=Positive(), metavar="C", help="With --phase-range: cycles/px that hold 90 %.")
@click.option("--sparsity", type=float, metavar="S", help="With --phase-range: of the gradient, 0 to 1.")
@click.option(
    "--probe", default="curved", show_default=True, metavar="KIND-or-FILE", help=f"{', '.join(PROBE_KINDS)}; or NPZ."
)
@click.option("--probe-diameter-px", type=Positive(), metavar="PX", help="Of a KIND: disc with half of the energy.")
@click.option("--pixel-size-nm", type=Positive(), metavar="NM", help="Side of an object pixel.")
@click.option("--overlap", type=float, metavar="O", help="Linear overlap 1 - d/D that is given. Default: the best.")
@click.option("--method", "methods", multiple=True, metavar="METHOD", help="Repeatable. Default: all of the atlas.")
@click.option(
    "--table", type=click.Path(path_type=Path), metavar="CSV", help="Of your own `fly64 campaign`, not the atlas."
)
@json_option
def advise(as_json: bool, **given: Any) -> None:
    """Say which scan, dose and method to take, and what error to expect.

    Give one dose or one goal, the field, and what is known of object and probe. The answer rests on the atlas, a table
    of simulated scans of several kinds of objects in the package, and says where it goes beyond them. Photons are those
    that arrive at the detector; overlap is linear, of discs with half of the probe's energy.

    \b
    Example:
      fly64 advise --photons-per-pixel 100 --object cells --field 160 160
      fly64 advise --phase-error 0.05 --phase-range 1.2 --field 500 500 --probe mine.npz --pixel-size-nm 8
    """
    asked = {
        "photons_per_pixel": given["photons_per_pixel"],
        "total_photons": given["total_photons"],
        "photons_per_nm2": given["photons_per_nm2"],
        "phase_error_rad": given["phase_error"],
        "resolution_px": given["resolution"],
    }
    if sum(value is not None for value in asked.values()) != 1:
        doses = "--photons-per-pixel, --total-photons, --photons-per-nm2"
        raise click.UsageError(f"expected exactly one of {doses}, --phase-error, --resolution")
    try:
        found = advise_for(
            given["field"],
            **asked,
            obj=_object(given),
            probe=kind_or_file(given["probe"]),
            **{name: given[name] for name in ("probe_diameter_px", "pixel_size_nm", "overlap", "methods", "table")},
        )
    except AdviceError as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        print_json(found.to_dict())
    else:
        click.echo(str(found))


def _object(given: dict[str, Any]) -> str | Path | ObjectNumbers:
    """What is known of the object: a kind, a file, or numbers."""
    numbers = {name: given[name] for name in NUMBERS if given[name] is not None}
    if given["obj"] is not None:
        if numbers:
            raise click.UsageError("--object and --phase-range, --bandwidth, --sparsity exclude each other")
        return kind_or_file(given["obj"])
    if given["phase_range"] is None:
        raise click.UsageError("nothing is known of the object: give --object, or --phase-range and what else is known")
    return ObjectNumbers(given["phase_range"], given["bandwidth"], given["sparsity"])
