"""PtychoPINN's dictionary ``params.cfg`` as a function of a configuration: every key, always.

Belongs here: which field becomes which key, and the default of every other key. Does not belong here: the dictionary
as state (:mod:`fly64_assets.ptychopinn.session`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fly64_assets.ptychopinn.configuration import InferenceConfig, LegacyConfigError, ModelConfig, TrainingConfig, keys

OTHER_DEFAULTS: Final[Mapping[str, Any]] = {
    "offset": 4,
    "outer_offset_train": None,
    "outer_offset_test": None,
    "big_gridsize": 10,
    "max_position_jitter": 10,
    "sim_jitter_scale": 0.0,
    "default_probe_scale": 0.7,
    "tv_weight": 0.0,
    "nimgs_train": 9,
    "nimgs_test": 3,
    "data_source": "generic",
    "set_phi": False,
    "label": "",
    "size": 392,
    "h5_path": "wts.h5",
    "npseed": 42,
    "debug": True,
    "use_xla_translate": True,
}
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

    Parameters
    ----------
    config : TrainingConfig or InferenceConfig
    others : mapping, optional
        Values for keys that the configuration has no field for, for example ``npseed``.

    Raises
    ------
    LegacyConfigError
        If ``others`` names an unknown key, or one that the configuration sets.
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
    return {key: _plain(value) for key, value in ({**DEFAULTS, **own, **further}).items()}


def _plain(value: Any) -> Any:
    return Path(value).as_posix() if isinstance(value, os.PathLike) else value
