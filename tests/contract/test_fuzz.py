"""The validator returns a report for whatever it is given."""

from __future__ import annotations

import json

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fly64_assets.contract import schema
from fly64_assets.contract.findings import ContractReport, Expectations
from fly64_assets.contract.validate import (
    validate,
    validate_base,
    validate_base_structure,
    validate_pair,
    validate_structure,
)

KEYS = st.sampled_from([*sorted(schema.KNOWN_KEYS), "data", "probe", "scan", "obj", "_metadata", ""])
KINDS = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
    hnp.complex_number_dtypes(endianness="?"),
    hnp.unicode_string_dtypes(),
    hnp.byte_string_dtypes(),
    hnp.datetime64_dtypes(),
    hnp.timedelta64_dtypes(),
    hnp.array_dtypes(hnp.scalar_dtypes(), max_size=2),
    st.sampled_from([np.dtype(np.longdouble), np.dtype(np.clongdouble), *set(schema.DTYPES.values())]),
)
SHAPES = st.one_of(
    hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5),
    st.sampled_from(
        [(), (0,), (4,), (5, 4, 4), (4, 4, 5), (1, 5, 4, 4), (4, 4), (1, 4, 4), (9, 8), (5,), (5, 2), (0, 4, 4)]
    ),
)
NUMBERS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.sampled_from([4, 1e300, 1e-300, 5e-324, 1.0, 2, 1e308]),
    st.text(max_size=3),
    st.lists(st.none(), max_size=1),
)
PHYSICS = st.dictionaries(
    st.sampled_from(["nphotons", "N", "gridsize", "intensity_scale", "expected_mean_counts", "neighbor_count"]), NUMBERS
)
DOCUMENTS = st.dictionaries(
    st.sampled_from(
        [
            "schema_version",
            "creation_info",
            "base",
            "split",
            "split_point",
            "split_axis",
            "view",
            "seeds",
            "data_transformations",
        ]
    ),
    st.one_of(
        NUMBERS, st.just("train"), st.just("dense"), st.dictionaries(st.sampled_from(["name", "sha256"]), NUMBERS)
    ),
)


def json_text(document, physics):
    return np.array(json.dumps(document | {"physics_parameters": physics}))


OBJECTS = st.sampled_from(
    [np.array(None, dtype=object), np.array([{}, "x"], dtype=object), np.empty((5, 4, 4), dtype=object)]
)
ARRAYS = st.one_of(
    st.tuples(KINDS, SHAPES).flatmap(lambda pair: hnp.arrays(*pair)),
    OBJECTS,
    st.builds(json_text, DOCUMENTS, PHYSICS),
    st.sampled_from([None, 3, "text", [1, 2], np.float32(2)]),
)
FILES = st.builds(
    lambda arrays, metadata: arrays | ({} if metadata is None else {"_metadata": metadata}),
    st.dictionaries(KEYS, ARRAYS, max_size=8),
    st.one_of(st.none(), st.builds(json_text, DOCUMENTS, PHYSICS)),
)
EXPECTED = Expectations(
    study="fuzz",
    patch_size=4,
    doses=(1000, 10000),
    gridsizes={"baseline": 1, "dense": 2},
    neighbor_count=7,
    patches=True,
)


@settings(max_examples=200, deadline=None)
@given(FILES, FILES)
def test_never_raises(arrays, others):
    for report in (
        validate(arrays),
        validate(arrays, expected=EXPECTED),
        validate_structure(arrays),
        validate_base(arrays),
        validate_base(arrays, patch_size=4),
        validate_base_structure(arrays),
        validate_pair(arrays, others),
    ):
        assert isinstance(report, ContractReport)
        assert all(f.message and f.severity in ("error", "warning", "info") for f in report.findings)
        json.dumps(report.to_dict())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_never_raises_on_a_valid_file_with_some_arrays_replaced(part, data):
    arrays = part(slice(0, 5)) | data.draw(FILES)
    assert isinstance(validate(arrays), ContractReport)
    assert isinstance(validate_pair(part(slice(5, 9)), arrays), ContractReport)


@pytest.mark.parametrize("rubbish", [None, 3, "text", [np.zeros(3)], np.zeros(3)])
def test_something_that_is_no_mapping(rubbish):
    assert not validate(rubbish).ok
    assert not validate_base(rubbish).ok
    assert not validate_pair(rubbish, rubbish).ok


def test_arrays_are_not_changed(arrays):
    before = {key: array.tobytes() for key, array in arrays.items()}
    for array in arrays.values():
        array.flags.writeable = False
    validate(arrays)
    validate_base(arrays)
    assert {key: array.tobytes() for key, array in arrays.items()} == before
