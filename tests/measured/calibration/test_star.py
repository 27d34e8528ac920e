"""The Siemens star of tike: measured frames whose positions fit as the file has them, and not exchanged."""

from __future__ import annotations

import bz2
from dataclasses import replace
from pathlib import Path

import pytest

from fly64_assets.contract.npz import dataset_of
from fly64_assets.engines.execution import Execution
from fly64_assets.measured.calibration.normalisation import in_counts_scale
from fly64_assets.measured.calibration.orientation import compare_orientations
from fly64_assets.ptychopinn.data_sets import read_data_set

STAR = Path(__file__).parents[4] / "shared/data/siemens-star-small.npz.bz2"


@pytest.mark.slow
def test_exchanged_coordinates_of_the_star_are_refused(tmp_path):
    if not STAR.exists():
        pytest.skip(f"{STAR} is not there")
    path = tmp_path / "siemens-star-small.npz"
    path.write_bytes(bz2.decompress(STAR.read_bytes()))
    star, _ = in_counts_scale(dataset_of(read_data_set(path, {})[0]).measurement())
    height, width = star.object_shape
    exchanged = replace(star, x=star.y, y=star.x, object_shape=(width, height))
    found = compare_orientations(exchanged, Execution(), lambda _done, _total, _values: None)
    # Frames and probe that are turned belong to the coordinates of the file: its own orientation is the best of all.
    assert found.better == "transpose"
    assert found.deviances["transpose"] < 0.92 * min(
        value for name, value in found.deviances.items() if name != "transpose"
    )
