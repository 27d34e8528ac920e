"""The base of a study: object, probe, positions."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from fly64_assets.assets.engines import numbers, reporter
from fly64_assets.assets.flow import (
    GATE,
    AssetEvent,
    catalogue_entry,
    failed_gate,
    gate_spec,
    hold_slot,
    picture,
    record_metadata,
)
from fly64_assets.automation.catalogue import WATCHED
from fly64_assets.automation.run_tags import BASE_TAG, asset_key, keep_on_base
from fly64_assets.contract.findings import Finding
from fly64_assets.contract.npz import load_base
from fly64_assets.errors import ArtifactError, Fly64Error
from fly64_assets.physics.illumination import probe_diameter_px
from fly64_assets.resources.study import ArtifactStoreResource, StudyResource
from fly64_assets.store.artifacts import CHOSEN, IMPORTED, ArtifactStore
from fly64_assets.store.keys import BASE
from fly64_assets.store.layout import Layout
from fly64_assets.store.records import StageRecord
from fly64_assets.store.sidecars import verified
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.intake import intake_file, intake_from_design
from fly64_assets.study.intake_terms import ON_THE_CPU, Engine
from fly64_assets.study.manifests import CALIBRATION_FACTS
from fly64_assets.study.states import active_layout, base_state, unfit_base
from fly64_assets.study.table import Stage


class BaseFile(dg.Config):
    """A file to import as the base. Without one, the active base is kept, or the design's own is made."""

    file: str = Field(default="", description="Path of a base file (NPZ) on the server; empty for none.")
    sha256: str = Field(default="", description="The SHA256 that the file must have; empty for any.")


def base_asset(
    stage: Stage, design: StudyDesign, *, pool: str | None = None, op_tags: Mapping[str, Any] | None = None
) -> dg.AssetsDefinition:
    """The asset ``base_dataset``; its step takes a slot of ``pool``, and requests the resources of ``op_tags``."""
    decorate: Callable[..., dg.AssetsDefinition] = dg.asset(
        **catalogue_entry(stage, design),
        deps=[asset_key(WATCHED)],
        check_specs=[gate_spec(asset_key(stage.asset))],
        required_resource_keys={"study", "store", *(("gpu",) if design.of_measured_frames else ())},
        pool=pool,
        op_tags=dict(op_tags or {}),
    )

    def base_dataset(context: dg.AssetExecutionContext, config: BaseFile) -> Iterator[AssetEvent]:
        study: StudyResource = context.resources.study
        store: ArtifactStoreResource = context.resources.store
        if pool:
            hold_slot(context, pool)
        try:
            current = study.design()
            layout, record = current_base(store.store(current.name), current, config, context)
            context.instance.add_run_tags(context.run.run_id, {BASE_TAG: layout.base_id})
            description = describe_base(layout) | describe_calibration(layout, record)
        except Fly64Error as error:
            yield failed_gate(error)
            raise dg.Failure(str(error), allow_retries=False) from None
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(record.data_sha256),
            metadata=description | record_metadata(layout, [record]) | {"origin": record.values["origin"]},
            check_results=[dg.AssetCheckResult(passed=True, check_name=GATE)],
        )

    return decorate(base_dataset)


def current_base(
    store: ArtifactStore, design: StudyDesign, config: BaseFile, context: dg.AssetExecutionContext
) -> tuple[Layout, StageRecord]:
    """The file that the run names, else the base that a user brought or chose, else the design's own.

    Raises :class:`ArtifactError` where a base that a user brought cannot be that of a study of measured frames.
    """
    active = store.active_base()
    engine = ON_THE_CPU
    if design.of_measured_frames:
        engine = Engine(context.resources.gpu.execution(), reporter(context, "calibration"))
    if active is not None:
        keep_on_base(context.instance, context.run.run_id, active.base_id)
    if config.file:
        path = Path(config.file)
        record = intake_file(
            store,
            design,
            path,
            expected=config.sha256 or None,
            announce=context.log.info,
            say=logged(context),
            engine=engine,
        )
        return active_layout(store), record
    base_state(store, design)
    if active is not None and active.origin in (IMPORTED, CHOSEN):
        layout = active_layout(store)
        verified(layout.base)
        record = store.required(layout, BASE)
        if why := unfit_base(design, layout, record):
            raise ArtifactError(why)
        return layout, record
    record = intake_from_design(store, design, context.log.info, logged(context), engine)
    return active_layout(store), record


def logged(context: dg.AssetExecutionContext) -> Callable[[Finding], None]:
    """Writes findings into the run's log."""

    def say(finding: Finding) -> None:
        write = context.log.warning if finding.severity == "warning" else context.log.info
        write(f"{finding.code}: {finding.message}")

    return say


def describe_base(layout: Layout) -> dict[str, Any]:
    """Sizes and pictures of a base for the UI."""
    from fly64_assets.evaluation.report.figures import preview, scan_figure

    base = load_base(layout.base)
    height, width = base.object.shape
    return {
        "object_height_px": height,
        "object_width_px": width,
        "patch_size_px": base.patch_size,
        "probe_diameter_px": probe_diameter_px(base.modes),
        "positions": len(base.x),
        "object": picture(preview(base.object)),
        "scan": picture(scan_figure(base.modes, base.scan)),
    }


def describe_calibration(layout: Layout, record: StageRecord) -> dict[str, Any]:
    """Numbers, deviations and the picture of a calibration for the UI; nothing for a base without frames."""
    if layout.measured_frames.name not in record.outputs:
        return {}
    verified(layout.calibration)
    document = json.loads(layout.calibration.read_bytes())
    shown = layout.calibration.with_suffix(".png")
    verified(shown)
    facts = {name: value for name, value in record.values.items() if name in CALIBRATION_FACTS}
    deviations = {f"deviation_{name}": one["sentence"] for name, one in document["deviations"].items()}
    return numbers(facts) | deviations | {"calibration": picture(shown.read_bytes())}
