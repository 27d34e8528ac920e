"""Tables: a CSV text as typed columns, and columns as Parquet."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from fly64_assets.errors import Fly64Error

Columns = Mapping[str, Sequence[Any]]
"""Values of each column: all int, all float or all str, None where there is none."""


def typed(text: str, types: Mapping[str, type]) -> dict[str, list[Any]]:
    r"""Columns of a CSV text; ``types`` names those that are no texts. An empty cell is None.

    Examples
    --------
    >>> typed("dose,value,reason\n1000,0.5,\n", {"dose": int, "value": float})
    {'dose': [1000], 'value': [0.5], 'reason': [None]}
    """
    reader = csv.DictReader(io.StringIO(text))
    rows = list(reader)
    return {
        name: [types.get(name, str)(row[name]) if row[name] else None for row in rows]
        for name in reader.fieldnames or ()
    }


def write_parquet(file: BinaryIO, columns: Columns, types: Mapping[str, type]) -> None:
    """Write 64-bit numbers where ``types`` says int or float, texts elsewhere.

    Raises :class:`Fly64Error` where pyarrow is not installed.
    """
    try:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise Fly64Error(
            "Parquet is written by pyarrow, which is not installed: `pip install 'fly64-assets[parquet]'`, or export a "
            ".csv file"
        ) from error
    kinds = {int: arrow.int64(), float: arrow.float64()}
    arrays = {
        name: arrow.array(column, kinds.get(types.get(name, str), arrow.string())) for name, column in columns.items()
    }
    parquet.write_table(arrow.table(arrays), file)
