"""The table of the atlas that is part of the package: a copy of what ``fly64 campaign`` wrote of it.

``python benchmarks/atlas/page.py TABLE.csv --install`` puts a new one here, and writes the pages that rest on it.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import Final

from fly64_assets.evaluation.atlas.cells import Row, read_rows

NAME: Final = "atlas.csv"


@functools.cache
def atlas_rows() -> tuple[Row, ...]:
    """Rows of the atlas on kinds of objects that no setting was chosen on."""
    text = (resources.files("fly64_assets.evaluation.atlas") / NAME).read_text(encoding="utf-8")
    return tuple(row for row in read_rows(text.splitlines()) if not row.tunable)
