"""Import of a PtychoPINN configuration: what every key of its YAML, JSON or params dictionary means for a study."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fly64_assets.ptychopinn.configuration import (
    InferenceConfig,
    LegacyConfigError,
    ModelConfig,
    PyTorchExecutionConfig,
    Rule,
    TrainingConfig,
    keys,
    rules,
)
from fly64_assets.ptychopinn.dictionary import DEFAULTS, RUN_TIME_KEYS, SUPPORTED, UNUSED, unsupported
from fly64_assets.store.keys import LONGEST_STUDY
from fly64_assets.store.yaml_file import YamlError, read_mapping

UNDERSTOOD: Final = "understood"
IGNORED: Final = "ignored"
REFUSED: Final = "refused"


@dataclass(frozen=True)
class Entry:
    """One key of a foreign file: its value, its ``verdict``, and the field that takes it or why none does."""

    key: str
    value: Any
    verdict: str
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        plain = self.value if isinstance(self.value, (type(None), bool, int, float, str)) else repr(self.value)
        return {"key": self.key, "value": plain, "verdict": self.verdict, "text": self.text}


SECTIONS: Final = ("model", "training", "inference", "execution")
_CONFIGS: Final = (ModelConfig, InferenceConfig, TrainingConfig)
RULES: Final[Mapping[str, Rule]] = {
    name: rule for config in (*_CONFIGS, PyTorchExecutionConfig) for name, rule in rules(config).items()
}
FIELD_OF_KEY: Final = {key: name for config in _CONFIGS for name, key in keys(config).items()}
KEY_OF_FIELD: Final = {name: key for key, name in FIELD_OF_KEY.items()}

DESIGN_FIELDS: Final[Mapping[str, str]] = {
    "N": "patch_size_pixels",
    "gridsize": "gridsizes",
    "neighbor_count": "neighbor_count",
    "nphotons": "dose_list",
    "nepochs": "pinn.epochs",
    "batch_size": "pinn.batch_size",
    "n_filters_scale": "pinn.n_filters_scale",
    "subsample_seed": "rng_seeds.subsampling",
    "npseed": "rng_seeds.grouping",
    "learning_rate": "pinn.learning_rate",
    "gradient_clip_val": "pinn.gradient_clip",
    "early_stop_patience": "pinn.patience",
}
"""Field of the design that a field of PtychoPINN becomes."""

GPU_FIELDS: Final = ("accelerator", "devices", "precision", "deterministic")
_COUNTED: Final = "a study counts: every position of a view is a seed, pinn.samples_per_position times"
_ON_DEVICE: Final = "frames are on the device from the start"
_BEST_WEIGHTS: Final = "the best weights are kept in memory and saved in the bundle"
_VALIDATION: Final = "the validation loss decides"
_SCHEDULE: Final = "a short warm-up and a cosine decay"
REMARKS: Final[Mapping[str, str]] = {
    "n_groups": _COUNTED,
    "n_images": f"the old name of n_groups; {_COUNTED}",
    "backend": "choose with `fly64 run --backend`",
    "model_path": "bundles lie where the store puts them",
    "num_workers": "frames are in memory from the start",
    "strategy": "one device per training; several cells run at once instead",
    "accum_steps": "batches are small; every step is taken at once",
    **dict.fromkeys(("pin_memory", "persistent_workers", "prefetch_factor"), _ON_DEVICE),
    "scheduler": _SCHEDULE,
    "enable_progress_bar": "`fly64 run` shows the progress of all cells",
    **dict.fromkeys(("enable_checkpointing", "checkpoint_save_top_k"), _BEST_WEIGHTS),
    **dict.fromkeys(("checkpoint_monitor_metric", "checkpoint_mode"), _VALIDATION),
    "logger_backend": "history.csv in every bundle",
    "inference_batch_size": "inference goes in blocks of 64 frames",
}
"""Fields without a counterpart, and what is done instead."""

NEWER: Final[Mapping[str, tuple[tuple[Any, ...], str]]] = {
    "architecture": (("cnn",), "the network of an imported configuration is cnn"),
    "optimizer": (("adam",), "networks are trained with Adam"),
    "weight_decay": ((0.0,), "the likelihood of the counts is the loss, without a penalty on the weights"),
    "torch_loss_mode": (("poisson",), "the loss is the Poisson likelihood alone"),
    "gradient_clip_algorithm": (("norm",), "a gradient is shortened to a largest norm"),
    "probe_mask_diameter": ((None,), "the known probe is used as it is"),
}
"""Keys of newer configurations that enter no dictionary: what is accepted, and what is done here."""

FAMILIES: Final[Mapping[str, str]] = {
    r"f?fno_.*|(generator|hybrid|resnet|spectral)_.*": "a setting of other architectures, which cnn does not read",
    r"adam_.*|momentum": "Adam keeps its usual constants",
    r"(lr|plateau|scheduler)_.*": _SCHEDULE,
    r"probe_mask_.*": "no mask is put on the probe",
    r"log_.*|.*_log_.*": "what a job prints is its log, and history.csv in every bundle",
}
"""Names of further keys of newer configurations that change nothing here, and why."""

SCALE: Final = "intensity_scale.trainable"
FIXED_SCALE: Final = "--fixed-intensity-scale"
"""Option with which a scale that was to be learned is taken from the data instead."""


@dataclass(frozen=True)
class ImportedConfiguration:
    """What a configuration of PtychoPINN becomes: an entry for every key, and the design fields."""

    entries: tuple[Entry, ...]
    design: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether nothing was refused."""
        return all(entry.verdict != REFUSED for entry in self.entries)


BrokenRules = Callable[[Mapping[str, Any]], Sequence[str]]
"""Every rule that a design document breaks, as a sentence."""


def read_configuration(
    path: Path, seeds: Mapping[str, int], broken_rules: BrokenRules, *, fixed_scale: bool = False
) -> ImportedConfiguration:
    """Read a YAML or JSON file.

    Fields may be at the top or under ``model``, ``training``, ``inference`` and ``execution``, under their own
    names or under those of PtychoPINN's dictionary (``object.big``).

    ``seeds`` are those of a design where the file names none; ``broken_rules`` judges the design that results. With
    ``fixed_scale`` a configuration that asks for a learned intensity scale is taken without it.
    Raises :class:`LegacyConfigError` if the file is not readable, or is no mapping.
    """
    try:
        document = read_mapping(path)
    except YamlError as error:
        raise LegacyConfigError("\n".join(error.problems)) from error
    return import_configuration(document, path.stem, seeds, broken_rules, fixed_scale=fixed_scale)


def import_configuration(
    document: Mapping[Any, Any],
    name: str,
    seeds: Mapping[str, int],
    broken_rules: BrokenRules,
    *,
    fixed_scale: bool = False,
) -> ImportedConfiguration:
    """Judge every key of a document; ``name`` becomes the design's. See :func:`read_configuration`."""
    entries: list[Entry] = []
    values: dict[str, Any] = {}
    accepted: dict[str, Any] = {}
    for key, raw in _flat(document, entries):
        field = FIELD_OF_KEY.get(key, key)
        # A dump of Python values says None where YAML says null.
        value = None if raw == "None" else raw
        if value is not None and field in accepted and accepted[field] != value:
            entries.append(Entry(key, value, REFUSED, f"given twice, first as {accepted[field]!r}"))
            continue
        entry = _judged(key, field, value, fixed_scale)
        entries.append(entry)
        if entry.verdict == UNDERSTOOD:
            accepted[field] = value
        if field in RULES and RULES[field].holds(value):
            values[field] = value
    groups, old = values.get("n_groups"), values.get("n_images")
    inference = {"model_path", "test_data_file"} <= values.keys()
    if None not in (groups, old) and groups != old and not inference:
        entries.append(Entry("n_images", old, REFUSED, f"differs from n_groups = {groups}"))
    design = _design(accepted, name, seeds)
    entries += [Entry("(design)", None, REFUSED, problem) for problem in broken_rules(design)]
    return ImportedConfiguration(tuple(entries), design)


def _flat(document: Mapping[Any, Any], entries: list[Entry]) -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        if key not in SECTIONS:
            yield str(key), value
        elif isinstance(value, Mapping):
            yield from _flat(value, entries)
        else:
            entries.append(Entry(str(key), value, REFUSED, "must be a mapping of fields"))


def _judged(key: str, field: str, value: Any, fixed_scale: bool) -> Entry:
    legacy = KEY_OF_FIELD.get(field, key)
    supported = SUPPORTED.get(legacy) or NEWER.get(key)
    if value is None and supported is not None and None not in supported[0]:
        return Entry(key, value, IGNORED, f"not set; {supported[1]}")
    if field not in RULES and legacy not in DEFAULTS:
        return _newer(key, value)
    if legacy == SCALE and value is True and fixed_scale:
        return Entry(key, value, IGNORED, f"taken as false with {FIXED_SCALE}: {SUPPORTED[SCALE][1]}")
    if problem := _problem(field, legacy, value):
        return Entry(key, value, REFUSED, problem)
    renamed = f"the field {field}: " if field != key else ""
    if field in DESIGN_FIELDS:
        if value is None:
            return Entry(key, value, IGNORED, f"{renamed}not set; {DESIGN_FIELDS[field]} has its own default")
        return Entry(key, value, UNDERSTOOD, f"{renamed}{DESIGN_FIELDS[field]} of the design")
    if field in GPU_FIELDS:
        return Entry(key, value, UNDERSTOOD, f"{field} of the resource `gpu`, not of a design (CONFIG-002)")
    if legacy in SUPPORTED:
        return Entry(key, value, UNDERSTOOD, f"{renamed}as everywhere here: {SUPPORTED[legacy][1]}")
    return Entry(key, value, IGNORED, renamed + (REMARKS.get(field) or UNUSED[legacy]))


def _problem(field: str, legacy: str, value: Any) -> str:
    """Why a value of a known key is refused; empty if it is not."""
    if value is not None and field in RULES and not RULES[field].holds(value):
        return f"must be {RULES[field].text}"
    if legacy == SCALE and value is True:
        return f"{SUPPORTED[SCALE][1]}; {FIXED_SCALE} takes the configuration with false instead"
    return "".join(unsupported({legacy: value})).partition(": ")[2]


def _newer(key: str, value: Any) -> Entry:
    """The verdict on a key that the known classes and the dictionary do not have."""
    if key in RUN_TIME_KEYS:
        return Entry(key, value, IGNORED, "written by a running job, not a setting")
    if key in NEWER:
        accepted, why = NEWER[key]
        if any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in accepted):
            return Entry(key, value, UNDERSTOOD, f"as everywhere here: {why}")
        return Entry(key, value, REFUSED, f"only {' or '.join(map(repr, accepted))} is possible here: {why}")
    for family, why in FAMILIES.items():
        if re.fullmatch(family, key):
            return Entry(key, value, IGNORED, why)
    close = difflib.get_close_matches(key, [*RULES, *DEFAULTS, *NEWER], 1)
    if value is None or value is False or (not value and not close):
        return Entry(key, value, IGNORED, "not known here, and a value that asks for nothing")
    return Entry(key, value, REFUSED, f"unknown key{f'; did you mean {close[0]}?' if close else ''}")


def _design(accepted: Mapping[str, Any], name: str, seeds: Mapping[str, int]) -> dict[str, Any]:
    """Design fields of the values that were understood."""
    name = re.sub(r"[^a-z0-9_]+", "_", name.lower())[:LONGEST_STUDY] or "imported"
    document: dict[str, Any] = {"name": name, "pinn": {"architecture": "cnn"}}
    for field, place in DESIGN_FIELDS.items():
        if field not in accepted:
            continue
        value = accepted[field]
        section, _, inner = place.rpartition(".")
        if field == "gridsize":
            value = [1] if value == 1 else [1, value]
        elif field == "nphotons":
            value = [float(value)]
        target = document.setdefault(section, dict(seeds)) if section else document
        target[inner] = value
    return document
