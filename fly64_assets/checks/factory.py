"""How a check runs: over the stages behind one partition, or without a partition key over all that are on disk."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg

from fly64_assets.automation.graph import coordinates_of, partition_of_run
from fly64_assets.automation.run_tags import materialized_in, store_of_run
from fly64_assets.checks.rules import CheckContext, Rule
from fly64_assets.errors import ArtifactError, Fly64Error
from fly64_assets.resources.study import ArtifactStoreResource, StudyResource
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.stages import keys_of
from fly64_assets.study.states import active_layout
from fly64_assets.study.table import Key, Stage


def asset_check(name: str, asset: dg.AssetsDefinition, stage: Stage, rule: Rule) -> dg.AssetChecksDefinition:
    """A partition-aware check of one asset.

    With one of its partition keys it judges that partition. Without a key, or with the key of a whole dose or of a cell
    inside its dose, it judges every partition concerned that is on disk, or of which Dagster knows a materialisation
    there, and records an evaluation for each.
    """
    partitions = asset.partitions_def
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        spec = dg.AssetCheckSpec(name, asset=asset.key, description=rule.description, partitions_def=partitions)

    @dg.multi_asset_check(name=f"{asset.key.to_python_identifier()}_{name}", specs=[spec])
    def check(
        context: dg.AssetCheckExecutionContext, study: StudyResource, store: ArtifactStoreResource
    ) -> Iterator[dg.AssetCheckResult | dg.AssetCheckEvaluation | dg.Output[None]]:
        try:
            design = study.design()
            requested = requested_partition(design, partition_of_run(context))
            artifacts = store_of_run(context, store.store(design.name), stage, requested)
        except Fly64Error as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        known = tuple(partitions.get_partition_keys()) if partitions else ()
        # What this run has just read was judged when it was written; an audit judges everything.
        inputs = not context.run.asset_selection
        if requested in known:
            passed, text = judge(
                artifacts, design, keys_of(design, stage, coordinates_of(requested)), rule, inputs=inputs
            )
            yield dg.AssetCheckResult(passed=passed, check_name=name, asset_key=asset.key, description=text)
            return
        yield dg.Output(None, output_name=spec.get_python_identifier())
        for partition in known or ("",):
            keys = keys_of(design, stage, coordinates_of(partition))
            if not concerned(partition, requested):
                continue
            if on_disk(artifacts, keys):
                passed, text = judge(artifacts, design, keys, rule, inputs=inputs)
            elif materialized_in(context.instance, stage.asset, partition, place_of(artifacts)):
                passed, text = False, gone(artifacts, stage, partition)
            else:
                continue
            context.log.info(f"{name} {partition}: {text}")
            yield dg.AssetCheckEvaluation(
                asset_key=asset.key,
                check_name=name,
                passed=passed,
                metadata={},
                description=text,
                partition=partition or None,
            )

    return check


def requested_partition(design: StudyDesign, partition_key: str) -> str:
    """The partition key of a run, if it names a dose or a cell of the study; empty for none.

    Raises :class:`Fly64Error` for a key of nothing that the study has.
    """
    doses = [str(dose) for dose in design.doses]
    if partition_key in ("", *doses, *(f"{dose}|{view}" for dose in doses for view in design.views)):
        return partition_key
    raise Fly64Error(
        f"partition {partition_key!r} is neither a dose ({', '.join(doses)}) nor a cell DOSE|VIEW "
        f"(views: {', '.join(design.views)}) of study {design.name}"
    )


def concerned(partition_key: str, requested: str) -> bool:
    """Whether a partition belongs to the requested one: a dose holds its cells, and a cell is cut from its dose."""
    return (
        not (requested and partition_key)
        or partition_key.startswith(f"{requested}|")
        or requested.startswith(f"{partition_key}|")
    )


def on_disk(store: ArtifactStore, keys: Sequence[Key]) -> bool:
    """Whether any of these stages has left a record file, intact or not."""
    try:
        layout = active_layout(store)
    except ArtifactError:
        return False
    return any(layout.record(key).exists() for key in keys)


def place_of(store: ArtifactStore) -> Path:
    """Folder of the active base, in which a study's results lie; without one the folder of the study."""
    try:
        return active_layout(store).folder
    except ArtifactError:
        return store.folder


def gone(store: ArtifactStore, stage: Stage, partition: str) -> str:
    """What it means that Dagster knows a materialisation of which nothing is on disk."""
    what = f"{stage.asset} {partition}".strip()
    return (
        f"Dagster has a materialisation of {what}, and {place_of(store)} holds nothing of it: it was deleted; "
        "materialise it again, or wipe the materialisation in Dagster if the deletion was meant"
    )


def judge(
    store: ArtifactStore, design: StudyDesign, keys: Sequence[Key], rule: Rule, *, inputs: bool = True
) -> tuple[bool, str]:
    """Judge the records of some stages, their ``inputs`` too or not: whether all passed, and the findings."""
    problems: list[str] = []
    notes: list[str] = []
    try:
        layout = active_layout(store)
        for key in keys:
            record = store.required(layout, key)
            if record.outcome == "skipped":
                notes.append(f"skipped: {record.reason}")
                continue
            checked = CheckContext(design, store, layout, record, inputs)
            problems += rule.judge(checked)
            notes += checked.notes
    except Fly64Error as error:
        problems.append(str(error))
    if problems:
        return False, "\n".join([*problems, *notes])
    return True, "\n".join(notes) or "all is well"
