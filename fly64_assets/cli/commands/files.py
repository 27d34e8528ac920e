"""Commands that look at one file: ``contract check``, ``overlap``, ``bundle show | verify``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from fly64_assets.cli.console import clean_errors, fail, json_option, print_json
from fly64_assets.contract.npz import open_npz, validate_file
from fly64_assets.contract.report import ContractReport
from fly64_assets.contract.schema import FRAMES, PROBE, Arrays
from fly64_assets.contract.schema import XCOORDS as X
from fly64_assets.contract.schema import YCOORDS as Y
from fly64_assets.errors import ContractError
from fly64_assets.physics.illumination import probe_diameter_px as measured_diameter
from fly64_assets.physics.overlap import ASSUMED_DIAMETER_FRACTION, compute_overlap_metrics

file_argument = click.argument("file", type=click.Path(path_type=Path))
MARKS = {"error": "✗", "warning": "!", "info": "·"}


def show_findings(file: Path, findings: ContractReport, as_json: bool, good: str = "obeys DATA-001") -> None:
    """Print the findings about a file and leave with 1 if one of them is an error."""
    if as_json:
        print_json(findings.to_dict())
    else:
        for finding in findings.findings:
            click.echo(f"  {MARKS[finding.severity]} {finding.code}: {finding.message}")
        count = len(findings.errors)
        click.echo(f"{file.name}: {good if findings.ok else f'{count} error(s)'}")
    sys.exit(0 if findings.ok else 1)


@contextmanager
def json_failure(as_json: bool) -> Iterator[None]:
    """Where a machine reads, say as a finding that a file cannot be read at all."""
    try:
        yield
    except ContractError as error:
        if not as_json:
            raise
        print_json({"ok": False, "findings": [{"code": "DATA-001.file", "severity": "error", "message": str(error)}]})
        sys.exit(1)


@click.group()
def contract() -> None:
    """The data contract DATA-001."""


@contract.command("check")
@file_argument
@json_option
@click.option("--max-bytes", type=int, help="Largest size that a file may declare (default 16 GiB).")
@clean_errors
def contract_check(file: Path, as_json: bool, max_bytes: int | None) -> None:
    """Check a data set against DATA-001 and print every finding.

    \b
    Example:
      fly64 contract check patched_train.npz --json
    """
    with json_failure(as_json):
        findings = validate_file(file, max_bytes=max_bytes)
    show_findings(file, findings, as_json)


@click.command("overlap")
@file_argument
@click.option("--gridsize", type=click.Choice(["1", "2"]), required=True)
@click.option("--s-img", type=click.FloatRange(0, 1, min_open=True), required=True, help="Fraction of images to use.")
@click.option("--n-groups", type=click.IntRange(1), required=True, help="Groups to form.")
@click.option("--neighbor-count", type=click.IntRange(1), default=6, show_default=True)
@click.option(
    "--probe-diameter-px",
    type=click.FloatRange(0, min_open=True),
    help="Default: measured on probeGuess, else 0.6 of the frames' side.",
)
@click.option("--rng-seed-subsample", type=click.IntRange(0), help="Seed of the subsampling.")
@json_option
@clean_errors
def file_overlap(
    file: Path,
    gridsize: str,
    s_img: float,
    n_groups: int,
    neighbor_count: int,
    probe_diameter_px: float | None,
    rng_seed_subsample: int | None,
    as_json: bool,
) -> None:
    """Measure the overlap of the positions in an NPZ file with xcoords and ycoords.

    \b
    Example:
      fly64 overlap patched_train.npz --gridsize 2 --s-img 0.8 --n-groups 512 --json
    """
    arrays = open_npz(file)
    coords = _positions(file, arrays)
    source = "argument"
    if probe_diameter_px is None:
        probe_diameter_px, source = _diameter(file, arrays)
    try:
        document = compute_overlap_metrics(
            coords,
            int(gridsize),
            s_img,
            n_groups,
            neighbor_count,
            probe_diameter_px,
            rng_seed_subsample,
            probe_diameter_source=source,
        )
    except ValueError as error:
        fail(f"{file.name}: {error}")
    if as_json:
        print_json(document)
        return
    for name, value in document.items():
        click.echo(f"{name:30} {value}")


def _positions(file: Path, arrays: Arrays) -> NDArray[np.float64]:
    """The coordinates of a file as (n, 2), or one sentence about what is wrong with them."""
    missing = [key for key in (X, Y) if key not in arrays]
    if missing:
        fail(f"{file.name}: {', '.join(missing)} missing; it holds {', '.join(arrays) or 'nothing'}")
    x, y = arrays[X], arrays[Y]
    for name, values in ((X, x), (Y, y)):
        if values.ndim != 1 or values.dtype.kind not in "fiu":
            fail(f"{file.name}: {name} is {values.dtype} of shape {values.shape}; expected numbers of shape (n,)")
    if len(x) != len(y):
        fail(f"{file.name}: {len(x)} xcoords but {len(y)} ycoords; expected as many")
    return np.column_stack([x, y]).astype(np.float64)


def _diameter(file: Path, arrays: Arrays) -> tuple[float, str]:
    """Probe diameter measured on the file's probe, else 0.6 of its frames' side, with its source."""
    probe = np.squeeze(arrays[PROBE]) if PROBE in arrays else None
    if probe is not None and probe.ndim == 2 and probe.dtype.kind in "fc":
        try:
            return measured_diameter(probe), "probeGuess (half-energy disc)"
        except ValueError as error:
            fail(f"{file.name}: {error}; give --probe-diameter-px")
    if FRAMES in arrays and arrays[FRAMES].ndim == 3:
        return ASSUMED_DIAMETER_FRACTION * arrays[FRAMES].shape[-1], "0.6 N (no usable probe in the file)"
    return fail(
        f"{file.name}: holds neither one probe nor frames to tell the probe's diameter; give --probe-diameter-px"
    )


@click.group()
def bundle() -> None:
    """Trained networks (wts.h5.zip)."""


@bundle.command("show")
@file_argument
@json_option
@clean_errors
def bundle_show(file: Path, as_json: bool) -> None:
    """Print what a bundle holds: architecture, provenance, training parameters.

    \b
    Example:
      fly64 bundle show data/demo/.../pinn/wts.h5.zip
    """
    from fly64_assets.pinn.bundle import read_bundle

    content = read_bundle(file)
    document = {
        "manifest": content.manifest,
        "params": content.params,
        "weights": {name: " x ".join(map(str, array.shape)) for name, array in content.weights.items()},
        "history": {"epochs": len(content.history)},
    }
    if as_json:
        print_json(document)
        return
    for section, values in document.items():
        click.echo(section)
        for name, value in values.items():
            click.echo(f"  {name:40} {value}")


@bundle.command("verify")
@file_argument
@clean_errors
def bundle_verify(file: Path) -> None:
    """Verify every member of a bundle against the hashes in its manifest.

    \b
    Example:
      fly64 bundle verify wts.h5.zip
    """
    from fly64_assets.pinn.bundle import read_bundle

    read_bundle(file)
    click.echo(f"{file.name}: every member is intact")
