"""Rules of the single fields of a design: what their values must be, in words and for its JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field

from fly64_assets.physics.quantities import Rule
from fly64_assets.pinn.settings import NETWORK_PATCH_SIZES
from fly64_assets.simulation.recipe import BaseRecipe
from fly64_assets.store.keys import LONGEST_STUDY

REQUIRED_SEEDS = ("simulation", "grouping", "subsampling")
NAME_PATTERN: Final = re.compile(r"[a-z0-9_]+")
HIGHEST_DOSE: Final = 1e15
"""Photons per frame; up to here every whole number is a floating-point number too, and far above any experiment."""


def kind_of_base(value: Any) -> str:
    """Whether the base of a design is a recipe or a path."""
    return "recipe" if isinstance(value, (Mapping, BaseRecipe)) else "path"


NAME = Rule("must match [a-z0-9_]+", lambda name: bool(NAME_PATTERN.fullmatch(name)), {"pattern": "^[a-z0-9_]+$"})
SHORT = Rule(
    f"must have at most {LONGEST_STUDY} characters",
    lambda name: len(name) <= LONGEST_STUDY,
    {"maxLength": LONGEST_STUDY},
)
DOSES = Rule(
    f"every dose must be a whole number of photons, from 1 to {HIGHEST_DOSE:g}",
    lambda doses: bool(doses) and all(1 <= dose <= HIGHEST_DOSE and dose.is_integer() for dose in doses),
    {"minItems": 1, "items": {"type": "number", "minimum": 1, "maximum": HIGHEST_DOSE, "multipleOf": 1}},
)
GRIDSIZES = Rule(
    "must be a non-empty list of 1 and 2",
    lambda values: bool(values) and set(values) <= {1, 2},
    {"minItems": 1, "items": {"enum": [1, 2]}},
)
SIZES = Rule("must be one of 64, 128, 256", NETWORK_PATCH_SIZES.__contains__, {"enum": list(NETWORK_PATCH_SIZES)})
DISTINCT = Rule("must be distinct", lambda seeds: len(set(seeds)) == len(seeds), {"uniqueItems": True})
SEEDS: Final = Rule(
    "must be in [1, 2**32)",
    lambda seeds: all(1 <= seed < 2**32 for seed in seeds),
    {"items": {"type": "integer", "minimum": 1}},
)
PATH = Rule("must be a path or a recipe", bool, {"minLength": 1})
SEED_NAMES = Field(json_schema_extra={"propertyNames": {"enum": list(REQUIRED_SEEDS)}})
