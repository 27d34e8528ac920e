"""Simulated diffraction of one dose."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from fly64_assets.assets.flow import AssetEvent, Work, gate_spec, materialize, picture
from fly64_assets.automation.conditions import when_inputs_change
from fly64_assets.contract.npz import load_base, open_npz
from fly64_assets.contract.validate import validate_pair
from fly64_assets.physics.scan import SPLITS
from fly64_assets.resources.store import ArtifactStoreResource
from fly64_assets.resources.study import StudyResource
from fly64_assets.simulation.frames import SimulatedScan, simulate, split_metadata, write_split
from fly64_assets.store.hashing import json_sha256
from fly64_assets.store.sidecars import verified
from fly64_assets.study import stages
from fly64_assets.study.layout import StageKey


def simulated_dataset_asset(doses: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    """The asset ``simulated_dataset``, partitioned by dose."""

    @dg.asset(
        group_name="data",
        kinds={"numpy"},
        partitions_def=doses,
        deps=["base_dataset"],
        code_version=stages.CODE_VERSIONS["simulated"],
        automation_condition=when_inputs_change(),
        check_specs=[gate_spec("simulated_dataset", doses)],
    )
    def simulated_dataset(
        context: dg.AssetExecutionContext, study: StudyResource, store: ArtifactStoreResource
    ) -> Iterator[AssetEvent]:
        """Noisy diffraction frames at one dose (photons per frame), split into a train and a test half.

        Every frame is the squared Fourier amplitude of probe times object window, scaled so that the mean frame
        holds the dose, with seeded Poisson noise. All doses share the same positions.
        """
        design = study.design()
        key = StageKey("simulated", int(context.partition_key))
        yield from materialize(context, design, store.store(design.name), key, _simulate)

    return simulated_dataset


def _simulate(work: Work) -> Mapping[str, Any]:
    design, layout = work.design, work.layout
    source = verified(layout.base)
    assert work.key.dose is not None
    scan = simulate(
        load_base(layout.base),
        dose=work.key.dose,
        scan=design.scan,
        axis=design.train_test_split_axis,
        seed=design.rng_seeds["simulation"],
        repeat=work.design.repeat_seed(work.key.repeat),
    )
    files = [_write(work, scan, split, source.sha256) for split in SPLITS]
    validate_pair(*(open_npz(path) for path in files)).raise_if_failed(f"dose_{work.key.dose}: the two halves")
    work.build.succeed(
        {"intensity_scale": scan.scale, "split_point": scan.point}
        | {f"frames_{split}": len(scan.halves[split]) for split in SPLITS}
    )
    return _describe(scan)


def _write(work: Work, scan: SimulatedScan, split: str, base_sha256: str) -> Path:
    design, layout = work.design, work.layout
    metadata = split_metadata(
        scan,
        split,
        patches=design.patches,
        base_name=layout.base_id,
        base_sha256=base_sha256,
        parameters_sha256=json_sha256(stages.parameters(design, work.key)),
    )
    path = layout.patched(scan.dose, split, work.key.repeat)
    expected = design.expectations()
    work.build.write(
        path,
        lambda file: write_split(scan, split, file, patches=design.patches, metadata=metadata, expected=expected),
    )
    return path


def _describe(scan: SimulatedScan) -> Mapping[str, Any]:
    from fly64_assets.evaluation.report.figures import frames_figure

    first = next(scan.amplitude_blocks("train", 4))
    return {
        "photons_per_frame": scan.dose,
        "intensity_scale": scan.scale,
        "frames_train": len(scan.halves["train"]),
        "frames_test": len(scan.halves["test"]),
        "split_point_px": scan.point,
        "frames": picture(frames_figure((first * scan.scale) ** 2)),
    }
