"""Tables: an empty cell stays empty, and every number keeps all its digits."""

import io

import pytest

from fly64_assets.formats.writing.tables import typed, write_parquet

TEXT = 'dose,value,reason\n1000,0.10000000000000003,\n100000,,"none, as it has no pixels"\n'
TYPES = {"dose": int, "value": float}
COLUMNS = {"dose": [1000, 100000], "value": [0.10000000000000003, None], "reason": [None, "none, as it has no pixels"]}


def test_columns_of_a_csv_text():
    assert typed(TEXT, TYPES) == COLUMNS


def test_parquet_there_and_back_with_types_even_where_nothing_is():
    parquet = pytest.importorskip("pyarrow.parquet")
    first, second = io.BytesIO(), io.BytesIO()
    for file in (first, second):
        write_parquet(file, COLUMNS, TYPES)
    assert first.getvalue() == second.getvalue()
    first.seek(0)
    assert parquet.read_table(first).to_pydict() == COLUMNS
    empty = io.BytesIO()
    write_parquet(empty, {"dose": [None], "reason": [None]}, TYPES)
    empty.seek(0)
    assert [str(field.type) for field in parquet.read_schema(empty)] == ["int64", "string"]
