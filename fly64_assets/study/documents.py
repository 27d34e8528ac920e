"""Between a design and its document: what is wrong in a document, field by field, in sentences.

Does not belong here: types and ranges (beside the fields), rules between fields (:mod:`fly64_assets.study.design`).
"""

from __future__ import annotations

import dataclasses
import re
import reprlib
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, Final, cast, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

QUOTED: Final = re.compile(r"'([^']*)'")
Place = tuple[Any, ...]
"""Where a value is in a document: field names and list indices from the outside in."""

MESSAGES: Final[Mapping[str, str]] = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "too_long": "must have 2 entries",
    "missing": "must have 2 entries",
    **dict.fromkeys(("dict_type", "mapping_type", "dataclass_type", "model_attributes_type"), "must be a mapping"),
}
"""Messages for pydantic's kinds of error."""


def document_fields(cls: Any) -> list[dataclasses.Field[Any]]:
    """Fields of a settings class that its document has."""
    return [f for f in dataclasses.fields(cls) if f.metadata.get("document", True)]


def plain(value: Any) -> Any:
    """A settings object in plain JSON and YAML types."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in document_fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value


def shown(value: Any) -> str:
    """A value in a message: cut where it is long, because YAML aliases can make a short file mean a huge value."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 200
    short.maxlong = 40
    short.maxlevel = 3
    return short.repr(list(value) if isinstance(value, tuple) else value)


@cache
def adapter(cls: Any) -> TypeAdapter[Any]:
    """Pydantic's reader of a settings class; made once, at the first use."""
    return TypeAdapter(cls)


def broken_fields(cls: Any, document: Mapping[str, Any]) -> dict[Place, str]:
    """Every unknown field, wrong type and value out of its range: where it is, and the sentence."""
    known = {f.name for f in document_fields(cls)}
    broken: dict[Place, str] = {(k,): _unknown(str(k), raw, known) for k, raw in document.items() if k not in known}
    try:
        adapter(cls).validate_python(without(document, broken))
    except ValidationError as error:
        for one in error.errors(include_url=False):
            place = _place(cls, one)
            broken.setdefault(place, _sentence(cls, one, place))
    return broken


def without(document: Mapping[str, Any], places: Collection[Place]) -> dict[str, Any]:
    """The document without some of its fields, or fields of its sections."""
    rest = {key: dict(value) if isinstance(value, Mapping) else value for key, value in document.items()}
    for first, *further in places:
        section = rest.get(first)
        # Pydantic garbles some names beyond the basic plane: then the whole section goes.
        if further and isinstance(section, dict) and further[0] in section:
            section.pop(further[0])
        else:
            rest.pop(first, None)
    return rest


def _place(cls: type[Any], error: ErrorDetails) -> Place:
    """Place in the document of an error, whose location names the chosen member of a union as well."""
    first, *further = cast(Place, error["loc"])
    if further and len(get_args(get_type_hints(cls)[first])) > 1 and _sections(cls, first):
        further = further[1:]
    if error["type"] == "missing":
        further = further[:-1]
    return (first, *further)


def _sections(cls: type[Any], name: Any) -> list[Any]:
    """Settings classes of which a field may be."""
    hint = get_type_hints(cls)[name]
    return [option for option in get_args(hint) or (hint,) if dataclasses.is_dataclass(option)]


def _sentence(cls: type[Any], error: ErrorDetails, place: Place) -> str:
    kind, label, raw = error["type"], _label(place), error["input"]
    if kind in ("unexpected_keyword_argument", "invalid_key"):
        sections = _sections(cls, place[0])
        section = next((s for s in sections if getattr(s, "architecture", None) in error["loc"]), sections[0])
        return _unknown(label, raw, {f.name for f in document_fields(section)})
    if kind == "union_tag_invalid":
        name = str(error["ctx"]["discriminator"]).strip("'")
        rule = _one_of(str(error["ctx"]["expected_tags"]))
        return f"{label}.{name} = {shown(raw[name])}: {rule}"
    rule = _one_of(str(error["ctx"]["expected"])) if kind == "literal_error" else MESSAGES.get(kind, error["msg"])
    return f"{label} = {shown(raw)}: {rule}"


def _one_of(quoted: str) -> str:
    return f"must be one of {', '.join(re.findall(QUOTED, quoted))}"


def _unknown(label: str, raw: Any, known: Collection[str]) -> str:
    return f"{label} = {shown(raw)}: unknown field (known: {', '.join(sorted(known))})"


def _label(place: Place) -> str:
    label = str(place[0])
    for part in place[1:]:
        if part != "[key]":
            label += f"[{part}]" if isinstance(part, int) else f".{part}"
    return label
