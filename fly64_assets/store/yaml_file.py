"""YAML files that users write, read as people mean them; what can be meant in two ways is refused in a sentence.

YAML 1.1, which PyYAML reads, keeps the last of two equal keys, and takes ``0100`` for 64, ``1:30`` for 90, ``no`` for
false and ``1e5`` for a text. Here a key is the text that is written, ``1e5`` is a number, and the others are refused.
JSON is a part of YAML.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from fly64_assets.errors import Fly64Error

TAG: Final = "tag:yaml.org,2002:"
SIGN: Final = "[-+]?"
PLAIN: Final[Mapping[str, tuple[str, str]]] = {
    "bool": ("true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": ("~|null|Null|NULL|", "~nN"),
    "int": (f"{SIGN}(?:0|[1-9][0-9_]*|0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+)", "-+0123456789"),
    "float": (
        rf"{SIGN}(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"
        rf"|{SIGN}\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    "merge": ("<<", "<"),
}
"""What is written without quotes and is no text: as which type, and the characters with which it begins."""

LEADING_ZERO: Final = re.compile(SIGN + "0[0-9_]+")
BASE_60: Final = re.compile(SIGN + r"[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
SWITCHES: Final = {"yes": "true", "on": "true", "no": "false", "off": "false"}
LONGEST_QUOTE: Final = 60


class YamlError(Fly64Error):
    """A file is no YAML mapping, or says something that can be meant in two ways; ``problems`` lists all of it."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problems))


class _Loader(yaml.SafeLoader):
    """Takes for numbers, switches and nothing what ``PLAIN`` says, and everything else for text."""


class _Dumper(yaml.SafeDumper):
    """Quotes every text that one of the two readings would not take for a text."""


_Loader.yaml_implicit_resolvers = {}
for _name, (_pattern, _first) in PLAIN.items():
    for _class in (_Loader, _Dumper):
        # An empty value has no first character.
        _class.add_implicit_resolver(
            TAG + _name, re.compile(f"(?:{_pattern})$"), [*_first, *([""] if _name == "null" else [])]
        )


def _path(loader: _Loader, _class: str, node: Any) -> str:
    """A path as Python dumps it, by its parts."""
    return posixpath.join("", *map(str, loader.construct_sequence(node)))


_Loader.add_multi_constructor(f"{TAG}python/object/apply:pathlib.", _path)


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a file whose top level is a mapping. Raises :class:`YamlError`."""
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        try:
            node = loader.get_single_node()
            problems = list(_doubts(node, "", set()))
            document = None if problems or node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, OSError) as error:
        text = " ".join(str(error).split())[:500]
        raise YamlError([f"{path.name}: not readable as YAML or JSON ({text})"]) from error
    if problems:
        raise YamlError([f"{path.name}: {problem}" for problem in problems])
    if not isinstance(document, dict):
        found = "nothing" if document is None else "a list" if isinstance(document, list) else "a single value"
        raise YamlError([f"{path.name}: expected a mapping of fields, found {found}"])
    return document


def yaml_text(document: Mapping[str, Any]) -> str:
    """A document in YAML that :func:`read_mapping` and readers of YAML 1.1 read alike."""
    return yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False)


def _doubts(node: yaml.Node | None, place: str, seen: set[int]) -> Iterator[str]:
    """Everything that can be meant in two ways, each once; makes texts of all keys."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, list[int]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                yield f"line {_line(key)}: a list or a mapping stands where the name of a field is expected"
                continue
            if key.tag != f"{TAG}merge":
                key.tag = f"{TAG}str"
            lines.setdefault(key.value, []).append(_line(key))
            yield from _doubts(value, f"{place}{key.value}.", seen)
        yield from (_repeated(place + name, where) for name, where in lines.items() if len(where) > 1)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _doubts(item, place, seen)
    elif isinstance(node, yaml.ScalarNode):
        yield from _doubtful_value(node, place.rstrip("."))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _repeated(name: str, lines: list[int]) -> str:
    times = "twice" if len(lines) == 2 else f"{len(lines)} times"
    first, *further = dict.fromkeys(lines)
    where = f"lines {first} and {', '.join(map(str, further))}" if further else f"line {first}"
    return f"{_cut(name)} stands {times}, in {where}; only one of the values could count: keep one"


def _doubtful_value(node: yaml.ScalarNode, place: str) -> Iterator[str]:
    text, plain = node.value, node.style is None
    said = f"line {_line(node)}: {f'{_cut(place)} = ' if place else ''}{_cut(text)}"
    if plain and text.lower() in SWITCHES:
        meant = SWITCHES[text.lower()]
        yield f"{said} is {meant} for some programs and a word for others; write {meant}, or '{text}' in quotes"
    elif (plain or node.tag == f"{TAG}int") and LEADING_ZERO.fullmatch(text):
        meant = text.replace("_", "").lstrip("+-0") or "0"
        sign = "-" if text.startswith("-") else ""
        yield (
            f"{said} begins with a zero, which some programs read as an octal number; "
            f"write {_cut(sign + meant)}, or '{_cut(text)}' in quotes for a name"
        )
    elif (plain or node.tag in (f"{TAG}int", f"{TAG}float")) and BASE_60.fullmatch(text):
        yield (
            f"{said} is a number to the base 60 for some programs; write it as a decimal number, "
            f"or '{_cut(text)}' in quotes for a text"
        )


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}..."
