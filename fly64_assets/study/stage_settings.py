"""On which values of a design each stage depends; what is compared to tell whether a result is out of date.

Does not belong here: the stages themselves (``study.table``), what is on disk (``study.states``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fly64_assets.physics.overlap import BASELINE
from fly64_assets.physics.scan import JUDGED_SPLIT
from fly64_assets.pinn.pretrained.settings import GENERAL, bundle_file
from fly64_assets.pinn.settings import (
    LEAST_FRAMES_PER_COSINE,
    LEAST_GAIN,
    LEAST_GAIN_OF_PRETRAINED,
    CnnSettings,
    PinnSettings,
    UnrolledSettings,
)
from fly64_assets.simulation.recipe import BaseRecipe
from fly64_assets.store.hashing import sha256_file
from fly64_assets.store.keys import Coordinates, StageKey
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.documents import plain

_Key = StageKey[Coordinates]
Settings = Callable[[StudyDesign, _Key], dict[str, Any]]
"""Exactly the values of a design on which a stage depends, those of its inputs not repeated."""

_LIMITS_OF_PRETRAINED: Final = {
    "pretrained_least_gain_of_slow_phases": LEAST_GAIN_OF_PRETRAINED,
    "pretrained_least_frames_per_cosine": LEAST_FRAMES_PER_COSINE,
}
"""What decides whether slow phases are added to the object of the network that is trained once."""


def base_settings(design: StudyDesign, _key: _Key) -> dict[str, Any]:
    """Of a base: its recipe, or the calibration of measured frames."""
    document: dict[str, Any] = {"patch_size_pixels": design.patch_size_pixels}
    if design.of_measured_frames:
        return document | {"calibration": design.measured.calibration()}
    if isinstance(design.base, BaseRecipe):
        document["recipe"] = design.to_dict()["base"]
    return document


def simulated_settings(design: StudyDesign, key: _Key) -> dict[str, Any]:
    """Of the frames of a dose, simulated or thinned."""
    of_both = {
        "dose": key.dose,
        "patch_size_pixels": design.patch_size_pixels,
        "scan": design.scan,
        "train_test_split_axis": design.train_test_split_axis,
        "seed": design.rng_seeds["simulation"],
        "repeat": design.repeat_seed(key.repeat),
    }
    if design.of_measured_frames:
        return of_both | {"thinning": _thinning(design, key)}
    return of_both | {"patches": design.patches, **_detector_settings(design)}


def _thinning(design: StudyDesign, key: _Key) -> dict[str, Any]:
    """What decides which measured photons belong to a dose: the doses of which it is a part, or all of them."""
    rule = design.measured.thinning
    others = [dose for dose in design.doses if rule == "independent" or dose > (key.dose or 0)]
    return {"rule": rule, "doses": sorted({*others, key.dose or 0}, reverse=True)}


def pairs_settings(design: StudyDesign, *splits: str | None) -> dict[str, Any]:
    """Whether a method also reconstructs halves of the photons and frames, of the half that is judged."""
    return {"pairs": True} if design.of_measured_frames and design.measured.pairs and JUDGED_SPLIT in splits else {}


def _detector_settings(design: StudyDesign) -> dict[str, Any]:
    """The detector, the mask by its content; nothing where every photon is counted, as in results of older versions."""
    if design.detector.counts_every_photon:
        return {}
    document, path = plain(design.detector), design.mask_path
    if path is not None and path.is_file():
        document["mask"] = sha256_file(path)
    return {"detector": document}


def view_settings(design: StudyDesign, key: _Key) -> dict[str, Any]:
    """Of the frames that a view keeps."""
    view = str(key.view)
    return {
        "view": view,
        "overlap": None if view == BASELINE else design.overlap_views[view],
        "gridsize": design.gridsize(view),
        "neighbor_count": design.neighbor_count,
        "patch_size_pixels": design.patch_size_pixels,
        "least_frames": design.least_frames(view),
        "seed": design.rng_seeds["subsampling"],
        **_overlap_settings(design, key),
    }


def _overlap_settings(design: StudyDesign, key: _Key) -> dict[str, Any]:
    """Of views that are designed by the probe, or expose their frames anew; nothing else, as in older results."""
    found: dict[str, Any] = {}
    if design.overlap_of == "probe":
        found |= {"overlap_of": design.overlap_of, "probe_diameter": design.probe_diameter}
    if design.dose_per == "pixel":
        seeds = {"simulation": design.rng_seeds["simulation"], "repeat": design.repeat_seed(key.repeat)}
        found |= {"dose_per": design.dose_per, "dose": key.dose, **seeds}
    return found


def network_settings(network_of: Callable[[StudyDesign], PinnSettings]) -> Settings:
    """Of the training of a network, whose settings ``network_of`` takes from a design."""

    def settings(design: StudyDesign, key: _Key) -> dict[str, Any]:
        network = network_of(design)
        groups = isinstance(network, CnnSettings) and key.gridsize > 1
        # By its content, so that another version of the network in the package makes results stale.
        shown: dict[str, Any] = {}
        if isinstance(network, UnrolledSettings) and network.start != "likelihood":
            shown["pinn_least_gain_of_slow_phases"] = LEAST_GAIN
            if network.start == "pretrained":
                shown |= {"pretrained": sha256_file(bundle_file(GENERAL)), **_LIMITS_OF_PRETRAINED}
        return {
            "arm": key.method,
            "gridsize": key.gridsize,
            # Only samples of several frames have neighbours.
            "neighbor_count": design.neighbor_count if groups else None,
            "patch_size_pixels": design.patch_size_pixels,
            "seed": design.repeat_seeds(key.repeat)["grouping"],
            "pinn": network.parameters(),
            **shown,
        }

    return settings


def iterative_settings(section: str, **fixed: Any) -> Settings:
    """Of an iterative method with its settings in a section of the design; ``fixed`` are values of its own."""

    def settings(design: StudyDesign, key: _Key) -> dict[str, Any]:
        seed = design.repeat_seeds(key.repeat)["grouping"]
        pairs = pairs_settings(design, key.split)
        return {"split": key.split, "seed": seed, section: getattr(design, section).parameters(), **fixed, **pairs}

    return settings


def tv_ml_settings(design: StudyDesign, key: _Key) -> dict[str, Any]:
    """Of regularised maximum likelihood, with what decides whether slow phases are added."""
    slow_phases = {"tv_ml_least_gain_of_slow_phases": LEAST_GAIN} if design.tv_ml.slow_phases else {}
    return iterative_settings("tv_ml")(design, key) | slow_phases


def pretrained_settings(design: StudyDesign, key: _Key) -> dict[str, Any]:
    """The network by the content of its file, so that another one under the same name makes results stale."""
    document, path = design.pretrained.parameters(), design.pretrained.file(design.folder)
    if path.is_file():
        document["network"] = sha256_file(path)
    limits = _LIMITS_OF_PRETRAINED if design.pretrained.slow_phases else {}
    return {"split": key.split, "pretrained": document, **limits, **pairs_settings(design, key.split)}
