"""Whether measured frames can carry a study: their counts, the doses and views that exist, the overlap of the scan.

Belongs here: rules and numbers before the calibration. Does not belong here: the conversion and the calibration
(``study.measured_intake``), the rules of every data set (``contract.validate``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import scipy
from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.findings import Finding, error, information, warning
from fly64_assets.contract.metadata import decode_metadata, has_stand_in_object, positive_parameter
from fly64_assets.contract.npz import dataset_of
from fly64_assets.errors import ContractError, ProbeError
from fly64_assets.measured.thinning import rows_of
from fly64_assets.physics.illumination import probe_diameter_px
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.scan import one_sided, split_indices, split_point
from fly64_assets.pinn.settings import NETWORK_PATCH_SIZES
from fly64_assets.simulation.views import thinned
from fly64_assets.study.design import StudyDesign

FRAMES: Final = "STUDY.measured_frames"
DOSES: Final = "STUDY.measured_doses"
VIEWS: Final = "STUDY.measured_views"
SCAN: Final = "STUDY.measured_scan"
LEAST_FRAMES: Final = 8
"""Frames that a calibration and two halves of the scan need at least."""
LEAST_OVERLAP: Final = 0.5
"""Linear overlap of neighbouring positions below which a probe and an object are hardly found together."""
LEAST_OVERSAMPLING: Final = 2.0
"""Side of the window over the probe's diameter below which a diffraction pattern is undersampled."""


def measured_findings(arrays: Mapping[str, NDArray[Any]], design: StudyDesign) -> list[Finding]:
    """What a study has of a data set of measured frames, and why it cannot work with it."""
    if refused := list(_unusable(arrays, design)):
        return refused
    dataset = dataset_of(arrays)
    measurement = dataset.measurement()
    return [
        *_index_findings(measurement),
        *_count_findings(measurement, design),
        *_view_findings(measurement, design),
        *_scan_findings(measurement),
        *_object_findings(dataset.metadata, design),
    ]


def _unusable(arrays: Mapping[str, NDArray[Any]], design: StudyDesign) -> Iterator[Finding]:
    size, count = arrays[schema.PROBE].shape[-1], len(arrays[schema.XCOORDS])
    if size not in NETWORK_PATCH_SIZES:
        sizes = ", ".join(map(str, NETWORK_PATCH_SIZES))
        yield error(
            FRAMES, f"the frames are {size} px wide; the N of a study is one of {sizes} (--crop or --pad makes it one)"
        )
    elif size != design.patch_size_pixels:
        yield error(
            FRAMES,
            f"the frames are {size} px wide, and the study has patch_size_pixels = {design.patch_size_pixels}: write a "
            f"design with scan: measured and patch_size_pixels: {size} (--study FILE), or give "
            f"--{'crop' if size > design.patch_size_pixels else 'pad'} {design.patch_size_pixels}",
        )
    if count < LEAST_FRAMES:
        yield error(FRAMES, f"there are {count} frames; a study needs at least {LEAST_FRAMES}")
    if positive_parameter(decode_metadata(arrays[schema.METADATA]), "intensity_scale") is None:
        yield error(
            FRAMES,
            "the scale of the frames is not known (their values are no whole numbers of photons), and only photons can "
            "be thinned: give --gain UNITS if they are in UNITS of the detector for one photon; of "
            "amplitudes store the squares, the counts, as integers",
        )
    x, y = arrays[schema.XCOORDS], arrays[schema.YCOORDS]
    if why := one_sided(x, y, design.train_test_split_axis):
        yield error(SCAN, f"one half of the scan is empty: {why}")


def _index_findings(measurement: Measurement) -> Iterator[Finding]:
    try:
        rows_of(measurement, measurement.scan_index)
    except ContractError as problem:
        yield error(FRAMES, f"{problem}; a file without scan_index gets numbers from 0")


def _count_findings(measurement: Measurement, design: StudyDesign) -> Iterator[Finding]:
    totals = np.concatenate([counts.sum(axis=(1, 2)) for _, counts in measurement.count_blocks()])
    mean, bad = float(totals.mean()), measurement.bad_pixels
    masked = "" if bad is None else f"; {int(bad.sum())} of {bad.size} pixels are masked"
    if not mean > 0:
        yield error(FRAMES, f"there are no counts in the pixels that were measured{masked}")
        return
    yield information(
        FRAMES,
        f"{measurement.frames} frames of {measurement.patch_size} px with {mean:.4g} counts on average "
        f"({totals.min():.4g} to {totals.max():.4g}){masked}",
    )
    there = [dose for dose in design.doses if dose < mean]
    words = ", ".join(f"{dose:g}" for dose in there)
    missing = ", ".join(f"{dose:g}" for dose in design.doses if dose >= mean)
    if not there:
        yield error(
            DOSES,
            f"no dose of the study ({missing}) is below the measured {mean:.4g} photons per frame, and counts can only "
            "be taken away: give lower doses (dose_list)",
        )
    elif missing:
        yield warning(
            DOSES,
            f"doses of {words} photons per frame can be made; {missing} will be skipped: {mean:.4g} were measured",
        )
    else:
        yield information(DOSES, f"all doses can be made of the measured counts: {words} photons per frame")


def _view_findings(measurement: Measurement, design: StudyDesign) -> Iterator[Finding]:
    coords = np.c_[measurement.x, measurement.y]
    coordinate = measurement.y if design.train_test_split_axis == "y" else measurement.x
    halves = split_indices(coordinate, split_point(coordinate))
    for view in design.views:
        rule = design.view_rule(view)
        kept = {
            split: len(half) if rule.keeps_all else len(thinned(rule, coords[half], measurement.modes, view)[0].kept)
            for split, half in halves.items()
        }
        words = " and ".join(f"{number} {split}" for split, number in kept.items())
        lacking = min(kept.values()) < rule.least_frames
        tail = f"; it will be skipped where there are fewer than {rule.least_frames}" if lacking else ""
        yield (warning if lacking else information)(VIEWS, f"view {view}: {words} frames{tail}")


def _scan_findings(measurement: Measurement) -> Iterator[Finding]:
    try:
        diameter = probe_diameter_px(measurement.modes)
    except ProbeError as problem:
        yield error(SCAN, str(problem))
        return
    coords = np.c_[measurement.x, measurement.y]
    nearest = np.asarray(scipy.spatial.cKDTree(coords).query(coords, k=2)[0])[:, 1]
    step = float(np.median(nearest))
    overlap, sampling = 1 - step / diameter, measurement.patch_size / diameter
    said = (
        f"the nearest position is {step:.3g} px away (median), {step / diameter:.2g} of the first probe's diameter of "
        f"{diameter:.3g} px, a linear overlap of {max(overlap, 0.0):.0%}; the window of "
        f"{measurement.patch_size} px is {sampling:.2g} diameters wide"
    )
    if overlap < LEAST_OVERLAP:
        yield warning(SCAN, f"{said}: below {LEAST_OVERLAP:.0%} probe and object are hardly found together")
    elif sampling < LEAST_OVERSAMPLING:
        yield warning(SCAN, f"{said}: below {LEAST_OVERSAMPLING:g} the frames are sampled too coarsely")
    else:
        yield information(SCAN, said)


def _object_findings(metadata: Mapping[str, Any], design: StudyDesign) -> Iterator[Finding]:
    if design.measured.calibrate or not has_stand_in_object(metadata):
        return
    yield error(
        FRAMES,
        "the file has no object, and measured.calibrate: false takes that of the file as the reference: set it to "
        "true, or give a file with its object",
    )
