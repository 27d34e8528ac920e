"""The frames of one dose, simulated, or measured ones with photons taken away."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from fly64_assets.assets.flow import Work, picture
from fly64_assets.assets.thinned import thin_dose
from fly64_assets.contract.findings import Finding
from fly64_assets.contract.mask_files import read_mask
from fly64_assets.contract.npz import load_base, open_npz
from fly64_assets.contract.validate import validate_pair
from fly64_assets.engines.execution import own_threads
from fly64_assets.physics.scan import SPLITS
from fly64_assets.simulation.detector import Detector, detector_step, make_detector
from fly64_assets.simulation.frames import SimulatedScan, simulate, split_metadata, write_split
from fly64_assets.store.hashing import json_sha256
from fly64_assets.store.keys import Dose
from fly64_assets.store.sidecars import verified
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.intake_terms import warned


def simulate_dose(work: Work[Dose]) -> Mapping[str, Any]:
    """Simulate the frames of one dose and write both halves; measured frames are thinned instead."""
    if work.design.of_measured_frames:
        return thin_dose(work)
    design, layout, dose = work.design, work.layout, work.at
    source = verified(layout.base)
    scan = simulate(
        load_base(layout.base),
        dose=dose.dose,
        scan=design.scan,
        axis=design.train_test_split_axis,
        seed=design.rng_seeds["simulation"],
        repeat=design.repeat_seed(dose.repeat),
        detector=_detector(design),
    )
    findings: list[Finding] = []
    files = [_write(work, scan, split, source.sha256, findings) for split in SPLITS]
    validate_pair(*(open_npz(path, hashed=True) for path in files)).raise_if_failed(f"{dose.place}: the two halves")
    work.build.succeed(
        {"intensity_scale": scan.scale, "split_point": scan.point}
        | {f"frames_{split}": len(scan.halves[split]) for split in SPLITS}
        | warned(findings)
    )
    return _describe(scan)


def _detector(design: StudyDesign) -> Detector | None:
    settings, path = design.detector, design.mask_path
    if settings.counts_every_photon:
        return None
    return make_detector(settings, design.patch_size_pixels, None if path is None else read_mask(path))


def _write(work: Work[Dose], scan: SimulatedScan, split: str, base_sha256: str, findings: list[Finding]) -> Path:
    design, layout = work.design, work.layout
    metadata = split_metadata(
        scan,
        split,
        patches=design.patches,
        base_name=layout.base_id,
        base_sha256=base_sha256,
        parameters_sha256=json_sha256(stages.parameters(design, work.key)),
    )
    path = layout.patched(work.at, split)
    expected = design.expectations()

    def write(file: BinaryIO) -> None:
        report = write_split(
            scan, split, file, patches=design.patches, metadata=metadata, expected=expected, threads=own_threads()
        )
        findings.extend(work.warnings(report, split))

    work.build.write(path, write)
    return work.build.staged(path)


def _describe(scan: SimulatedScan) -> Mapping[str, Any]:
    from fly64_assets.evaluation.report.figures import frames_figure

    first = next(scan.amplitude_blocks("train", 4))
    return {
        "photons_per_frame": scan.dose,
        "intensity_scale": scan.scale,
        "frames_train": len(scan.halves["train"]),
        "frames_test": len(scan.halves["test"]),
        "split_point_px": scan.point,
        **({} if scan.detector is None else detector_step(scan.detector)),
        "frames": picture(frames_figure((first * scan.scale) ** 2)),
    }
