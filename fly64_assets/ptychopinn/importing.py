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
REMARKS: Final[Mapping[str, str]] = {
    "n_groups": _COUNTED,
    "n_images": f"the old name of n_groups; {_COUNTED}",
    "backend": "choose with `fly64 run --backend`",
    "model_path": "bundles lie where the store puts them",
    "num_workers": "frames are in memory from the start",
    "strategy": "one device per training; several cells run at once instead",
    "accum_steps": "batches are small; every step is taken at once",
    **dict.fromkeys(("pin_memory", "persistent_workers", "prefetch_factor"), _ON_DEVICE),
    "scheduler": "a short warm-up and a cosine decay",
    "enable_progress_bar": "`fly64 run` shows the progress of all cells",
    **dict.fromkeys(("enable_checkpointing", "checkpoint_save_top_k"), _BEST_WEIGHTS),
    **dict.fromkeys(("checkpoint_monitor_metric", "checkpoint_mode"), _VALIDATION),
    "logger_backend": "history.csv in every bundle",
    "inference_batch_size": "inference goes in blocks of 64 frames",
}
"""Fields without a counterpart, and what is done instead."""


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


def read_configuration(path: Path, seeds: Mapping[str, int], broken_rules: BrokenRules) -> ImportedConfiguration:
    """Read a YAML or JSON file.

    Fields may be at the top or under ``model``, ``training``, ``inference`` and ``execution``, under their own
    names or under those of PtychoPINN's dictionary (``object.big``).

    ``seeds`` are those of a design where the file names none; ``broken_rules`` judges the design that results.
    Raises :class:`LegacyConfigError` if the file is not readable, or is no mapping.
    """
    try:
        document = read_mapping(path)
    except YamlError as error:
        raise LegacyConfigError("\n".join(error.problems)) from error
    return import_configuration(document, path.stem, seeds, broken_rules)


def import_configuration(
    document: Mapping[Any, Any], name: str, seeds: Mapping[str, int], broken_rules: BrokenRules
) -> ImportedConfiguration:
    """Judge every key of a document; ``name`` becomes the design's. See :func:`read_configuration`."""
    entries: list[Entry] = []
    values: dict[str, Any] = {}
    for key, value in _flat(document, entries):
        field = FIELD_OF_KEY.get(key, key)
        if field in values and values[field] != value:
            entries.append(Entry(key, value, REFUSED, f"given twice, first as {values[field]!r}"))
            continue
        entries.append(_judged(key, field, value))
        if field in RULES and RULES[field].holds(value):
            values[field] = value
    groups, old = values.get("n_groups"), values.get("n_images")
    inference = {"model_path", "test_data_file"} <= values.keys()
    if None not in (groups, old) and groups != old and not inference:
        entries.append(Entry("n_images", old, REFUSED, f"differs from n_groups = {groups}"))
    accepted = {FIELD_OF_KEY.get(e.key, e.key): e.value for e in entries if e.verdict == UNDERSTOOD}
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


def _judged(key: str, field: str, value: Any) -> Entry:
    legacy = KEY_OF_FIELD.get(field, key)
    if field not in RULES and legacy not in DEFAULTS:
        if key in RUN_TIME_KEYS:
            return Entry(key, value, IGNORED, "written by a running job, not a setting")
        close = difflib.get_close_matches(key, [*RULES, *DEFAULTS], 1)
        return Entry(key, value, REFUSED, f"unknown key{f'; did you mean {close[0]}?' if close else ''}")
    if field in RULES and not RULES[field].holds(value):
        return Entry(key, value, REFUSED, f"must be {RULES[field].text}")
    problems = unsupported({legacy: value})
    if problems:
        return Entry(key, value, REFUSED, problems[0].split(": ", 1)[1])
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


def _design(accepted: Mapping[str, Any], name: str, seeds: Mapping[str, int]) -> dict[str, Any]:
    """Design fields of the values that were understood."""
    name = re.sub(r"[^a-z0-9_]+", "_", name.lower()) or "imported"
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
