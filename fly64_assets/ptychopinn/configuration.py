"""PtychoPINN's configuration: the dataclasses that existing work is configured with, names, defaults and rules kept."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from fly64_assets.errors import Fly64Error
from fly64_assets.pinn.settings import NETWORK_PATCH_SIZES


class LegacyConfigError(Fly64Error):
    """A configuration of PtychoPINN breaks rules, or its dictionary is used without or against its session."""


@dataclass(frozen=True)
class Rule:
    """What values of a field are accepted, and how to say so."""

    holds: Callable[[Any], bool]
    text: str


def _require(subject: Any, further: Sequence[str] = ()) -> None:
    values = ((name, getattr(subject, name), rule) for name, rule in rules(type(subject)).items())
    problems = [f"{name} = {value!r}: must be {rule.text}" for name, value, rule in values if not rule.holds(value)]
    if problems or further:
        lines = "\n".join(f"  - {problem}" for problem in (*problems, *further))
        raise LegacyConfigError(f"the {type(subject).__name__} is not valid:\n{lines}")


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


def _setting(default: Any, rule: Rule, key: str | None = None) -> Any:
    """A field with its rule, and its key in the dictionary where that is not the field's name ("": it has none)."""
    return field(default=default, metadata={"rule": rule, "key": key})


def rules(config: type[Any]) -> dict[str, Rule]:
    """The rule of every field of a configuration, by name."""
    return {f.name: f.metadata["rule"] for f in fields(config) if "rule" in f.metadata}


def keys(config: type[Any]) -> dict[str, str]:
    """The key in PtychoPINN's dictionary of every field of a configuration that has one, by the field's name."""
    found = {f.name: f.metadata.get("key", "") for f in fields(config)}
    return {name: name if key is None else key for name, key in found.items() if key != ""}


@dataclass(frozen=True)
class ModelConfig:
    """The model. Raises :class:`LegacyConfigError` with every broken rule, as all configurations here do."""

    N: int = _setting(64, _one_of(*NETWORK_PATCH_SIZES))
    gridsize: int = _setting(1, _whole(1))
    n_filters_scale: int = _setting(2, _whole(1))
    model_type: str = _setting("pinn", _one_of("pinn", "supervised"))
    amp_activation: str = _setting("sigmoid", _one_of("sigmoid", "swish", "softplus", "relu"))
    object_big: bool = _setting(True, _SWITCH, "object.big")
    probe_big: bool = _setting(True, _SWITCH, "probe.big")
    probe_mask: bool = _setting(False, _SWITCH, "probe.mask")
    pad_object: bool = _setting(True, _SWITCH)
    probe_scale: float = _setting(4.0, _POSITIVE)
    gaussian_smoothing_sigma: float = _setting(0.0, _NOT_NEGATIVE)

    def __post_init__(self) -> None:
        _require(self)


@dataclass(frozen=True)
class TrainingConfig:
    """A training. ``n_images`` is the deprecated name of ``n_groups``; None for both means 512."""

    model: ModelConfig = field(default_factory=ModelConfig)
    train_data_file: Path | str | None = _setting(None, _or_none(_PATH), "train_data_file_path")
    test_data_file: Path | str | None = _setting(None, _or_none(_PATH), "test_data_file_path")
    batch_size: int = _setting(16, _POWER_OF_TWO)
    nepochs: int = _setting(50, _whole(1))
    mae_weight: float = _setting(0.0, _PORTION)
    nll_weight: float = _setting(1.0, _PORTION)
    realspace_mae_weight: float = _setting(0.0, _PORTION)
    realspace_weight: float = _setting(0.0, _PORTION)
    nphotons: float = _setting(1e9, _POSITIVE)
    n_groups: int | None = _setting(None, _or_none(_whole(1)))
    n_images: int | None = _setting(None, _or_none(_whole(1)), "")
    n_subsample: int | None = _setting(None, _or_none(_whole(1)))
    subsample_seed: int | None = _setting(None, _or_none(_SEED))
    neighbor_count: int = _setting(4, _whole(1))
    enable_oversampling: bool = _setting(False, _SWITCH)
    neighbor_pool_size: int | None = _setting(None, _or_none(_whole(1)))
    positions_provided: bool = _setting(True, _SWITCH, "positions.provided")
    probe_trainable: bool = _setting(False, _SWITCH, "probe.trainable")
    intensity_scale_trainable: bool = _setting(True, _SWITCH, "intensity_scale.trainable")
    output_dir: Path | str = _setting("training_outputs", _PATH, "output_prefix")
    sequential_sampling: bool = _setting(False, _SWITCH)
    backend: str = _setting("tensorflow", _BACKEND, "")

    def __post_init__(self) -> None:
        further = _model_problem(self.model)
        if None not in (self.n_groups, self.n_images) and self.n_groups != self.n_images:
            old = f"n_images = {self.n_images}: is the old name of n_groups"
            further += (f"{old}, which is {self.n_groups}; give one of them",)
        _require(self, further)

    @property
    def groups(self) -> int:
        """Samples per epoch: ``n_groups``, or its old name, or 512."""
        return self.n_groups or self.n_images or 512


@dataclass(frozen=True)
class InferenceConfig:
    """An inference; ``n_groups`` = None takes all positions."""

    model_path: Path | str = _setting(MISSING, _PATH, "")
    test_data_file: Path | str = _setting(MISSING, _PATH, "test_data_file_path")
    model: ModelConfig = field(default_factory=ModelConfig)
    n_groups: int | None = _setting(None, _or_none(_whole(1)))
    n_subsample: int | None = _setting(None, _or_none(_whole(1)))
    subsample_seed: int | None = _setting(None, _or_none(_SEED))
    neighbor_count: int = _setting(4, _whole(1))
    enable_oversampling: bool = _setting(False, _SWITCH)
    neighbor_pool_size: int | None = _setting(None, _or_none(_whole(1)))
    debug: bool = _setting(False, _SWITCH)
    output_dir: Path | str = _setting("inference_outputs", _PATH, "output_prefix")
    backend: str = _setting("tensorflow", _BACKEND, "")

    def __post_init__(self) -> None:
        _require(self, _model_problem(self.model))


def _model_problem(model: object) -> tuple[str, ...]:
    return () if isinstance(model, ModelConfig) else (f"model = {model!r}: must be a ModelConfig",)


@dataclass(frozen=True)
class PyTorchExecutionConfig:
    """How and where a training runs. No field of it ever enters the dictionary (CONFIG-002)."""

    accelerator: str = _setting("auto", _one_of("auto", "cpu", "gpu", "cuda", "mps"))
    devices: int = _setting(1, _whole(1))
    strategy: str = _setting("auto", _TEXT)
    deterministic: bool = _setting(True, _SWITCH)
    precision: str = _setting("32-true", _TEXT)
    gradient_clip_val: float | None = _setting(None, _or_none(_POSITIVE))
    accum_steps: int = _setting(1, _whole(1))
    num_workers: int = _setting(0, _whole(0))
    pin_memory: bool = _setting(False, _SWITCH)
    persistent_workers: bool = _setting(False, _SWITCH)
    prefetch_factor: int | None = _setting(None, _or_none(_whole(1)))
    learning_rate: float = _setting(1e-3, _POSITIVE)
    scheduler: str = _setting("Default", _TEXT)
    enable_progress_bar: bool = _setting(False, _SWITCH)
    enable_checkpointing: bool = _setting(True, _SWITCH)
    checkpoint_save_top_k: int = _setting(1, _whole(-1))
    checkpoint_monitor_metric: str = _setting("val_loss", _TEXT)
    checkpoint_mode: str = _setting("min", _one_of("min", "max"))
    early_stop_patience: int = _setting(100, _whole(1))
    logger_backend: str | None = _setting("csv", _or_none(_TEXT))
    inference_batch_size: int | None = _setting(None, _or_none(_whole(1)))

    def __post_init__(self) -> None:
        _require(self)
