"""Pages of the reference that are written from the code: one module for each page, with a function ``page``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""A table in Markdown; bars in its cells are escaped.

    Examples
    --------
    >>> print(table(["key", "what"], [["1000|dense", "a cell"]]))
    | key | what |
    |---|---|
    | 1000\|dense | a cell |
    """
    lines = [columns, ["---"] * len(columns)]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    head = [f"| {' | '.join(columns)} |", f"|{'|'.join(lines[1])}|"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in cells)])


def first_sentence(text: str) -> str:
    """The first sentence of a docstring or description, in one line."""
    return " ".join(text.split()).split(". ")[0].rstrip(".") + "."
