"""PtychoPINN's configuration: the dataclasses that existing work is configured with, names and defaults kept.

Belongs here: fields, defaults, rules. Does not belong here: the dictionary that old modules read
(``ptychopinn.dictionary``), what this project's trainer supports (``ptychopinn.support``).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fly64_assets.errors import Fly64Error
from fly64_assets.pinn.settings import NETWORK_PATCH_SIZES

DEFAULT_GROUPS: Final = 512
"""What ``n_groups`` = None of a training stands for."""


class LegacyConfigError(Fly64Error):
    """A legacy configuration breaks rules, or the legacy dictionary is used without or against its session."""


@dataclass(frozen=True)
class Rule:
    """What values of a field are accepted, and how to say so."""

    holds: Callable[[Any], bool]
    text: str


def broken_rules(subject: object, rules: Mapping[str, Rule]) -> Iterator[str]:
    """Every broken rule as ``field = value: rule``."""
    for name, rule in rules.items():
        value = getattr(subject, name)
        if not rule.holds(value):
            yield f"{name} = {value!r}: must be {rule.text}"


def _require(subject: object, rules: Mapping[str, Rule], further: Sequence[str] = ()) -> None:
    problems = [*broken_rules(subject, rules), *further]
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise LegacyConfigError(f"the {type(subject).__name__} is not valid:\n{lines}")


# -- rules ----------------------------------------------------------------------------------------------------


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _one_of(*allowed: object) -> Rule:
    return Rule(lambda v: any(v == a and type(v) is type(a) for a in allowed), f"one of {', '.join(map(str, allowed))}")


def _whole(least: int) -> Rule:
    return Rule(lambda v: _is_whole(v) and v >= least, f"a whole number of at least {least}")


def _or_none(rule: Rule) -> Rule:
    return Rule(lambda v: v is None or rule.holds(v), f"{rule.text}, or None")


_SWITCH: Final = Rule(lambda v: isinstance(v, bool), "true or false")
_POSITIVE: Final = Rule(lambda v: _is_number(v) and v > 0, "a positive number")
_NOT_NEGATIVE: Final = Rule(lambda v: _is_number(v) and v >= 0, "a number of at least 0")
_PORTION: Final = Rule(lambda v: _is_number(v) and 0 <= v <= 1, "in [0, 1]")
_POWER_OF_TWO: Final = Rule(lambda v: _is_whole(v) and v >= 1 and not v & (v - 1), "a power of two")
_PATH: Final = Rule(lambda v: isinstance(v, (str, os.PathLike)) and str(v) != "", "a path")
_TEXT: Final = Rule(lambda v: isinstance(v, str), "a text")
_BACKEND: Final = _one_of("tensorflow", "pytorch")
_SEED: Final = Rule(lambda v: _is_whole(v) and 0 <= v < 2**32, "a whole number in [0, 2**32)")

MODEL_RULES: Final[Mapping[str, Rule]] = {
    "N": _one_of(*NETWORK_PATCH_SIZES),
    "gridsize": _whole(1),
    "n_filters_scale": _whole(1),
    "model_type": _one_of("pinn", "supervised"),
    "amp_activation": _one_of("sigmoid", "swish", "softplus", "relu"),
    "object_big": _SWITCH,
    "probe_big": _SWITCH,
    "probe_mask": _SWITCH,
    "pad_object": _SWITCH,
    "probe_scale": _POSITIVE,
    "gaussian_smoothing_sigma": _NOT_NEGATIVE,
}
_SAMPLING_RULES: Final[Mapping[str, Rule]] = {
    "n_groups": _or_none(_whole(1)),
    "n_subsample": _or_none(_whole(1)),
    "subsample_seed": _or_none(_SEED),
    "neighbor_count": _whole(1),
    "enable_oversampling": _SWITCH,
    "neighbor_pool_size": _or_none(_whole(1)),
    "output_dir": _PATH,
    "backend": _BACKEND,
}
TRAINING_RULES: Final[Mapping[str, Rule]] = {
    "train_data_file": _or_none(_PATH),
    "test_data_file": _or_none(_PATH),
    "batch_size": _POWER_OF_TWO,
    "nepochs": _whole(1),
    "mae_weight": _PORTION,
    "nll_weight": _PORTION,
    "realspace_mae_weight": _PORTION,
    "realspace_weight": _PORTION,
    "nphotons": _POSITIVE,
    "n_images": _or_none(_whole(1)),
    "positions_provided": _SWITCH,
    "probe_trainable": _SWITCH,
    "intensity_scale_trainable": _SWITCH,
    "sequential_sampling": _SWITCH,
    **_SAMPLING_RULES,
}
INFERENCE_RULES: Final[Mapping[str, Rule]] = {
    "model_path": _PATH,
    "test_data_file": _PATH,
    "debug": _SWITCH,
    **_SAMPLING_RULES,
}
EXECUTION_RULES: Final[Mapping[str, Rule]] = {
    "accelerator": _one_of("auto", "cpu", "gpu", "cuda", "mps"),
    "devices": _whole(1),
    "strategy": _TEXT,
    "deterministic": _SWITCH,
    "precision": _TEXT,
    "gradient_clip_val": _or_none(_POSITIVE),
    "accum_steps": _whole(1),
    "num_workers": _whole(0),
    "pin_memory": _SWITCH,
    "persistent_workers": _SWITCH,
    "prefetch_factor": _or_none(_whole(1)),
    "learning_rate": _POSITIVE,
    "scheduler": _TEXT,
    "enable_progress_bar": _SWITCH,
    "enable_checkpointing": _SWITCH,
    "checkpoint_save_top_k": _whole(-1),
    "checkpoint_monitor_metric": _TEXT,
    "checkpoint_mode": _one_of("min", "max"),
    "early_stop_patience": _whole(1),
    "logger_backend": _or_none(_TEXT),
    "inference_batch_size": _or_none(_whole(1)),
}


# -- configurations -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelConfig:
    """The model. Raises :class:`LegacyConfigError` with every broken rule, as all configurations here do."""

    N: int = 64
    gridsize: int = 1
    n_filters_scale: int = 2
    model_type: str = "pinn"
    amp_activation: str = "sigmoid"
    object_big: bool = True
    probe_big: bool = True
    probe_mask: bool = False
    pad_object: bool = True
    probe_scale: float = 4.0
    gaussian_smoothing_sigma: float = 0.0

    def __post_init__(self) -> None:
        _require(self, MODEL_RULES)


@dataclass(frozen=True)
class TrainingConfig:
    """A training. ``n_images`` is the deprecated name of ``n_groups``; None for both stands for 512."""

    model: ModelConfig = field(default_factory=ModelConfig)
    train_data_file: Path | str | None = None
    test_data_file: Path | str | None = None
    batch_size: int = 16
    nepochs: int = 50
    mae_weight: float = 0.0
    nll_weight: float = 1.0
    realspace_mae_weight: float = 0.0
    realspace_weight: float = 0.0
    nphotons: float = 1e9
    n_groups: int | None = None
    n_images: int | None = None
    n_subsample: int | None = None
    subsample_seed: int | None = None
    neighbor_count: int = 4
    enable_oversampling: bool = False
    neighbor_pool_size: int | None = None
    positions_provided: bool = True
    probe_trainable: bool = False
    intensity_scale_trainable: bool = True
    output_dir: Path | str = "training_outputs"
    sequential_sampling: bool = False
    backend: str = "tensorflow"

    def __post_init__(self) -> None:
        further = _model_problem(self.model)
        if None not in (self.n_groups, self.n_images) and self.n_groups != self.n_images:
            further += (
                f"n_images = {self.n_images}: is the old name of n_groups, which is {self.n_groups}; give one of them",
            )
        _require(self, TRAINING_RULES, further)

    @property
    def groups(self) -> int:
        """Samples per epoch: ``n_groups``, or its old name, or 512."""
        return self.n_groups or self.n_images or DEFAULT_GROUPS


@dataclass(frozen=True)
class InferenceConfig:
    """An inference; ``n_groups`` = None takes all positions."""

    model_path: Path | str
    test_data_file: Path | str
    model: ModelConfig = field(default_factory=ModelConfig)
    n_groups: int | None = None
    n_subsample: int | None = None
    subsample_seed: int | None = None
    neighbor_count: int = 4
    enable_oversampling: bool = False
    neighbor_pool_size: int | None = None
    debug: bool = False
    output_dir: Path | str = "inference_outputs"
    backend: str = "tensorflow"

    def __post_init__(self) -> None:
        _require(self, INFERENCE_RULES, _model_problem(self.model))


def _model_problem(model: object) -> tuple[str, ...]:
    return () if isinstance(model, ModelConfig) else (f"model = {model!r}: must be a ModelConfig",)


@dataclass(frozen=True)
class PyTorchExecutionConfig:
    """How and where a training runs. No field of it ever enters the dictionary (CONFIG-002)."""

    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    deterministic: bool = True
    precision: str = "32-true"
    gradient_clip_val: float | None = None
    accum_steps: int = 1
    num_workers: int = 0
    pin_memory: bool = False
    persistent_workers: bool = False
    prefetch_factor: int | None = None
    learning_rate: float = 1e-3
    scheduler: str = "Default"
    enable_progress_bar: bool = False
    enable_checkpointing: bool = True
    checkpoint_save_top_k: int = 1
    checkpoint_monitor_metric: str = "val_loss"
    checkpoint_mode: str = "min"
    early_stop_patience: int = 100
    logger_backend: str | None = "csv"
    inference_batch_size: int | None = None

    def __post_init__(self) -> None:
        _require(self, EXECUTION_RULES)
