"""All codes of findings, and all error sentences."""

from __future__ import annotations

import itertools

from _reference import table
from _reference.sentences import KINDS, codes, errors, findings

HEAD = """# Codes and error sentences

Every finding about a data file and every error that a command can end with, read from the code. A value that depends on your data stands here as …, so
search this page for the words around it. What to do about the most frequent ones: [troubleshooting](../how-to/troubleshooting.md).

## Codes of findings

`fly64 contract check`, `fly64 base check` and the imports print findings with a code. An *error* refuses the file; a *warning* does not, unless `--strict` is given;
*information* has no consequence. The rules behind the codes: [data contract](data-contract.md), [measured data](../how-to/measured-data.md).
"""
SECOND = """## Error sentences

A command that cannot do what it was asked for ends with one sentence on standard error and exit status 1 (2 for a usage error). Grouped by kind, with the module that says it.
"""


def page() -> str:
    """The whole page."""
    found = findings()
    missing = sorted(set(codes().values()) - {one.subject for one in found})
    parts = [HEAD]
    for code, group in itertools.groupby(found, key=lambda one: one.subject):
        rows = [[one.severity, plain(one.text)] for one in dict.fromkeys(group)]
        parts.append(f"### {code}\n\n{table(['severity', 'sentence'], rows)}\n")
    assert not missing, f"no sentence was found for {', '.join(missing)}"
    parts.append(SECOND)
    for kind, group in itertools.groupby(errors(), key=lambda one: one.subject):
        rows = [[plain(one.text), f"`{one.module}`"] for one in dict.fromkeys(group)]
        parts.append(f"### {kind}\n\n{KINDS[kind]}\n\n{table(['sentence', 'module'], rows)}\n")
    return "\n".join(parts)


def plain(text: str) -> str:
    """A sentence whose signs Markdown does not take for marks; what stands in backticks stays code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return _escaped(text.replace("`", "'"))
    return "".join(f"`{part}`" if number % 2 else _escaped(part) for number, part in enumerate(parts))


def _escaped(text: str) -> str:
    for mark in ("\\", "*", "_", "<", "[", "]", "$", "~"):
        text = text.replace(mark, f"\\{mark}")
    return text
