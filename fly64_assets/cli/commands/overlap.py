"""``fly64 overlap``: the phase that cuts the views; with a FILE the overlap of that file's positions."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from click.core import ParameterSource
from numpy.typing import NDArray

from fly64_assets.cli.commands.run import run_phase
from fly64_assets.cli.console import MARKS, Positive, fail, json_option, print_json
from fly64_assets.cli.driver.drive import RunOptions
from fly64_assets.cli.options import allow_missing_option, dose_option, driven, gridsize_option, refused, view_option
from fly64_assets.contract import values
from fly64_assets.contract.frames import find_frames, probe_of, squeezed
from fly64_assets.contract.npz import open_npz
from fly64_assets.contract.schema import OBJECT, PROBE, Arrays
from fly64_assets.contract.schema import XCOORDS as X
from fly64_assets.contract.schema import YCOORDS as Y
from fly64_assets.contract.validate import validate_base
from fly64_assets.physics.illumination import probe_diameter_px as measured_diameter
from fly64_assets.physics.overlap import ASSUMED_DIAMETER_FRACTION, COUNTED, compute_overlap_metrics, counted
from fly64_assets.physics.probe_overlap import DIAMETERS, NeighbourMeans, ProbeOverlap, overlap_of_discs, probe_overlap

FILE_OPTIONS: Final = (
    "--s-img",
    "--n-groups",
    "--neighbor-count",
    "--probe-diameter-px",
    "--rng-seed-subsample",
    "--json",
)
JUDGED: Final = (values.AMPLITUDE, values.CENTRE, values.COORDINATES, values.FINITE)
"""Rules of a base about values, of which an overlap would come out wrong without a word."""


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@dose_option
@view_option
@gridsize_option
@refused("--split", "a view is cut from both halves of the scan")
@refused("--backend", "no network is involved")
@allow_missing_option
@click.option(
    "--s-img",
    type=Positive(1),
    metavar="FRACTION",
    default=1.0,
    show_default=True,
    help="FILE: fraction of the frames to use.",
)
@click.option(
    "--n-groups", type=click.IntRange(1), metavar="N", default=512, show_default=True, help="FILE: groups to form."
)
@click.option(
    "--neighbor-count",
    type=click.IntRange(1),
    metavar="N",
    default=6,
    show_default=True,
    help="FILE: neighbours of each.",
)
@click.option(
    "--probe-diameter-px",
    type=Positive(),
    metavar="PX",
    help="FILE: by default measured on probeGuess, else 0.6 of the frames' side.",
)
@click.option("--rng-seed-subsample", type=click.IntRange(0), metavar="SEED", help="FILE: seed of the subsampling.")
@json_option
@functools.partial(driven, has_engines=False)
def overlap(
    options: RunOptions, file: Path | None, gridsizes: Sequence[int], allow_missing: bool, **given: Any
) -> None:
    """Cut the overlap views of every cell, or measure a FILE.

    Two uses under one name; options of the one are refused in the other.

    Without a FILE: the phase of a study between `fly64 generate` and `fly64 train`. What it cut is in the report.

    With a FILE, any NPZ with xcoords and ycoords: how much the probe overlaps between that file's positions. No study
    is touched. Area metrics of discs that hold half of the energy, then linear and area overlap with the nearest
    neighbours for three meanings of the probe's diameter, beside the overlap of the windows.

    \b
    Example:
      fly64 overlap scan.npz
      fly64 overlap scan.npz --gridsize 2 --s-img 0.8 --json    # groups of four frames, four fifths of the frames
      fly64 overlap --dose 1e3 --view dense                     # the phase, of one cell
    """
    _check_options(file)
    if file is None:
        asked = {"doses": given["doses"], "views": given["views"], "gridsizes": gridsizes}
        run_phase(options, "overlap", allow_missing, asked)
    else:
        _measure(file, gridsizes or (1,), given)


def _check_options(file: Path | None) -> None:
    """Refuse options of the other use."""
    context = click.get_current_context()
    given = {
        option.opts[0]
        for option in context.command.params
        if option.name and context.get_parameter_source(option.name) == ParameterSource.COMMANDLINE
    }
    if file is None:
        for name in given.intersection(FILE_OPTIONS):
            raise click.UsageError(f"{name} needs a FILE: it says how positions in a file are measured")
        return
    for name in given - {"file", "--gridsize", *FILE_OPTIONS}:
        raise click.UsageError(f"{name} and a FILE exclude each other: it belongs to the phase, which takes no file")


def _measure(file: Path, gridsizes: Sequence[int], given: Mapping[str, Any]) -> None:
    """Print the overlap metrics of the positions in a file."""
    if tuple(gridsizes) not in ((1,), (2,)):
        raise click.BadParameter(f"{', '.join(map(str, gridsizes))}: expected 1 or 2, once", param_hint="--gridsize")
    arrays = open_npz(file)
    coords = _positions(file, arrays)
    diameter, source = given["probe_diameter_px"], "argument"
    probe = None if diameter else probe_of(arrays)
    _judge(file, arrays, coords, probe)
    if diameter is None:
        diameter, source = _diameter(file, arrays, probe)
    s_img, n_groups, neighbors = given["s_img"], given["n_groups"], given["neighbor_count"]
    seed = given["rng_seed_subsample"]
    try:
        document = compute_overlap_metrics(
            coords, gridsizes[0], s_img, n_groups, neighbors, diameter, seed, probe_diameter_source=source
        )
    except ValueError as error:
        fail(f"{file.name}: {error}")
    if given["probe_diameter_px"] is None and probe is not None:
        found = probe_overlap(coords, probe)
    else:
        found = overlap_of_discs(coords, {"given": diameter}, window_px=_window(arrays, probe))
    if given["as_json"]:
        print_json(document | {"probe_overlap": None if found is None else found.to_dict()})
        return
    for name, value in document.items():
        click.echo(f"{name:30} {value}")
        if name in COUNTED:
            click.echo(f"{'':30} ({counted(document, name)})")
    for line in _table(found) if found else ():
        click.echo(line)


def _window(arrays: Arrays, probe: NDArray[Any] | None) -> int | None:
    """Width N of the windows, if the file shows it."""
    if probe is not None:
        return int(probe.shape[-1])
    frames = find_frames(arrays)
    return None if frames is None or not frames.size else int(frames.size)


def _table(found: ProbeOverlap) -> list[str]:
    """Linear and area overlap for every diameter, in per cent: means, and 10 % quantiles."""
    lines = [
        "",
        f"{found.positions} distinct positions, mean distance to the nearest {found.nearest_px:.2f} px, to the "
        f"{found.neighbours} nearest {found.six_px:.2f} px",
        "overlap of neighbours in %, negative for a gap:   with the nearest        with the "
        f"{found.neighbours} nearest",
        f"{'':50}{'mean':>8}{'10 % of them below':>20}{'mean':>8}{'10 % of them below':>20}",
    ]
    rows = [(f"{disc.diameter_px:.1f} px, {DIAMETERS.get(disc.diameter, 'as given')}", disc) for disc in found.discs]
    for name, disc in rows:
        lines.append(name)
        for kind, means in (("linear, 1 - d/D", disc.linear), ("area that two discs share", disc.area)):
            lines.append(_row(f"  {kind}", means))
    if found.windows is not None:
        lines += [f"windows {found.window_px} px wide", _row("  linear, 1 - d/N", found.windows)]
    return lines


def _row(name: str, means: NeighbourMeans) -> str:
    """One line of the table."""
    values = (means.nearest, means.nearest_low, means.six, means.six_low)
    return f"{name:50}" + "".join(f"{100 * value:{width}.1f}" for value, width in zip(values, (8, 20) * 2, strict=True))


def _positions(file: Path, arrays: Arrays) -> NDArray[np.float64]:
    """The coordinates of a file as (n, 2), or one sentence about what is wrong with them."""
    missing = [key for key in (X, Y) if key not in arrays]
    if missing:
        fail(f"{file.name}: {', '.join(missing)} missing; it holds {', '.join(arrays) or 'nothing'}")
    x, y = (squeezed(arrays[key], 1) for key in (X, Y))
    if x.ndim == 2 and x.shape == y.shape and x.shape[1] != 2:
        # Rows and columns of a raster, as `fly64 base import` reads them; two columns may be pairs of x and y.
        x, y = x.ravel(), y.ravel()
    for name, found in ((X, x), (Y, y)):
        if found.ndim != 1 or found.dtype.kind not in "fiu":
            shape = arrays[name].shape
            fail(f"{file.name}: {name} is {found.dtype} of shape {shape}; expected numbers of shape (n,)")
    if len(x) != len(y):
        fail(f"{file.name}: {len(x)} xcoords but {len(y)} ycoords; expected as many")
    return np.column_stack([x, y]).astype(np.float64)


def _judge(file: Path, arrays: Arrays, coords: NDArray[np.float64], probe: NDArray[Any] | None) -> None:
    """Ask what a base is asked about the values of its positions and its probe; the form of a base is not needed."""
    base: dict[str, NDArray[Any]] = {X: coords[:, 0], Y: coords[:, 1]}
    if probe is not None:
        base[PROBE] = probe
        if OBJECT in arrays:
            base[OBJECT] = arrays[OBJECT]
    report = validate_base(base)
    broken = [finding.message for finding in report.errors if finding.code in JUDGED]
    if broken:
        fail(f"{file.name}: {'; '.join(broken)} (`fly64 base check {file}` says more)")
    for finding in report.findings:
        if finding.severity == "warning":
            click.echo(f"{MARKS['warning']} {file.name}: {finding.message}", err=True)


def _diameter(file: Path, arrays: Arrays, probe: NDArray[Any] | None) -> tuple[float, str]:
    """Probe diameter measured on the file's probe, else 0.6 of its frames' side, with its source."""
    if probe is not None:
        try:
            return measured_diameter(probe), "probeGuess (half-energy disc)"
        except ValueError as error:
            fail(f"{file.name}: {error}; give --probe-diameter-px")
    frames = find_frames(arrays)
    if frames is not None and frames.size:
        return ASSUMED_DIAMETER_FRACTION * frames.size, "0.6 N (no usable probe in the file)"
    return fail(f"{file.name}: without one probe or frames the probe's diameter is unknown; give --probe-diameter-px")
