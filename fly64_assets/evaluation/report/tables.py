"""All scores of a study as one long table for a notebook.

Belongs here: rows and columns. Does not belong here: means and verdicts (``summary``).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

STUDY_COLUMNS: Final = (
    "dose", "view", "repeat", "split", "frames", "photons_per_pixel", "covered_fraction", "limit", "arm", "part",
    "metric", "value", "reason",
)  # fmt: skip


def study_table(cells: Sequence[Mapping[str, Any]]) -> bytes:
    """CSV with a row per score; a score without a value is empty and has its reason.

    Parameters
    ----------
    cells : sequence of mapping
        ``dose``, ``view`` and ``comparisons`` (repeat -> document), as for ``study_summary``.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, STUDY_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for cell in cells:
        for repeat, document in cell["comparisons"].items():
            place = {"dose": cell["dose"], "view": cell["view"], "repeat": repeat}
            writer.writerows(place | row for row in _rows(document))
    return text.getvalue().encode()


def _rows(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for split, one in document["splits"].items():
        for row in one.get("rows", ()):
            yield {
                "split": split,
                "frames": one["photons"]["frames"],
                "photons_per_pixel": one["photons"]["photons_per_pixel"],
                "covered_fraction": one["region"]["covered_fraction"],
                "limit": one["limit"]["state"],
                "arm": row["arm"],
                "part": row["part"],
                "metric": row["metric"],
                "value": row["value"],
                "reason": row["reason"],
            }
