"""Which of PtychoPINN's values the networks of this project can honour, and why they cannot honour the others.

Belongs here: one rule for each key that changes what a training does. Does not belong here: whether a value is legal
at all (:mod:`fly64_assets.ptychopinn.configuration`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fly64_assets.ptychopinn.configuration import LegacyConfigError

_POISSON: Final = "the loss is the Poisson likelihood alone"
_NO_TRUTH: Final = "no ground truth enters a training here; the likelihood of the counts is the loss"

SUPPORTED: Final[Mapping[str, tuple[tuple[Any, ...], str]]] = {
    "gridsize": ((1, 2), "samples hold 1 or 4 frames"),
    "model_type": (("pinn",), _NO_TRUTH),
    "amp_activation": (("sigmoid",), "amplitudes are amplitude_max times a sigmoid, a bound that is recorded"),
    "object.big": ((True,), "the frames of a group always share one object"),
    "probe.big": ((True,), "the outer head fills the border of every patch"),
    "pad_object": ((True,), "the central N/2 and the border have heads of their own"),
    "probe.mask": ((False,), "the known probe is used as it is"),
    "probe.trainable": ((False,), "the probe is known and stays fixed"),
    "intensity_scale.trainable": ((False,), "absolute counts: the scale comes from the data and stays fixed"),
    "gaussian_smoothing_sigma": ((0.0,), "neither frames nor patches are smoothed"),
    "mae_weight": ((0.0,), _POISSON),
    "nll_weight": ((1.0,), _POISSON),
    "realspace_mae_weight": ((0.0,), _NO_TRUTH),
    "realspace_weight": ((0.0,), _NO_TRUTH),
    "tv_weight": ((0.0,), _POISSON),
    "positions.provided": ((True,), "positions come with every data set"),
    "sequential_sampling": ((False,), "samples are drawn at random, with a seed"),
    "n_subsample": ((None,), "every position of the view is a seed; the overlap view chooses positions"),
    "neighbor_pool_size": ((None,), "neighbours are drawn from the neighbor_count nearest"),
}
"""Accepted values of each key, and what is done instead of the others."""

_GROUPS: Final = "groups are formed from the positions, not from a grid"
_SIMULATED: Final = "data are simulated by the study"
_PLACED: Final = "the store decides where files lie"
UNUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("offset", "outer_offset_train", "outer_offset_test", "big_gridsize"), _GROUPS),
    "max_position_jitter": "the canvas is sized from the data",
    **dict.fromkeys(("sim_jitter_scale", "default_probe_scale", "nimgs_train", "nimgs_test"), _SIMULATED),
    **dict.fromkeys(("data_source", "set_phi", "size"), _SIMULATED),
    "probe_scale": "the photon scale of the data stands in every file; probes are not normalised",
    "label": "artifacts are named by dose, view and arm",
    "h5_path": "the bundle is always wts.h5.zip",
    "debug": "what a job prints is its log",
    "use_xla_translate": "patches are placed by matrix products, compiled or not",
    "enable_oversampling": "n_groups may exceed the positions wherever g > 1 and K >= g^2",
    **dict.fromkeys(("output_prefix", "train_data_file_path", "test_data_file_path"), _PLACED),
}
"""Keys that change nothing here, and why."""


def unsupported(parameters: Mapping[str, Any]) -> list[str]:
    """Every value that the networks here cannot honour, as a sentence."""
    return [
        f"{key} = {parameters[key]!r}: only {' or '.join(repr(value) for value in accepted)} is possible here: {why}"
        for key, (accepted, why) in SUPPORTED.items()
        if key in parameters and parameters[key] not in accepted
    ]


def require_supported(parameters: Mapping[str, Any]) -> None:
    """Raise :class:`LegacyConfigError` with every value that a training here cannot honour."""
    problems = unsupported(parameters)
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise LegacyConfigError(f"the legacy parameters ask for what the network cannot do:\n{lines}")
