"""Methods on frames in memory, and how good their objects are."""

import subprocess
import sys

import numpy as np
import pytest

import fly64_assets as fly64
from fly64_assets.engines.execution import Execution
from fly64_assets.errors import ContractError, EngineError
from fly64_assets.evaluation.scores.alignment import align
from fly64_assets.evaluation.scores.region import evaluation_region, scan_box
from fly64_assets.lsqml import engine
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.recipe import BaseRecipe

QUICK = {
    "lsqml": {"epochs": 5},
    "tv_ml": {"levels": [0.3, 0.1], "steps": 5},
    "pinn": {
        "epochs": 1, "levels": [0.3], "level_iterations": 3, "photon_parts": 3, "folds": 1, "steps_per_epoch": 2,
        "tile": 64, "width": 2,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def base():
    return make_base(BaseRecipe("coins", "grass", object_size=100, positions=40), patch_size=64)


@pytest.fixture(scope="module")
def frames(base):
    return fly64.simulate(base.object, base.probe, base.x, base.y, 10_000, seed=3)


@pytest.mark.parametrize("method", QUICK)
def test_every_method_is_better_than_a_uniform_object(base, frames, method):
    found = fly64.reconstruct(frames, method, seed=1, threads=1, **QUICK[method])
    assert found.object.shape == found.coverage.shape == base.object.shape
    assert found.facts["stop_reason"]
    table = fly64.judge(frames, {method: found.object}, base.object).set_index(["method", "part", "metric"])["value"]
    assert table[method, "phase", "rmse"] < table["flat", "phase", "rmse"]


def test_a_reconstruction_is_that_of_the_engine(frames):
    mine = fly64.reconstruct(frames, "lsqml", seed=5, threads=1, epochs=3)
    settings = LsqmlSettings(epochs=3)
    its = engine.reconstruct(frames, settings, Execution(threads=1), 5, lambda *_: None)
    np.testing.assert_array_equal(mine.object, its.object)


@pytest.mark.parametrize(
    ("method", "settings", "sentence"),
    [
        ("epie", {}, "must be one of lsqml, tv_ml, pinn, cnn"),
        ("lsqml", {"epochs": 0}, "settings of lsqml: epochs = 0"),
        ("tv_ml", {"epochs": 3}, "epochs = 3: unknown field"),
    ],
)
def test_what_is_no_method_or_setting_is_refused(frames, method, settings, sentence):
    with pytest.raises(EngineError, match=sentence):
        fly64.reconstruct(frames, method, **settings)


def test_the_score_is_the_error_on_the_evaluation_region(base, frames):
    wrong = base.object * np.exp(0.2j * np.random.default_rng(1).normal(size=base.object.shape))
    table = fly64.judge(frames, {"wrong": wrong}, base.object).set_index(["method", "part", "metric"])["value"]
    region = evaluation_region(frames.probe, frames.scan, threshold=0.1, scan_box=scan_box(frames.scan))
    field = align(wrong, base.object, region.mask, max_shift_px=2).field
    error = np.angle(field * base.object.conj())[region.mask]
    assert table["wrong", "phase", "rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-6)
    assert not {"truth"} & set(table.index.get_level_values("method"))


@pytest.fixture(scope="module")
def wide():
    """A scan with enough independent areas for a test over frames."""
    base = make_base(BaseRecipe("coins", "grass", object_size=240, positions=100), patch_size=64)
    return base, fly64.split_counts(fly64.simulate(base.object, base.probe, base.x, base.y, 10_000, seed=3), 0.5)[1]


def test_kept_aside_counts_rank_objects_as_the_truth_does(wide):
    base, kept_aside = wide
    noise = np.random.default_rng(1).normal(size=base.object.shape)
    objects = {f"{size}": base.object * np.exp(1j * size * noise) for size in (0.8, 0.0, 0.4, 0.2)}
    table = fly64.predict(kept_aside, objects)
    assert list(table["method"]) == ["0.0", "0.2", "0.4", "0.8"]
    assert table["above_best"][0] == 0
    assert (table["above_best"][1:] > 3 * table["error"][1:]).all()
    assert (table["p"][1:] < 0.01).all()


def test_objects_with_errors_of_one_size_are_not_told_apart(wide):
    base, kept_aside = wide
    noise = np.random.default_rng(3).normal(size=(2, *base.object.shape))
    table = fly64.predict(kept_aside, {str(i): base.object * np.exp(0.3j * noise[i]) for i in range(2)})
    assert table["p"][1] > 0.01


def test_a_scan_of_few_areas_is_ranked_without_a_test(base, frames):
    table = fly64.predict(fly64.split_counts(frames, 0.5)[1], {"right": base.object, "flat": np.ones_like(base.object)})
    assert list(table["method"]) == ["right", "flat"]
    assert table["p"].isna().all()


def test_an_object_that_predicts_no_counts_is_refused_and_not_ranked(base, frames):
    broken = np.full_like(base.object, np.nan)
    with pytest.raises(ContractError, match=rf"broken predicts no finite counts in {frames.frames} of {frames.frames}"):
        fly64.predict(frames, {"right": base.object, "broken": broken})


def test_the_limit_falls_with_the_square_root_of_the_dose(base):
    scans = [fly64.simulate(base.object, base.probe, base.x, base.y, dose) for dose in (1e3, 1e5)]
    limits = [fly64.photon_limit(scan, base.object) for scan in scans]
    floors = [limit["photon_floor_rad"] for limit in limits]
    assert floors[0] / floors[1] == pytest.approx(10)
    if limits[0]["phase_rad"] is not None:
        assert limits[0]["phase_rad"] / limits[1]["phase_rad"] == pytest.approx(10)
        assert limits[0]["phase_rad"] >= floors[0]


def test_frames_that_say_nothing_are_singular():
    """A constant object in a constant probe sends all light into one pixel, whatever its phases are."""
    ones = np.ones((64, 64), complex)
    grid = np.mgrid[0:32:4, 0:32:4].reshape(2, -1) + 12.0
    limit = fly64.photon_limit(fly64.simulate(ones, np.ones((16, 16), complex), *grid, dose=1000), ones)
    assert (limit["state"], limit["phase_rad"]) == ("singular", None)


def test_objects_of_another_size_are_refused(base, frames):
    small = base.object[:-1]
    for call in (
        lambda: fly64.judge(frames, {"small": small}, base.object),
        lambda: fly64.judge(frames, {}, small),
        lambda: fly64.predict(frames, {"small": small}),
        lambda: fly64.photon_limit(frames, small),
    ):
        with pytest.raises(ContractError, match=r"has shape \(99, 100\); expected \(100, 100\)"):
            call()


def test_importing_loads_no_engine():
    engines = ["torch", "tensorflow", "ptychi", "lightning", "dagster", "pandas", "matplotlib"]
    names = ", ".join(f"fly64.{name}" for name in fly64.__all__)
    code = f"import sys, fly64_assets as fly64; {names}; print(*[m for m in {engines} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_names_are_found_and_others_are_not():
    assert set(fly64.__all__) <= set(dir(fly64))
    with pytest.raises(AttributeError, match="has no attribute 'simulat'"):
        _ = fly64.simulat
