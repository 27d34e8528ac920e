"""The reference of the design, generated from its fields: ``python -m fly64_assets.study.reference [FOLDER]``.

Writes the tables of ``design.md`` between two marks, and ``design.schema.json`` for editors, from the fields' types,
ranges, units, defaults and sentences. FOLDER holds a ``design.md`` with these marks; by default it is
``docs/reference``.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

from fly64_assets.physics.quantities import Rule
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.documents import adapter, document_fields, plain

FIRST, LAST = "<!-- generated from the fields: first line -->\n", "<!-- generated from the fields: last line -->\n"
SCHEMA: Final = "design.schema.json"
CHOICES: Final = 6  # more allowed values than these are listed in the JSON Schema only


def sentences(cls: type[Any]) -> dict[str, str]:
    """The docstring of each field of a settings class, its bases' fields included."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        body = ast.parse(inspect.getsource(base)).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                texts[ast.unparse(field.target)] = inspect.cleandoc(str(text.value.value))
    return texts


def sections(cls: type[Any]) -> Iterator[tuple[str, type[Any]]]:
    """Fields of a class that are sections, each with every settings class that it may be."""
    for name, hint in get_type_hints(cls).items():
        for option in (hint, *get_args(hint)):
            if isinstance(option, type) and dataclasses.is_dataclass(option):
                yield name, option


def table(cls: type[Any]) -> str:
    """The fields of a settings class in Markdown."""
    hints, meanings = get_type_hints(cls, include_extras=True), sentences(cls)
    inner = {name for name, _ in sections(cls)}
    rows = ["| field | default | unit | allowed | meaning |", "|---|---|---|---|---|"]
    for field in document_fields(cls):
        default = "see below" if field.name in inner else _default(field)
        unit, allowed = ", ".join(_units(hints[field.name])), "; ".join(dict.fromkeys(_allowed(hints[field.name])))
        rows.append(f"| `{field.name}` | {default} | {unit} | {allowed} | {meanings[field.name]} |")
    return "\n".join(rows) + "\n"


def page() -> str:
    """All tables: of the design, and of each of its sections."""
    parts = [table(StudyDesign)]
    for name, cls in sections(StudyDesign):
        choice = f", `architecture: {cls.architecture}`" if hasattr(cls, "architecture") else ""
        parts.append(f"## `{name}`{choice}\n\n{inspect.getdoc(cls)}\n\n{table(cls)}")
    return "\n".join(parts).replace("``", "`")


def schema() -> dict[str, Any]:
    """The JSON Schema of a design's document, with each field's sentence and unit."""
    document = adapter(StudyDesign).json_schema()
    classes = {cls.__name__: cls for _, cls in sections(StudyDesign)}
    described = [(StudyDesign, document), *((classes[name], part) for name, part in document["$defs"].items())]
    for cls, part in described:
        meanings = sentences(cls)
        for name in set(part["properties"]) - {field.name for field in document_fields(cls)}:
            del part["properties"][name]
        for name, entry in part["properties"].items():
            entry.pop("title", None)
            entry["description"] = meanings[name]
        part["description"] = (inspect.getdoc(cls) or "").split("\n", maxsplit=1)[0].replace("``", "`")
    document["properties"]["pinn"].pop("discriminator")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document}


def written(text: str) -> str:
    """The page with its generated part made anew."""
    before, rest = text.split(FIRST)
    return f"{before}{FIRST}\n{page()}\n{LAST}{rest.split(LAST)[1]}"


def main(folder: Path) -> None:
    """Write page and schema. Ends with one sentence where the folder holds no page with both marks."""
    path = folder / "design.md"
    if not path.is_file() or any(mark not in path.read_text(encoding="utf-8") for mark in (FIRST, LAST)):
        raise SystemExit(f"{path} does not exist or lacks the lines {FIRST.strip()} and {LAST.strip()}: copy it first")
    path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
    (folder / SCHEMA).write_text(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _default(field: dataclasses.Field[Any]) -> str:
    factory = field.default_factory
    value = plain(field.default if factory is dataclasses.MISSING else factory())
    if isinstance(value, dict):
        return ", ".join(f"{name} {item:g}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(f"{item:g}" for item in value) or "–"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _metadata(hint: Any) -> Iterator[Any]:
    """Annotations of a type and of its parts, outermost last."""
    if get_origin(hint) is Annotated:
        yield from _metadata(hint.__origin__)
        yield from hint.__metadata__
    elif get_origin(hint) is Literal:
        yield hint
    else:
        for part in get_args(hint):
            yield from _metadata(part)


def _units(hint: Any) -> Iterator[str]:
    extras = (getattr(annotation, "json_schema_extra", None) for annotation in _metadata(hint))
    return (extra["unit"] for extra in extras if isinstance(extra, dict) and "unit" in extra)


def _allowed(hint: Any) -> Iterator[str]:
    for one in _metadata(hint):
        if isinstance(one, Rule):
            yield one.says.removeprefix("must be ").replace("|", "\\|")
        elif get_origin(one) is Literal:
            names = [f"`{value}`" for value in get_args(one)]
            yield ", ".join(names) if len(names) <= CHOICES else f"one of the {len(names)} names in the schema"


if __name__ == "__main__":
    main(Path(*sys.argv[1:]) if sys.argv[1:] else Path("docs/reference"))
