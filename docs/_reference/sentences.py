"""The sentences that the code can say: findings about data files by their code, and errors by their kind.

They are read from the source: a finding is a call of ``error``, ``warning`` or ``information`` with a code, an error is
raised with its sentence. What the sentence takes from the data is shown as …
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fly64_assets

PACKAGE = Path(fly64_assets.__file__).parent
SEVERITIES = {
    "error": "error",
    "FormError": "error",
    "warning": "warning",
    "information": "information",
    "note": "warning or information",
}
"""Functions that make a finding; ``note`` stands for one of the last two, as the file says which."""
CODE = re.compile(r"^[A-Z]+-\d{3}(\.[a-z]+)?$")


@dataclass(frozen=True)
class Sentence:
    """What the code says: the code or kind of error, the severity, the sentence, and the module that says it."""

    subject: str
    severity: str
    text: str
    module: str


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the package with its syntax tree."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE.parent).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def said(node: ast.expr) -> str | None:
    """The text of a string or a formatted one, with … for values; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [said(node.left) or "…", said(node.right) or "…"]
        return "".join(parts) if set(parts) != {"…"} else None
    return None


def codes() -> dict[str, str]:
    """Codes of findings, by the name of the constant that holds each, qualified by its module."""
    found = {}
    for module, tree in sources():
        for node in tree.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                text = said(node.value) if node.value else None
                if text and CODE.match(text):
                    found[f"{module}:{node.target.id}"] = text
    return found


def findings() -> list[Sentence]:
    """Every finding, in the order of codes."""
    constants = codes()
    by_name: dict[str, set[str]] = {}
    for place, code in constants.items():
        by_name.setdefault(place.rpartition(":")[2], set()).add(code)
    found = []
    for module, tree in sources():
        imported = _imported(tree)
        for node in ast.walk(tree):
            severity, arguments = _stated(node)
            if len(arguments) < 2:
                continue
            code = _code(arguments[0], module, constants, imported, by_name)
            text = said(arguments[-1] if isinstance(node, ast.Tuple) else arguments[1])
            if severity and code and text and re.search(r"[a-z]{3}", text):
                found.append(Sentence(code, severity, " ".join(text.split()), module))
    return sorted(found, key=lambda one: (one.subject, one.severity, one.text))


def errors() -> list[Sentence]:
    """Every error that a user can see, by the kind of error and the part of the package."""
    found = []
    for module, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                kind = ast.unparse(node.exc.func).rpartition(".")[2]
                text = said(node.exc.args[0]) if node.exc.args else None
                if kind in KINDS and text and re.search(r"[a-z]{3}", text):
                    found.append(Sentence(kind, "error", " ".join(text.split()), module))
    return sorted(found, key=lambda one: (list(KINDS).index(one.subject), one.module, one.text))


KINDS = {
    "DesignError": "A design breaks a rule.",
    "UsageError": "A command was called with options that do not go together; exit status 2.",
    "BadParameter": "An option has a value that is not allowed; exit status 2.",
    "ContractError": "A file does not obey the data contract, or cannot be read without a guess.",
    "ProbeError": "The diameter of a probe cannot be measured.",
    "LayoutError": "A name cannot become a path in the data root.",
    "ArtifactError": "A stored file is missing, incomplete, or not what its sidecar says.",
    "HeldError": "Another process holds a lock.",
    "EngineError": "A training or a reconstruction gave no valid result.",
    "LegacyConfigError": "A PtychoPINN configuration cannot be used.",
    "Fly64Error": "Anything else that a command cannot do.",
}


def _stated(node: ast.AST) -> tuple[str | None, list[ast.expr]]:
    """Severity and arguments of a finding: of a call, or of a row of a table from which calls are made."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return SEVERITIES.get(node.func.id), node.args
    return ("warning", node.elts) if isinstance(node, ast.Tuple) else (None, [])


def _imported(tree: ast.Module) -> dict[str, str]:
    """Modules, as paths, from which names are imported."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                found[name.asname or name.name] = f"{node.module.replace('.', '/')}.py:{name.name}"
    return found


def _code(
    node: ast.expr, module: str, constants: dict[str, str], imported: dict[str, str], by_name: dict[str, set[str]]
) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.match(node.value):
        return node.value
    if not isinstance(node, ast.Name):
        return None
    for place in (f"{module}:{node.id}", imported.get(node.id, "")):
        if place in constants:
            return constants[place]
    names = by_name.get(node.id, set())
    return next(iter(names)) if len(names) == 1 else None
