"""How a check runs: over the stages behind one partition, or without a partition key over all that are on disk.

Belongs here: the course that all checks share. Does not belong here: what a check looks at.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import dagster as dg

from fly64_assets.automation.partitions import split_cell_key
from fly64_assets.automation.run_tags import store_of_run
from fly64_assets.errors import ArtifactError, Fly64Error
from fly64_assets.resources.store import ArtifactStoreResource
from fly64_assets.resources.study import StudyResource
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.keys import StageKey
from fly64_assets.store.layout import Layout
from fly64_assets.store.records import StageRecord
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.states import active_layout


@dataclass(frozen=True)
class Subject:
    """One stage record to look at, and what is needed to do so."""

    design: StudyDesign
    store: ArtifactStore
    layout: Layout
    record: StageRecord


@dataclass(frozen=True)
class Place:
    """Which stages an asset stands for: a stage, of one split, of some network arms."""

    stage: str
    split: str | None = None
    arms: tuple[str, ...] = stages.NETWORK_ARMS


Examine = Callable[[Subject], Sequence[str]]
"""Returns one sentence for every problem; an empty sequence is a pass."""


def asset_check(
    name: str, asset: dg.AssetsDefinition, place: Place, examine: Examine, description: str
) -> dg.AssetChecksDefinition:
    """A partition-aware check of one asset.

    With one of its partition keys it judges that partition. Without a key, or with the key of a whole dose or of a cell
    inside its dose, it judges every partition concerned that is on disk and records an evaluation for each.
    """
    partitions = asset.partitions_def
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        spec = dg.AssetCheckSpec(name, asset=asset.key, description=description, partitions_def=partitions)

    @dg.multi_asset_check(name=f"{asset.key.to_python_identifier()}_{name}", specs=[spec])
    def check(
        context: dg.AssetCheckExecutionContext, study: StudyResource, store: ArtifactStoreResource
    ) -> Iterator[dg.AssetCheckResult | dg.AssetCheckEvaluation | dg.Output[None]]:
        design = study.design()
        artifacts = store_of_run(context, store.store(design.name), asset.key.to_user_string())
        known = tuple(partitions.get_partition_keys()) if partitions else ()
        asked = asked_partition(design, context.partition_key if context.has_partition_key else "")
        if asked in known:
            passed, text = judge(artifacts, design, stage_keys(design, place, asked), examine)
            yield dg.AssetCheckResult(passed=passed, check_name=name, asset_key=asset.key, description=text)
            return
        yield dg.Output(None, output_name=spec.get_python_identifier())
        for key in known or ("",):
            keys = stage_keys(design, place, key)
            if not concerned(key, asked) or not on_disk(artifacts, keys):
                continue
            passed, text = judge(artifacts, design, keys, examine)
            context.log.info(f"{name} {key}: {text}")
            yield dg.AssetCheckEvaluation(
                asset_key=asset.key,
                check_name=name,
                passed=passed,
                metadata={},
                description=text,
                partition=key or None,
            )

    return check


def asked_partition(design: StudyDesign, partition_key: str) -> str:
    """The partition key of a run, if it names a dose or a cell of the study; empty for none.

    Raises ``dagster.Failure`` with one sentence for a key of nothing that the study has.
    """
    doses = [str(dose) for dose in design.doses]
    if partition_key in ("", *doses, *(f"{dose}|{view}" for dose in doses for view in design.views)):
        return str(partition_key)
    raise dg.Failure(
        f"partition {partition_key!r} is neither a dose ({', '.join(doses)}) nor a cell DOSE|VIEW "
        f"(views: {', '.join(design.views)}) of study {design.name}",
        allow_retries=False,
    )


def concerned(partition_key: str, asked: str) -> bool:
    """Whether a partition is part of what was asked for: a dose holds its cells, and a cell stands on its dose."""
    return (
        not (asked and partition_key) or partition_key.startswith(f"{asked}|") or asked.startswith(f"{partition_key}|")
    )


def stage_keys(design: StudyDesign, place: Place, partition_key: str) -> list[StageKey]:
    """The stages behind one partition of an asset."""
    dose, view = split_cell_key(partition_key) if partition_key else (0, "")
    return [
        key
        for key in stages.study_keys(design, place.arms)
        if stages.serves(key, place.arms)
        and (key.stage, key.dose or 0, key.view or "") == (place.stage, dose, view)
        and place.split in (None, key.split)
    ]


def on_disk(store: ArtifactStore, keys: Sequence[StageKey]) -> bool:
    """Whether any of these stages has left a record file, intact or not."""
    try:
        layout = active_layout(store)
    except ArtifactError:
        return False
    return any(layout.record(key).exists() for key in keys)


def judge(store: ArtifactStore, design: StudyDesign, keys: Sequence[StageKey], examine: Examine) -> tuple[bool, str]:
    """Examine the records of some stages: whether all is well, and the findings in words."""
    problems: list[str] = []
    notes: list[str] = []
    try:
        layout = active_layout(store)
        for key in keys:
            record = store.required(layout, key)
            if record.outcome == "skipped":
                notes.append(f"skipped: {record.reason}")
                continue
            problems += examine(Subject(design, store, layout, record))
    except Fly64Error as error:
        problems.append(str(error))
    except (KeyError, TypeError, ValueError) as error:
        problems.append(f"the record is not of the form that this check expects ({error!r}): run its stage again")
    if problems:
        return False, "\n".join(problems)
    return True, "\n".join(notes) or "all is well"
