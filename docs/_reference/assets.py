"""Assets, checks, jobs, sensors and schedules, from the definitions that Dagster loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg

from _reference import first_sentence, table
from fly64_assets.automation.catalogue import CODE
from fly64_assets.cli.driver.schedule import PHASES
from fly64_assets.definitions import build_definitions
from fly64_assets.study.design import load_design
from fly64_assets.study.table import JOBS, STAGES, job_assets

ROOT = Path(__file__).parents[2]

HEAD = """# Assets, checks and automation

What the Dagster UI shows, as the code location defines it. What a stage, a phase and a cell are: [glossary](glossary.md#assets-stages-phases-and-jobs). How to use
it: [the Dagster UI](../how-to/dagster-ui.md).

## In Dagster's terms

| question | answer |
|---|---|
| what is a partition | a dose, `StaticPartitionsDefinition`; or a cell, `MultiPartitionsDefinition` of `dose` and `view`, with keys such as `1000\\|dense`. Both come from the design: another design has other partitions |
| what is not a partition | repeats: one partition builds all of them. The halves of the scan: two files of one asset, or, for iterative methods, an asset for each |
| how do partitions depend on each other | a cell needs its dose (`MultiToSingleDimensionPartitionMapping`) and the same cell of other assets; the report needs whatever cells there are (`AllPartitionMapping`) |
| what is the value of an asset | none is handed on, and there is no IO manager. An asset verifies and reads the files of its inputs, writes its own and returns a `MaterializeResult` |
| where are the files | in the data root, one folder for each asset and partition ([which](artifacts.md)); the metadata of a materialisation name them. In Python: [`fly64.open_study`](python.md) |
| what is a data version | a hash of the data files: an identical rebuild makes nothing stale |
| how does a backfill run | one run for each partition, in parallel as far as the pool and the queue allow ([how](../how-to/dagster-ui.md)) |
| what happens when a check fails | `gate` ends the run before anything is materialised, and nothing downstream starts. The others report and change nothing ([more](../how-to/dagster-ui.md#when-a-check-fails)) |
"""


def page() -> str:
    """The whole page."""
    definitions = build_definitions(design=load_design("demo"))
    repository = definitions.get_repository_def()
    nodes = repository.asset_graph
    parts = [HEAD, _assets(definitions), _details(definitions, nodes), _checks(definitions), _jobs(definitions)]
    return "\n".join([*parts, _automation(definitions)])


def _specs(definitions: dg.Definitions) -> dict[str, tuple[Any, Any]]:
    found = {}
    for asset in definitions.assets or ():
        if isinstance(asset, dg.AssetsDefinition):
            (spec,) = asset.specs
            found[spec.key.to_user_string()] = (asset, spec)
    return found


def _partitions(asset: dg.AssetsDefinition) -> str:
    if asset.partitions_def is None:
        return "none"
    return "dose and view" if isinstance(asset.partitions_def, dg.MultiPartitionsDefinition) else "dose"


def _phase(name: str) -> str:
    return next(f"`fly64 {phase}`" for phase, kinds in PHASES.items() if STAGES[name].kind in kinds)


def _assets(definitions: dg.Definitions) -> str:
    rows = []
    for name, (asset, spec) in _specs(definitions).items():
        stage = STAGES[name]
        jobs = ", ".join(f"`{job}`" for job in JOBS if name in job_assets(job))
        pool = str(getattr(asset.op, "pool", None) or "")
        rows.append([
            f"[`{name}`](#{name})", f"`{stage.kind}`", _partitions(asset), jobs, f"`{pool}`" if pool else "",
            ", ".join(f"`{kind}`" for kind in sorted(spec.kinds)), _phase(name),
        ])  # fmt: skip
    columns = ["asset", "kind of stage", "partitions", "jobs", "pool", "made with", "phase"]
    text = "A partition is named by its dose (`1000`), or by dose and view (`1000|dense`). An asset with a *pool* takes one of its slots while it works."
    outside = [one for one in definitions.assets or () if isinstance(one, dg.AssetSpec)]
    known = [[f"`{one.key.to_user_string()}`", " ".join((one.description or "").split())] for one in outside]
    external = f"\nFrom outside, observed and not built:\n\n{table(['asset', 'what it is'], known)}\n" if known else ""
    return f"## All assets\n\n{text}\n\n{table(columns, rows)}\n{external}"


def _details(definitions: dg.Definitions, graph: Any) -> str:
    parts = ["## Each asset\n"]
    for name, (asset, spec) in _specs(definitions).items():
        inputs = sorted(parent.to_user_string() for parent in graph.get(spec.key).parent_keys)
        checks = [check.name for check in asset.check_specs]
        for check in definitions.asset_checks or ():
            checks += [one.name for one in check.check_specs if one.asset_key == spec.key]
        code = spec.metadata[CODE].code_references
        modules = [_module(Path(one.file_path)) for one in code]
        condition = spec.automation_condition
        rows = [
            ["inputs", ", ".join(f"`{one}`" for one in inputs) or "none"],
            ["checks", ", ".join(f"`{one}`" for one in checks)],
            ["code", ", ".join(f"`{one}`" for one in modules)],
            ["group", f"`{spec.group_name}`"],
            ["metadata before it has results", ", ".join(f"`{one}`" for one in spec.metadata)],
            ["built by automation", condition.get_label() or "" if condition else "never"],
        ]
        parts.append(f"### `{name}`\n\n{spec.description}\n\n{table(['', ''], rows)}\n")
    return "\n".join(parts)


def _module(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def _checks(definitions: dg.Definitions) -> str:
    found: dict[str, tuple[str, bool, list[str]]] = {}
    specs = [check for asset, _ in _specs(definitions).values() for check in asset.check_specs]
    specs += [one for check in definitions.asset_checks or () for one in check.check_specs]
    for one in specs:
        found.setdefault(one.name, (one.description or "", one.blocking, []))[2].append(one.asset_key.to_user_string())
    every = len(_specs(definitions))
    rows = [
        [
            f"`{name}`",
            text,
            "yes" if blocking else "no",
            "all" if len(assets) == every else ", ".join(f"`{a}`" for a in assets),
        ]
        for name, (text, blocking, assets) in found.items()
    ]
    head = "The check `gate` is a part of the asset; the others read the files again, whenever they are run, for one partition or for everything on disk."
    return f"## Checks\n\n{head}\n\n{table(['check', 'what it says', 'blocks what follows', 'assets'], rows)}\n"


def _jobs(definitions: dg.Definitions) -> str:
    rows = [[f"`{job.name}`", " ".join((job.description or "").split())] for job in definitions.jobs or ()]
    return f"## Jobs\n\n{table(['job', 'what it does'], rows)}\n"


def _automation(definitions: dg.Definitions) -> str:
    rows = [
        [
            f"`{one.name}`",
            "sensor",
            _interval(one),
            one.default_status.value.lower(),
            first_sentence(one.description or ""),
        ]
        for one in definitions.sensors or ()
    ]
    rows += [
        [
            f"`{one.name}`",
            "schedule",
            f"`{one.cron_schedule}`",
            one.default_status.value.lower(),
            first_sentence(one.description or ""),
        ]
        for one in definitions.schedules or ()
        if isinstance(one, dg.ScheduleDefinition)
    ]
    head = "*Default* is the state after installation; the page Automation of the UI switches each on and off."
    return f"## Sensors and schedules\n\n{head}\n\n{table(['name', 'kind', 'when', 'default', 'what it does'], rows)}\n"


def _interval(sensor: Any) -> str:
    seconds = sensor.minimum_interval_seconds
    return f"every {seconds} s" if seconds else "for every event"
