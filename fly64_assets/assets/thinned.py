"""One dose of measured frames, made by taking photons away."""

from collections.abc import Mapping
from typing import Any, BinaryIO

from fly64_assets.assets.flow import Work, picture
from fly64_assets.contract.findings import Finding
from fly64_assets.contract.npz import load_dataset, open_npz
from fly64_assets.contract.validate import validate_pair
from fly64_assets.errors import ArtifactError
from fly64_assets.measured.doses import ThinnedScan, measured_photons, split_metadata, thin, write_split
from fly64_assets.measured.thinning import THINNED, Thinning
from fly64_assets.physics.scan import SPLITS
from fly64_assets.store.hashing import json_sha256
from fly64_assets.store.keys import Dose
from fly64_assets.store.sidecars import verified
from fly64_assets.store.storage import fetched
from fly64_assets.study import stages
from fly64_assets.study.intake_terms import warned


def thin_dose(work: Work[Dose]) -> Mapping[str, Any]:
    """Thin the measured frames to one dose and write both halves; skip a dose that the frames cannot give."""
    layout, parameters = work.layout, stages.parameters(work.design, work.key)
    if not fetched(layout.measured_frames).is_file():
        raise ArtifactError(
            f"base {layout.base_id} has no measured frames, and the design {work.design.name} says scan: measured: "
            f"import them with `fly64 --study {work.design.name} base import FILE`"
        )
    source = verified(layout.measured_frames)
    measured = load_dataset(layout.measured_frames, hashed=True)
    photons = measured_photons(measured)
    thinning = Thinning(
        work.at.dose,
        photons,
        parameters["thinning"]["rule"],
        tuple(parameters["thinning"]["doses"]),
        parameters["seed"],
        parameters["repeat"],
    )
    values = {"measured_photons": photons, "source": THINNED}
    if thinning.reason:
        work.context.log.info(thinning.reason)
        work.build.skip(f"{work.at.place}: {thinning.reason}", values)
        return values
    scan = thin(measured, thinning, parameters["train_test_split_axis"])
    findings: list[Finding] = []
    for split in SPLITS:
        _write(work, scan, split, source.sha256, findings)
    files = [work.build.staged(layout.patched(work.at, split)) for split in SPLITS]
    validate_pair(*(open_npz(path, hashed=True) for path in files)).raise_if_failed(f"{work.at.place}: the two halves")
    frames = {f"frames_{split}": len(scan.halves[split]) for split in SPLITS}
    values |= {"fraction": thinning.fraction, "intensity_scale": scan.scale, "split_point": scan.point, **frames}
    work.build.succeed(values | warned(findings))
    return _describe(scan) | frames


def _write(work: Work[Dose], scan: ThinnedScan, split: str, measured_sha256: str, findings: list[Finding]) -> None:
    layout = work.layout
    metadata = split_metadata(
        scan,
        split,
        base_name=layout.base_id,
        measured_sha256=measured_sha256,
        parameters_sha256=json_sha256(stages.parameters(work.design, work.key)),
    )

    def write(file: BinaryIO) -> None:
        report = write_split(scan, split, file, metadata=metadata, expected=work.design.expectations())
        findings.extend(work.warnings(report, split))

    work.build.write(layout.patched(work.at, split), write)


def _describe(scan: ThinnedScan) -> dict[str, Any]:
    from fly64_assets.evaluation.report.figures import frames_figure

    first = next(scan.amplitude_blocks("train", 4))
    return {
        "source": THINNED,
        "photons_per_frame": scan.thinning.dose,
        "measured_photons_per_frame": scan.thinning.measured_photons,
        "fraction_of_measured_photons": scan.thinning.fraction,
        "thinning": scan.thinning.rule,
        "intensity_scale": scan.scale,
        "split_point_px": scan.point,
        "frames": picture(frames_figure((first * scan.scale) ** 2)),
    }
