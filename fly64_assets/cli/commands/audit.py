"""``fly64 audit``: every stand-alone check over everything on disk, through Dagster's job of the same name."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass

import click

from fly64_assets.cli.console import Session, clean_errors, json_option, pass_session, print_json
from fly64_assets.cli.driver.instance import dagster_home
from fly64_assets.cli.options import chosen_cells
from fly64_assets.errors import Fly64Error
from fly64_assets.study.design import StudyDesign


@dataclass(frozen=True)
class Finding:
    """What one check found in one partition of an asset (empty for an asset without partitions)."""

    asset: str
    check: str
    partition: str
    passed: bool
    finding: str


@click.command()
@click.option("--dose", type=float, help="Photons per frame: only this dose and its cells.")
@click.option("--view", help="Only the cell of this dose and view.")
@json_option
@pass_session
@clean_errors
def audit(session: Session, dose: float | None, view: str | None, as_json: bool) -> None:
    """Run every check over every cell on disk (or over one dose or cell), and keep the findings for the UI.

    The checks re-read the files: SHA256, DATA-001, physics, oversampling, networks.

    \b
    Example:
      fly64 audit
      fly64 audit --dose 1e3 --view dense --json
    """
    design = session.design()
    if view is not None and dose is None:
        raise click.BadParameter("a view is part of a cell: give its --dose as well", param_hint="--view")
    doses, views = chosen_cells(design, [] if dose is None else [dose], [] if view is None else [view])
    findings = run_audit(session, design, "|".join(str(part) for part in (*doses, *views)))
    bad = [one for one in findings if not one.passed]
    if as_json:
        print_json({"ok": not bad, "checks": [asdict(one) for one in findings]})
    else:
        for one in findings:
            text = "" if one.passed and one.finding == "all is well" else f"  {one.finding}"
            click.echo(f"{'✓' if one.passed else '✗'} {one.check:18} {one.asset:28} {one.partition:16}{text}")
        click.echo(f"{len(findings)} checks, {len(bad)} failed")
    sys.exit(1 if bad else 0)


def run_audit(session: Session, design: StudyDesign, partition: str) -> list[Finding]:
    """Run the job ``audit`` on the persistent instance, with a partition key or, where it is empty, without."""
    dagster_home()
    import dagster as dg

    from fly64_assets.automation.jobs import AUDIT
    from fly64_assets.definitions import build_definitions
    from fly64_assets.resources.environment import DATA_ROOT_VARIABLE, STUDY_VARIABLE
    from fly64_assets.resources.study import ArtifactStoreResource, StudyResource

    environment = session.environment()
    resources = {
        "study": StudyResource(study=environment[STUDY_VARIABLE]),
        "store": ArtifactStoreResource(data_root=environment[DATA_ROOT_VARIABLE]),
    }
    result = (
        build_definitions(design=design, resources=resources)
        .resolve_job_def(AUDIT)
        .execute_in_process(
            instance=dg.DagsterInstance.get(),
            tags={"dagster/partition": partition} if partition else {},
            run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
            raise_on_error=False,
        )
    )
    if not result.success:
        failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        raise Fly64Error("the audit itself failed: " + "; ".join(str(one.error_display_string) for one in failures[:3]))
    found = [
        Finding(
            one.asset_check_key.asset_key.to_user_string(),
            one.asset_check_key.name,
            str(one.partition or ""),
            one.passed,
            one.description or "",
        )
        for one in result.get_asset_check_evaluations()
    ]
    return sorted(found, key=lambda one: (one.asset, one.partition, one.check))
