"""The tags of a run: on which base, dose and view it works. They find runs in the UI, and they keep a run on its base.

The active base of a study may change while runs are queued or executing. A run keeps the base with which it started:
its first step stores it in a tag, and what changes the active base stores it in the tags of queued runs.
"""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from fly64_assets.automation.machines import machine_note, noted_machine
from fly64_assets.errors import ArtifactError
from fly64_assets.resources.environment import asset_prefix
from fly64_assets.store.artifacts import CHOSEN, ArtifactStore
from fly64_assets.store.keys import Dose, Study
from fly64_assets.study.table import STAGES, Stage

BASE_TAG = "fly64/base"
STUDY_TAG = "fly64/study"
DOSE_TAG = "fly64/dose"
VIEW_TAG = "fly64/view"
FOLLOWS_TAG = "fly64/follows"
"""On a run that automation launched: it works on the base of the inputs that called for it."""
COMMAND_TAG = "fly64/command"
RESUME = "run"
"""A run with ``fly64/command: run`` leaves alone what is fresh; any other run rebuilds what it selects."""
MACHINE_TAG = "fly64/machine"
"""Where the processes of a run are, as :func:`~fly64_assets.automation.machines.machine_note` writes it."""
RETRY_TAG = "dagster/will_retry"
"""On a failed run: whether Dagster's daemon begins it again."""
RETRIES_TAG = "dagster/max_retries"
"""How often a run is begun again, instead of what the instance says."""
ENDED_TAG = "fly64/ended_by"
"""On a run whose job used up its time or memory: the cluster's reason."""
BACKFILL_TAG = "dagster/backfill"
PAGE = 50
"""Materialisations that are read from the instance at a time."""
BASE_ID = "base_id"
"""Metadata of every materialisation: the base it was made from."""
FOLDER = "folder"
"""Metadata of every materialisation: where its files are."""

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def store_of_run(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
    store: ArtifactStore,
    stage: Stage,
    partition: str,
) -> ArtifactStore:
    """The store as this run sees it: with the base with which the run started on a partition, which is checked already.

    Raises :class:`ArtifactError` if the run's tag names a base that the store does not hold.
    """
    run = context.instance.get_run_by_id(context.run.run_id) or context.run
    active = store.active_base()
    base = run.tags.get(BASE_TAG) or _inherited(context.instance, run, stage, partition)
    base = base or (active.base_id if active else None)
    if base is None:
        return store
    place = {STUDY_TAG: store.study, BASE_TAG: base} | partition_tags(partition)
    place = {name: value for name, value in place.items() if name not in run.tags}
    if not noted_machine(run.tags.get(MACHINE_TAG, ""), run.run_id):
        place[MACHINE_TAG] = machine_note(run.run_id)
    context.instance.add_run_tags(run.run_id, place)
    if active is not None and active.base_id == base:
        # The note may change from now on.
        return store.on(base, active.origin)
    try:
        return store.on(base, CHOSEN)
    except ArtifactError as error:
        raise ArtifactError(f"the run's tag {BASE_TAG} cannot be followed: {error}") from error


def not_again(reason: str) -> dict[str, str]:
    """Tags of a run that a cluster ended for a reason that would end it again: it is not begun again automatically."""
    return {ENDED_TAG: reason, RETRIES_TAG: "0", RETRY_TAG: "false"}


def partition_tags(partition_key: str) -> dict[str, str]:
    """Dose and view of a partition key as tags; none for what is not partitioned."""
    dose, _, view = str(partition_key).partition("|")
    tags = {DOSE_TAG: dose, VIEW_TAG: view}
    return {tag: value for tag, value in tags.items() if value and dose[:1].isdigit()}


def keep_on_base(instance: dg.DagsterInstance, run_id: str, base_id: str) -> None:
    """Note a base on the unfinished runs of this code location that are older than ``run_id`` and have none noted."""

    def location(run: dg.DagsterRun) -> str | None:
        # A run that was started in a process of its own has none.
        return run.remote_job_origin.location_name if run.remote_job_origin else None

    this = instance.get_run_record_by_id(run_id)
    for record in instance.get_run_records(filters=dg.RunsFilter(statuses=UNFINISHED)):
        run = record.dagster_run
        older = this is None or record.create_timestamp < this.create_timestamp
        ours = this is None or location(run) == location(this.dagster_run)
        if ours and older and run.run_id != run_id and not {BASE_TAG, FOLLOWS_TAG} & run.tags.keys():
            instance.add_run_tags(run.run_id, {BASE_TAG: base_id})


def _inherited(instance: dg.DagsterInstance, run: dg.DagsterRun, stage: Stage, partition: str) -> str | None:
    """The base that comes with a run: of the backfill's first run, or of the input whose update called for the run."""
    backfill = run.tags.get(BACKFILL_TAG)
    if backfill:
        first = instance.get_runs(filters=dg.RunsFilter(tags={BACKFILL_TAG: backfill}), limit=1, ascending=True)
        return next((earliest.tags.get(BASE_TAG) for earliest in first), None)
    if FOLLOWS_TAG not in run.tags or not stage.needs:
        return None
    upstream = STAGES[stage.needs[0]]
    key = {Study: "", Dose: partition.partition("|")[0]}.get(upstream.partitioned_by, partition)
    newest = newest_materialization(instance, upstream.asset, key)
    value = newest.metadata.get(BASE_ID) if newest else None
    return None if value is None else str(value.value)


def newest_materialization(instance: dg.DagsterInstance, asset: str, partition: str) -> dg.AssetMaterialization | None:
    """The newest materialisation of an asset or of one of its partitions; None if there is none."""
    return next(_materializations(instance, asset, partition, 1), None)


def materialized_in(instance: dg.DagsterInstance, asset: str, partition: str, folder: Path) -> bool:
    """Whether Dagster knows of a materialisation of an asset, or of one of its partitions, in ``folder``."""
    return any(
        FOLDER in one.metadata and Path(str(one.metadata[FOLDER].value)).is_relative_to(folder)
        for one in _materializations(instance, asset, partition, PAGE)
    )


def asset_key(asset: str) -> dg.AssetKey:
    """The key of an asset in this process: its name, after the study's where several are open side by side."""
    return dg.AssetKey([part for part in (asset_prefix(), asset) if part])


def _materializations(
    instance: dg.DagsterInstance, asset: str, partition: str, at_a_time: int
) -> Iterator[dg.AssetMaterialization]:
    """Materialisations of an asset or of one of its partitions, the newest first."""
    wanted = dg.AssetRecordsFilter(asset_key=asset_key(asset), asset_partitions=[partition] if partition else None)
    cursor: str | None = None
    while True:
        page = instance.fetch_materializations(wanted, limit=at_a_time, cursor=cursor)
        yield from (one.asset_materialization for one in page.records if one.asset_materialization is not None)
        if not page.has_more:
            return
        cursor = page.cursor
