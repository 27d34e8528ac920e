"""Commands for one file: ``contract check``, ``bundle show | verify``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fly64_assets.cli.console import fail, file_argument, json_option, print_json
from fly64_assets.cli.file_options import max_bytes_option, say_finding, strict_option
from fly64_assets.contract.findings import ContractReport, FormError
from fly64_assets.contract.npz import validate_file
from fly64_assets.errors import ContractError

if TYPE_CHECKING:
    from fly64_assets.pinn.bundle import Bundle


def show_findings(file: Path, findings: ContractReport, as_json: bool, good: str = "obeys DATA-001") -> None:
    """Print the findings about a file and leave with 1 if one of them is an error."""
    if as_json:
        print_json(findings.to_dict())
    else:
        for finding in findings.findings:
            say_finding(finding)
        count = len(findings.errors)
        click.echo(f"{file.name}: {good if findings.ok else f'{count} error(s)'}")
    sys.exit(0 if findings.ok else 1)


@contextmanager
def json_failure(as_json: bool) -> Iterator[None]:
    """Where a machine reads, say as a finding that a file cannot be read at all; its form is a finding of its own."""
    try:
        yield
    except ContractError as error:
        if not as_json or isinstance(error, FormError):
            raise
        print_json({"ok": False, "findings": [{"code": "DATA-001.file", "severity": "error", "message": str(error)}]})
        sys.exit(1)


@click.group()
def contract() -> None:
    """Check a data file against the contract DATA-001.

    \b
    Example:
      fly64 contract check patched_train.npz
    """


@contract.command("check")
@file_argument
@json_option
@strict_option
@max_bytes_option
def contract_check(file: Path, as_json: bool, strict: bool, max_bytes: int | None) -> None:
    """Check a data set against DATA-001 and print every finding.

    \b
    Example:
      fly64 contract check patched_train.npz --json
    """
    with json_failure(as_json):
        findings = validate_file(file, max_bytes=max_bytes)
    if not as_json and any("`--" in finding.message for finding in findings.findings):
        click.echo(f"  · options named below are those of `fly64 import {file} NEW.npz`")
    show_findings(file, findings.strict() if strict else findings, as_json)


@click.group()
def bundle() -> None:
    """Show or verify a trained network (wts.h5.zip).

    \b
    Example:
      fly64 bundle show wts.h5.zip
    """


def _content(file: Path) -> Bundle:
    """The bundle of a path, or of the network in the package, with every member compared with its hash."""
    from fly64_assets.pinn.bundle import read_bundle
    from fly64_assets.pinn.pretrained.settings import GENERAL, bundle_file

    path = bundle_file(str(file))
    if not path.exists():
        fail(f"{file}: no such file; `{GENERAL}` names the network in the package")
    return read_bundle(path)


@bundle.command("show")
@file_argument
@json_option
def bundle_show(file: Path, as_json: bool) -> None:
    """Print what a bundle holds.

    Its architecture, its provenance, and the parameters of its training. FILE may be the word general: the network in
    the package.

    \b
    Example:
      fly64 bundle show general
      fly64 bundle show data/demo/*/training/dose_1000/dense/gs2/pinn/wts.h5.zip
    """
    content = _content(file)
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
def bundle_verify(file: Path) -> None:
    """Compare every member with its hash in the manifest. FILE may be the word general.

    \b
    Example:
      fly64 bundle verify wts.h5.zip
    """
    _content(file)
    click.echo(f"{file.name}: every member is intact")
