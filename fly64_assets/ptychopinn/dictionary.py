"""PtychoPINN's dictionary ``params.cfg``: every key, its default, and which values the networks here can honour.

Belongs here: the keys. Does not belong here: the dictionary as state (:mod:`fly64_assets.ptychopinn.session`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fly64_assets.ptychopinn.configuration import InferenceConfig, LegacyConfigError, ModelConfig, TrainingConfig, keys

OTHER_DEFAULTS: Final[Mapping[str, Any]] = {
    "offset": 4, "outer_offset_train": None, "outer_offset_test": None, "big_gridsize": 10, "max_position_jitter": 10,
    "sim_jitter_scale": 0.0, "default_probe_scale": 0.7, "tv_weight": 0.0, "nimgs_train": 9, "nimgs_test": 3,
    "data_source": "generic", "set_phi": False, "label": "", "size": 392, "h5_path": "wts.h5", "npseed": 42,
    "debug": True, "use_xla_translate": True,
}  # fmt: skip
"""Keys that no field of a training sets."""

UNSET: Final[Mapping[str, Any]] = {"nepochs": 60, "probe_scale": 10.0}
"""What the old dictionary held where no dataclass had set it; not the dataclasses' defaults."""

RUN_TIME_KEYS: Final = ("intensity_scale", "probe", "timestamp")
"""Keys that old code writes while it runs; absent when a session begins."""


def _defaults(config: type[TrainingConfig | ModelConfig]) -> dict[str, Any]:
    return {key: config.__dataclass_fields__[name].default for name, key in keys(config).items()}


DEFAULTS: Final[Mapping[str, Any]] = {**OTHER_DEFAULTS, **_defaults(ModelConfig), **_defaults(TrainingConfig), **UNSET}
"""Every key of the dictionary with what it holds where a configuration has no such field."""


def legacy_parameters(
    config: TrainingConfig | InferenceConfig, others: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The whole dictionary of a configuration: paths as POSIX text, no key left to chance.

    ``others`` are values for keys that the configuration has no field for, for example ``npseed``. Raises
    :class:`LegacyConfigError` if it names an unknown key, or one that the configuration sets.
    """
    own = {key: getattr(part, name) for part in (config, config.model) for name, key in keys(type(part)).items()}
    if isinstance(config, TrainingConfig):
        own["n_groups"] = config.groups
    further = dict(others or {})
    wrong = sorted(name for name in further if name in own or name not in DEFAULTS)
    if wrong:
        raise LegacyConfigError(
            f"{', '.join(wrong)}: not among the keys that a {type(config).__name__} leaves open "
            f"({', '.join(sorted(set(DEFAULTS) - set(own)))}); set its field instead, or correct the name"
        )
    whole = {**DEFAULTS, **own, **further}
    return {key: Path(value).as_posix() if isinstance(value, os.PathLike) else value for key, value in whole.items()}


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
    "probe_scale": "every file holds the photon scale of its data; probes are not normalised",
    "label": "artifacts are named by dose, view and method",
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
        f"{key} = {parameters[key]!r}: only {' or '.join(map(repr, accepted))} is possible here: {why}"
        for key, (accepted, why) in SUPPORTED.items()
        if key in parameters and parameters[key] not in accepted
    ]


def require_supported(parameters: Mapping[str, Any]) -> None:
    """Raise :class:`LegacyConfigError` with every value that a training here cannot honour."""
    problems = [f"  - {problem}" for problem in unsupported(parameters)]
    if problems:
        lines = "\n".join(problems)
        raise LegacyConfigError(f"the legacy parameters require what the network cannot do:\n{lines}")
