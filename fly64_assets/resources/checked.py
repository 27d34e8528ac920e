"""Resources whose settings are judged when a run makes them, before any of its steps begins."""

from typing import Any, TypeVar

import dagster as dg
from pydantic import ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import ErrorDetails

from fly64_assets.errors import EngineError

T = TypeVar("T")


class CheckedResource(dg.ConfigurableResource[T]):
    """A resource whose ranges are at its fields: what is outside them is one sentence, an :class:`EngineError`."""

    @model_validator(mode="wrap")
    @classmethod
    def _judged(cls, values: Any, handler: ModelWrapValidatorHandler["CheckedResource[T]"]) -> "CheckedResource[T]":
        try:
            return handler(values)
        except ValidationError as error:
            raise EngineError("; ".join(map(_sentence, error.errors()))) from None


def _sentence(error: ErrorDetails) -> str:
    name, given, rule = ".".join(map(str, error["loc"])), error["input"], error["msg"]
    if error["type"] == "enum":
        names = str(error["ctx"]["expected"]).replace("'", "").replace(" or ", ", ")
        return f"{name} {given!r} is unknown: expected one of {names}"
    if error["type"] == "extra_forbidden":
        return f"{name} is no setting of this resource"
    for words, plain in (
        ("Input should be ", "expected "),
        ("greater than or equal to", "at least"),
        ("less than or equal to", "at most"),
    ):
        rule = rule.replace(words, plain)
    return f"{name} = {given!r}: {rule}"
