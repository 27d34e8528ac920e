"""``fly64 audit``: every stand-alone check over everything on disk, through Dagster's job of the same name."""

from __future__ import annotations

import sys

import click

from fly64_assets.cli.console import MARKS, Session, clean_errors, json_option, pass_session, print_json
from fly64_assets.cli.driver.runs import run_audit
from fly64_assets.cli.options import chosen_cells


@click.command()
@click.option("--dose", type=float, metavar="PHOTONS", help="Photons per frame: only this dose and its cells.")
@click.option("--view", metavar="VIEW", help="Only the cell of this dose and view.")
@json_option
@pass_session
@clean_errors
def audit(session: Session, dose: float | None, view: str | None, as_json: bool) -> None:
    """Run every check over all data on disk.

    The checks re-read the files (SHA256, DATA-001, physics, oversampling, networks); the Dagster UI shows the findings
    as well.

    \b
    Example:
      fly64 audit
      fly64 audit --dose 1e3 --view dense --json
    """
    design = session.design()
    if view is not None and dose is None:
        raise click.BadParameter("a view is part of a cell: give its --dose as well", param_hint="--view")
    doses, views = chosen_cells(design, [] if dose is None else [dose], [] if view is None else [view])
    checks = run_audit(session, "|".join(str(part) for part in (*doses, *views)))
    failed = [check for check in checks if not check["passed"]]
    if as_json:
        print_json({"ok": not failed, "checks": checks})
    else:
        for check in checks:
            mark = MARKS["good" if check["passed"] else "bad"]
            text = "" if check["passed"] and check["finding"] == "all is well" else f"  {check['finding']}"
            click.echo(f"{mark} {check['check']:18} {check['asset']:28} {check['partition']:16}{text}")
        click.echo(f"{len(checks)} checks, {len(failed)} failed")
    sys.exit(1 if failed else 0)
