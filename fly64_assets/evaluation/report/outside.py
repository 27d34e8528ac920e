"""Results of methods that were trained once, on scans that lie outside of that training: their mark and a footnote.

Does not belong here: what a network was trained for (``pinn.pretrained``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fly64_assets.physics.scan import JUDGED_SPLIT

MARK: Final = "†"
"""Stands beside the name or the number of such a result."""


def is_outside(split: Mapping[str, Any] | None, method: str) -> bool:
    """Whether a split, as a summary has it, lies outside of what the method was trained for."""
    return bool((split or {"arms": {}})["arms"].get(method, {}).get("outside_of_training"))


def outside_sentences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One sentence for each method with marked cells, from the summaries of all cells (the judged half)."""
    found: dict[str, dict[str, Sequence[str]]] = {}
    for row in rows:
        for method, result in row["splits"].get(JUDGED_SPLIT, {"arms": {}})["arms"].items():
            if result.get("outside_of_training"):
                found.setdefault(method, {})[f"{row['dose']:,}/{row['view']}"] = result["outside_of_training"]
    return [
        f"{MARK} {method} is outside of its training in {len(cells)} of {len(rows)} cells, where its error may be "
        f"larger than on scans like those of its training: {'; '.join(_each(cells))}."
        for method, cells in found.items()
    ]


def _each(cells: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"{cell} ({', '.join(sentences)})" for cell, sentences in cells.items()]
