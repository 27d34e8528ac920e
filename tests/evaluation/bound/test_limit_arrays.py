"""Bounds in files: what is read back is what was written, and only for the same problem."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fly64_assets.evaluation.bound.limit import Bound, UnitLimit, limit_arrays, limit_from_arrays

REGULAR = UnitLimit(
    Bound(4.0, 0.02, 0.005),
    Bound(1.0, 0.03, 0.006),
    (),
    np.full((5, 7), 4.0),
    np.full((5, 7), 1.0),
    "conjugate gradients",
    10,
    100,
    5,
    160,
)
SINGULAR = UnitLimit(None, None, ("28 groups", "too few values"), None, None, "structure", 10, 4)


@pytest.mark.parametrize("limit", [REGULAR, SINGULAR], ids=["regular", "singular"])
def test_a_bound_survives_the_file(limit):
    back = limit_from_arrays(limit_arrays(limit, "a" * 64), "a" * 64)
    for field in dataclasses.fields(UnitLimit):
        expected = getattr(limit, field.name)
        if isinstance(expected, np.ndarray):
            np.testing.assert_array_equal(getattr(back, field.name), expected)
        else:
            assert getattr(back, field.name) == expected


def test_a_bound_of_another_problem_is_not_taken():
    assert limit_from_arrays(limit_arrays(REGULAR, "a" * 64), "b" * 64) is None
