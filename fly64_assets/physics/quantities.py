"""Types of settings: a number, a count, a length in pixels, a fraction, each with its range.

A type is judged (by pydantic, when a study is read), is named in the error message and in the generated reference and
JSON Schema, all from one declaration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, Strict
from pydantic_core import PydanticCustomError, core_schema

NO_OTHER_FIELDS = ConfigDict(extra="forbid")
"""Configuration of every settings class: an unknown field is an error."""


@dataclass(frozen=True)
class Rule:
    """A range of values: how it is judged, what an error says, and its keywords in a JSON Schema.

    Attributes
    ----------
    says : str
        The rule as the end of a sentence, ``must be positive``.
    holds : callable
        Whether a value obeys.
    schema : mapping
        The same in the vocabulary of JSON Schema, as far as that can express it.

    Examples
    --------
    >>> within(0, 1, "[)").says
    'must be in [0, 1)'
    >>> within(0, 1, "[)").holds(1.0)
    False
    """

    says: str
    holds: Callable[[Any], bool]
    schema: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._judged, handler(source))

    def __get_pydantic_json_schema__(self, core: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        return handler(core) | dict(self.schema)

    def _judged(self, value: Any) -> Any:
        if not self.holds(value):
            raise PydanticCustomError("rule", "{says}", {"says": self.says})
        return value


def at_least(least: int) -> Rule:
    """Values from ``least`` on."""
    return Rule(f"must be at least {least}", lambda value: bool(value >= least), {"minimum": least})


def at_most(most: int) -> Rule:
    """Values up to ``most``; for sizes of which more would fill any machine."""
    return Rule(f"must be at most {most}", lambda value: bool(value <= most), {"maximum": most})


def within(low: float, high: float, ends: str = "[]", hint: str = "") -> Rule:
    """Values between two ends, each of which belongs to the range (``[``, ``]``) or not (``(``, ``)``)."""
    says = f"must be in {ends[0]}{low:g}, {high:g}{ends[1]}{hint}"
    schema = {"minimum" if ends[0] == "[" else "exclusiveMinimum": low}
    schema |= {"maximum" if ends[1] == "]" else "exclusiveMaximum": high}

    def holds(value: float) -> bool:
        above = low < value or (ends[0] == "[" and value == low)
        below = value < high or (ends[1] == "]" and value == high)
        return bool(above and below)

    return Rule(says, holds, schema)


def _falling(values: tuple[float, ...]) -> bool:
    positive = all(0 < value < math.inf for value in values)
    return bool(values) and positive and list(values) == sorted(set(values), reverse=True)


def whole(value: float) -> int:
    """A number without a fraction as int. Raises ``ValueError`` for any other: nothing is ever cut off.

    Examples
    --------
    >>> whole(1e5)
    100000
    """
    if not float(value).is_integer():
        raise ValueError(f"{value} is no whole number")
    return int(value)


def unit(name: str) -> Any:
    """The unit of a setting, for the reference."""
    return Field(json_schema_extra={"unit": name})


def _number(raw: Any) -> Any:
    """A whole number, or a number in quotes, is a number."""
    if isinstance(raw, (int, str)) and not isinstance(raw, bool):
        try:
            return float(raw)
        except (ValueError, OverflowError):
            return str(raw)
    return raw


def _listed(raw: Any) -> Any:
    return tuple(raw) if isinstance(raw, list) else raw


LISTED = (BeforeValidator(_listed), Strict())
"""Annotation of a tuple: a document gives it as a list."""

Text = Annotated[str, Strict()]
Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict()]
Count = Annotated[Whole, at_least(1), at_most(1_000_000)]
Number = Annotated[float, BeforeValidator(_number, json_schema_input_type=float), Strict()]
Finite = Annotated[Number, Rule("must be finite", math.isfinite)]
Positive = Annotated[
    Number, Rule("must be positive", lambda value: math.isfinite(value) and value > 0, {"exclusiveMinimum": 0})
]
Seed = Annotated[
    Whole, Rule("must be in [0, 2**32)", lambda value: 0 <= value < 2**32, {"minimum": 0, "exclusiveMaximum": 2**32})
]
"""Start of a random generator."""

Falling = Annotated[
    tuple[Number, ...], *LISTED, Rule("must fall and be positive, at least one", _falling, {"minItems": 1})
]
"""Positive values, each smaller than the one before."""
