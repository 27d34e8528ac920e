"""Commands that look at one file: ``contract check``, ``overlap``, ``bundle show | verify``."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import numpy as np

from fly64_assets.cli.console import clean_errors, fail, json_option, print_json
from fly64_assets.contract.npz import open_npz, validate_file
from fly64_assets.contract.report import ContractReport
from fly64_assets.errors import ContractError
from fly64_assets.physics.illumination import probe_diameter_px as measured_diameter
from fly64_assets.physics.overlap import compute_overlap_metrics

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
    try:
        findings = validate_file(file, max_bytes=max_bytes)
    except ContractError as error:
        if not as_json:
            raise
        print_json({"ok": False, "findings": [{"code": "DATA-001.file", "severity": "error", "message": str(error)}]})
        sys.exit(1)
    show_findings(file, findings, as_json)


@click.command()
@file_argument
@click.option("--gridsize", type=int, required=True, help="1 or 2.")
@click.option("--s-img", type=float, required=True, help="Fraction of the images to use, in (0, 1].")
@click.option("--n-groups", type=int, required=True, help="Groups to form.")
@click.option("--neighbor-count", type=int, default=6, show_default=True)
@click.option("--probe-diameter-px", type=float, help="Default: measured on probeGuess.")
@click.option("--rng-seed-subsample", type=int, help="Seed of the subsampling.")
@json_option
@clean_errors
def overlap(
    file: Path,
    gridsize: int,
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
    missing = [key for key in ("xcoords", "ycoords") if key not in arrays]
    if missing:
        fail(f"{file.name}: {', '.join(missing)} missing; it holds {', '.join(arrays) or 'nothing'}")
    probe, source = arrays.get("probeGuess"), "argument"
    try:
        if probe_diameter_px is None and probe is not None:
            probe_diameter_px, source = measured_diameter(np.squeeze(probe)), "probeGuess (half-energy disc)"
        document = compute_overlap_metrics(
            np.column_stack([arrays["xcoords"], arrays["ycoords"]]),
            gridsize,
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
