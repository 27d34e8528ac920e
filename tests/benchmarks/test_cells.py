"""Cells of the benchmarks are those of a study, and their objects are the same at every call."""

import importlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.frames import simulate
from fly64_assets.simulation.recipe import BaseRecipe
from fly64_assets.study.design import StudyDesign

DESIGN = StudyDesign(name="tiny", base=BaseRecipe("coins", "grass", 128, 60))


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module


def test_seed_1_is_the_study_and_others_change_the_noise_alone(benchmark):
    cells = benchmark("cells")
    first, second = (cells.cell_of(cells.repeat_of(DESIGN, seed), "baseline", 1000) for seed in (1, 2))
    study = simulate(make_base(DESIGN.base, 64), dose=1000, scan="uniform", axis="y", seed=42)
    frames = np.concatenate(list(study.amplitude_blocks("test")))
    assert np.array_equal(first.test.amplitude, frames)
    assert not np.array_equal(second.test.amplitude, frames)
    assert np.array_equal(first.test.x, second.test.x)
    assert cells.repeat_of(DESIGN, 1).repeat_seeds(1) == DESIGN.repeat_seeds(1)
    assert cells.repeat_of(DESIGN, 3).repeat_seeds(1) == replace(DESIGN, repeats=3).repeat_seeds(3)


def test_a_scaled_truth_has_no_error_and_a_uniform_object_has(benchmark):
    cells = benchmark("cells")
    cell = cells.cell_of(DESIGN, "baseline", 1000)
    assert cells.errors(cell, 2j * cell.truth, 2.0) == pytest.approx((0, 0), abs=1e-6)
    phase, amplitude = cells.errors(cell, np.ones_like(cell.truth), 2.0)
    assert 0.1 < phase < 0.4
    assert 0.03 < amplitude < 0.2


def test_a_view_with_too_few_frames_says_why(benchmark):
    cells = benchmark("cells")
    assert "4 are needed" in cells.cell_of(DESIGN, "sparse", 1000)


def test_objects_are_the_same_at_every_call_and_differ(benchmark):
    objects = benchmark("objects")
    assert not set(objects.JUDGED) & set(objects.TUNING)
    made = {name: objects.base(name).object for name in ("slow", "tune_slow")}
    assert np.array_equal(objects.base("slow").object, made["slow"])
    assert abs(np.corrcoef(np.angle(made["slow"]).ravel(), np.angle(made["tune_slow"]).ravel())[0, 1]) < 0.5


@pytest.mark.slow
def test_a_row_in_one_process_is_that_of_the_campaign(benchmark):
    """Packaged rows of seed 1 were made by the campaign, through Dagster and engine processes."""
    seeds = benchmark("atlas_seeds")
    place = seeds.Place("smooth", "structured", 1, "o20", 1000)
    packaged = {row["method"]: row for row in seeds.read(seeds.PACKAGED)[place.known_by]}
    _, rows = seeds.rows_of(place)
    assert [row["method"] for row in rows] == list(packaged)
    for row in rows:
        for name in set(seeds.COLUMNS) - set(seeds.TIMES):
            expected, found = packaged[row["method"]][name], "" if row[name] is None else str(row[name])
            if re.fullmatch(r"-?[\d.e+-]+", expected):  # between machines the last digits may differ
                assert float(found) == pytest.approx(float(expected), rel=0.03), (row["method"], name)
            else:
                assert found == expected, (row["method"], name)
