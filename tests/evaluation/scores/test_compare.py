"""The comparison of a cell: one procedure for all methods, verdicts, reasons, and documents without NaN."""

from __future__ import annotations

import csv
import functools
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from fixtures.scan import gaps, masked

from fly64_assets.evaluation.scores import compare
from fly64_assets.evaluation.scores.compare import COMPLEX_METRICS, CSV_COLUMNS, PICTURE_METRICS, TRUTH, UNIFORM
from fly64_assets.evaluation.scores.region import evaluation_region, scan_box
from fly64_assets.evaluation.scores.resolution import NYQUIST_PERIOD_PX, RingCorrelation
from fly64_assets.evaluation.settings import EvaluationSettings, MetricsConfig

EVALUATION, METRICS = EvaluationSettings(), MetricsConfig()


def noisy(truth, sigma, seed=30):
    return truth * np.exp(1j * np.random.default_rng(seed).normal(0, sigma, truth.shape))


def scores(comparison, method):
    return {(r.part, r.metric): (r.value, r.reason) for r in comparison.rows if r.method == method}


def picture_scores(comparison, method):
    return {key: value for key, value in scores(comparison, method).items() if key[1] != "nll_excess"}


@pytest.fixture(scope="module")
def compare_split(limit):
    """The comparison of a split, its bounds remembered from test to test."""
    return functools.partial(compare.compare_split, limit=limit)


@pytest.fixture(scope="module")
def compare_cell(limit):
    """The comparison of a cell, its bounds remembered from test to test."""
    return functools.partial(compare.compare_cell, limit=limit)


@pytest.fixture(scope="module")
def compared(truth, train_split, compare_split):
    """One split with a good method, a bad one, a missing one and one that cannot be aligned."""
    broken = truth.copy()
    broken[48, 32] = np.nan
    methods = {
        "lsqml": noisy(truth, 0.05),
        "pinn": noisy(truth, 0.7, 31),
        "legacy_pinn": "the method is off in this study",
        "broken": broken,
    }
    return compare_split("train", truth, train_split(methods), evaluation=EVALUATION, metrics=METRICS)


def test_truth_against_itself_is_perfect_in_every_metric(compared):
    own = scores(compared, TRUTH)
    assert set(own) == {(p, m) for p in ("amplitude", "phase") for m in PICTURE_METRICS} | {
        ("complex", m) for m in COMPLEX_METRICS
    }
    for part in ("amplitude", "phase"):
        assert own[part, "mae"][0] == pytest.approx(0, abs=1e-12)
        assert own[part, "rmse"][0] == pytest.approx(0, abs=1e-12)
        assert own[part, "psnr"][0] is None
        assert "perfect match" in own[part, "psnr"][1]
        assert own[part, "ssim"][0] == pytest.approx(1, abs=1e-10)
        assert own[part, "ms_ssim"][0] == pytest.approx(1, abs=1e-10)
    for part in ("amplitude", "phase", "complex"):
        assert own[part, "correlation"][0] == pytest.approx(1, abs=1e-12)
        for metric in ("frc_05", "frc_half_bit"):
            value, reason = own[part, metric]
            assert value == NYQUIST_PERIOD_PX
            assert "never falls below" in reason
    assert own["complex", "nll_excess"][0] == pytest.approx(0, abs=1e-6)


def test_a_uniform_object_scores_as_uniform(compared, truth):
    flat = scores(compared, UNIFORM)
    alignment = compared.methods[UNIFORM].alignment
    assert alignment.shift_px == (0.0, 0.0)
    mask = compared.region.mask
    mean = truth[mask].mean()
    expected = np.sqrt(np.mean(np.angle(truth[mask] * np.conj(mean)) ** 2))
    assert flat["phase", "rmse"][0] == pytest.approx(expected, rel=1e-10)
    assert flat["amplitude", "rmse"][0] == pytest.approx(
        np.sqrt(np.mean((np.abs(truth[mask]) - abs(mean)) ** 2)), rel=1e-10
    )
    for part in ("amplitude", "complex"):
        assert flat[part, "correlation"] == (None, "the reconstruction is constant over the evaluated region")
        assert flat[part, "frc_05"] == (None, "the reconstruction is constant in the rectangle")
    assert flat["complex", "nll_excess"][0] > 100
    assert compared.methods[UNIFORM].verdict is None


def test_noise_of_the_phase_is_reported_as_its_standard_deviation(compared):
    pixels = compared.region.pixels
    assert compared.value("lsqml", "phase", "rmse") == pytest.approx(0.05, rel=4 / math.sqrt(2 * pixels))
    range_ = np.ptp(np.angle(compared.truth[compared.region.mask]))
    assert compared.value("lsqml", "phase", "psnr") == pytest.approx(
        20 * math.log10(range_ / compared.value("lsqml", "phase", "rmse")), abs=1e-9
    )


def test_ring_correlation_tells_the_methods_apart(compared):
    """A correlation of 1 for everybody is the sign of comparing a picture with itself."""
    curves = {method: compared.curves[method]["complex"].correlation for method in (TRUTH, "lsqml", "pinn")}
    np.testing.assert_allclose(curves[TRUTH], 1, atol=1e-9)
    beyond = compared.curves[TRUTH]["complex"].frequency > 0.25
    # The object has no power there but what the window leaks; the noise has.
    assert curves["lsqml"][beyond].mean() < 0.5
    assert curves["pinn"][beyond].mean() < 0.5
    assert np.mean(curves["pinn"]) < np.mean(curves["lsqml"]) < 1
    assert compared.value("pinn", "complex", "frc_05") > compared.value("lsqml", "complex", "frc_05") > 2.0
    assert isinstance(compared.curves["lsqml"]["phase"], RingCorrelation)
    assert isinstance(compared.curves[UNIFORM]["complex"], str)


def test_values_under_the_mask_change_no_score_and_the_mask_does(truth, train_split, compare_split):
    """Likelihood and bound know what was measured; errors of the picture do not depend on the detector."""
    split, bad = train_split({"lsqml": noisy(truth, 0.05)}), gaps(32)
    found = [
        compare_split("train", truth, replace(split, measurement=measurement), evaluation=EVALUATION, metrics=METRICS)
        for measurement in (masked(split.measurement, bad, np.nan), masked(split.measurement, bad, 1e6))
    ]
    whole = compare_split("train", truth, split, evaluation=EVALUATION, metrics=METRICS)
    one, other = (json.dumps(comparison.to_dict()) for comparison in found)
    assert one == other
    assert found[0].limit.error("phase") > 1.01 * whole.limit.error("phase")
    ours, theirs = scores(found[0], "lsqml"), scores(whole, "lsqml")
    assert 0 < ours["complex", "nll_excess"][0] < theirs["complex", "nll_excess"][0]
    assert ours["phase", "efficiency"][0] > theirs["phase", "efficiency"][0]
    assert ours["phase", "rmse"] == theirs["phase", "rmse"]


def test_outcome_and_verdict_are_two_things(compared):
    methods = compared.methods
    assert [methods[a].outcome for a in ("lsqml", "pinn", "legacy_pinn", "broken")] == [
        "compared",
        "compared",
        "missing",
        "failed",
    ]
    assert methods["lsqml"].verdict == "better than flat"
    assert methods["pinn"].verdict == "worse than flat"
    assert methods["legacy_pinn"].reason == "the method is off in this study"
    assert "1 of" in methods["broken"].reason
    assert "not finite" in methods["broken"].reason


def test_an_absent_method_has_all_its_rows_without_value_and_with_the_reason(compared):
    missing = scores(compared, "legacy_pinn")
    assert set(missing) == set(scores(compared, TRUTH))
    assert set(missing.values()) == {(None, "the method is off in this study")}
    assert all(value is None and "not finite" in reason for value, reason in scores(compared, "broken").values())


def test_contests_name_winner_and_figures_and_leave_out_the_absent(compared):
    (contest,) = compared.contests
    assert (contest["winner"], contest["loser"]) == ("lsqml", "pinn")
    low, high = (compared.value(method, "phase", "rmse") for method in ("lsqml", "pinn"))
    assert contest["percent"] == pytest.approx(100 * (1 - low / high))
    assert contest["sentence"] == (
        f"lsqml beats pinn by {100 * (1 - low / high):.0f} % (phase RMSE {low:.3g} against {high:.3g} rad)"
    )


def test_all_methods_are_registered_by_the_same_procedure(truth, train_split, compare_split):
    """The same picture under other names, phases, scales and shifts, with other surroundings: the same scores."""
    seen = noisy(truth, 0.1)
    region = compare_split("train", truth, train_split({}), evaluation=EVALUATION, metrics=METRICS).region
    surrounded = np.where(region.mask, seen, 7.0)
    methods = {
        "pinn": seen,
        "lsqml": seen.copy(),
        "turned": 9 * np.exp(-2j) * seen,
        "shifted": np.roll(seen, (1, -2), (0, 1)),
        "surrounded": surrounded,
    }
    result = compare_split("train", truth, train_split(methods), evaluation=EVALUATION, metrics=METRICS)
    expected = scores(result, "pinn")
    assert scores(result, "lsqml") == expected
    assert picture_scores(result, "surrounded") == picture_scores(result, "pinn")
    for key, (value, reason) in expected.items():
        turned = scores(result, "turned")[key]
        assert turned == (pytest.approx(value, rel=1e-6, abs=1e-6), reason)
        # The noise moves the estimated shift by some hundredths of a pixel, and so the interpolated scores.
        if key == ("phase", "rmse"):
            assert scores(result, "shifted")[key][0] == pytest.approx(value, rel=0.15)
    assert result.methods["shifted"].alignment.shift_px == pytest.approx((-1, 2), abs=0.1)
    for contest in result.contests:
        if "shifted" not in contest["sentence"]:
            assert contest["winner"] is None
            assert "are not distinguishable" in contest["sentence"]


def test_exactly_shifted_method_scores_as_the_truth(truth, train_split, compare_split):
    methods = {"pinn": 0.2j * np.roll(truth, (-1, 2), (0, 1))}
    result = compare_split("train", truth, train_split(methods), evaluation=EVALUATION, metrics=METRICS)
    assert result.methods["pinn"].alignment.shift_px == pytest.approx((1, -2), abs=1e-6)
    assert result.value("pinn", "phase", "rmse") < 1e-6
    assert result.value("pinn", "complex", "correlation") == pytest.approx(1, abs=1e-10)


def test_ramp_is_removed_for_the_method_that_refined_the_probe_and_for_no_other(truth, train_split, compare_split):
    tilted = truth * np.exp(0.03j * np.arange(96)[None, :])
    result = compare_split(
        "train",
        truth,
        train_split({"pinn": tilted, "lsqml": tilted}, {"lsqml"}),
        evaluation=EVALUATION,
        metrics=METRICS,
    )
    assert result.value("lsqml", "phase", "rmse") < 1e-6
    assert result.value("pinn", "phase", "rmse") > 0.1
    assert result.methods["lsqml"].to_dict()["alignment"]["ramp_removed"] is True
    assert result.methods["pinn"].to_dict()["alignment"]["ramp_removed"] is False


def test_a_uniform_reconstruction_is_level_with_the_uniform_object(truth, train_split, compare_split):
    result = compare_split(
        "train", truth, train_split({"pinn": np.full_like(truth, 4j)}), evaluation=EVALUATION, metrics=METRICS
    )
    assert result.methods["pinn"].verdict == "level with flat"


def test_pixels_without_a_value_outside_the_region_cost_the_likelihood_alone(truth, train_split, compare_split):
    region = compare_split("train", truth, train_split({}), evaluation=EVALUATION, metrics=METRICS).region
    seen = noisy(truth, 0.1)
    methods = {"whole": seen, "holed": np.where(region.mask, seen, np.nan)}
    result = compare_split("train", truth, train_split(methods), evaluation=EVALUATION, metrics=METRICS)
    assert picture_scores(result, "holed") == picture_scores(result, "whole")
    value, reason = scores(result, "holed")["complex", "nll_excess"]
    assert value is None
    assert "not finite outside" in reason


def test_test_split_is_scored_only_where_nothing_was_trained(truth, train_split, test_split, compare_cell):
    """An method that is right on trained pixels and wrong elsewhere has learnt nothing that the test split rewards."""
    train, test = train_split({}), test_split({})
    box = train.scan_box
    trained = evaluation_region(train.measurement.probe, train.measurement.scan, threshold=0.1, scan_box=box).mask
    learnt = np.where(trained, truth, noisy(truth, 0.3))
    cell = compare_cell(
        100_000,
        "dense_object",
        truth,
        {"train": train_split({"pinn": learnt}), "test": test_split({"pinn": learnt})},
        evaluation=EVALUATION,
        metrics=METRICS,
    )
    region = cell.splits["test"].region
    assert not np.any(region.mask & trained)
    assert region.trained_pixels > 0
    assert cell.splits["train"].region.trained_pixels == 0
    np.testing.assert_array_equal(cell.splits["train"].region.mask, trained)
    assert cell.splits["train"].value("pinn", "phase", "rmse") < 1e-10
    assert cell.splits["test"].value("pinn", "phase", "rmse") == pytest.approx(0.3, rel=0.1)
    # Without a training split nothing is left out.
    alone = compare_cell(1, "v", truth, {"train": "skipped", "test": test}, evaluation=EVALUATION, metrics=METRICS)
    assert alone.splits["test"].region.trained_pixels == 0


def test_an_empty_region_fails_every_method_in_words_and_not_with_nan(truth, train_split, compare_split):
    train = train_split({"pinn": truth, "lsqml": "off"})
    same_place = compare_split(
        "test", truth, train, evaluation=EVALUATION, metrics=METRICS, train_scan=train.measurement.scan
    )
    assert same_place.region.pixels == 0
    assert same_place.methods["pinn"].outcome == "failed"
    assert same_place.methods["pinn"].reason == "the evaluated region is empty"
    assert same_place.methods["lsqml"].outcome == "missing"
    assert all(row.value is None and row.reason for row in same_place.rows)
    assert same_place.contests == ()
    json.dumps(same_place.to_dict(), allow_nan=False)


def test_photons_of_the_region_belong_to_the_splits_own_frames(compared, truth, train_split):
    m = train_split({}).measurement
    region = evaluation_region(m.probe, m.scan, threshold=0.1, scan_box=scan_box(m.scan))
    photons = m.intensity_scale**2 * region.illumination * np.abs(truth) ** 2
    assert compared.photons.photons_per_pixel == pytest.approx(photons[region.mask].mean())
    assert compared.photons.phase_floor_rad == pytest.approx(np.sqrt((1 / (4 * photons[region.mask])).mean()))
    assert compared.photons.frames == m.frames


def test_documents_hold_plain_json_without_nan_and_the_table_its_columns(compared, truth, train_split, compare_cell):
    cell = compare_cell(
        1000,
        "sparse_object",
        truth,
        {"train": train_split({"pinn": noisy(truth, 0.1), "lsqml": "not run"}), "test": "the view has no test frames"},
        evaluation=EVALUATION,
        metrics=METRICS,
    )
    document = json.loads(json.dumps(cell.to_dict(), allow_nan=False))
    assert document["splits"]["test"] == {
        "split": "test",
        "outcome": "skipped",
        "reason": "the view has no test frames",
    }
    train = document["splits"]["train"]
    assert train["primary"] == "phase rmse"
    assert train["arms"]["lsqml"] == {"outcome": "missing", "reason": "not run", "verdict": None, "alignment": None}
    assert all(row["value"] is not None or row["reason"] for row in train["rows"])
    table = list(csv.DictReader(io.StringIO(cell.to_csv().decode())))
    assert all(tuple(row) == CSV_COLUMNS for row in table)
    assert len({tuple(row[c] for c in CSV_COLUMNS[:4]) for row in table}) == len(table) == len(train["rows"])
    assert {row["value"] for row in table if row["arm"] == "lsqml"} == {""}
    assert all(math.isfinite(float(row["value"])) for row in table if row["value"] != "")
    json.dumps(compared.to_dict(), allow_nan=False)


def test_settings_choose_parts_and_thresholds(truth, train_split, compare_split):
    split = train_split({"pinn": noisy(truth, 0.3)})
    phase_only = compare_split(
        "train", truth, split, evaluation=EVALUATION, metrics=MetricsConfig(report_amplitude=False)
    )
    assert {row.part for row in phase_only.rows} == {"phase", "complex"}
    assert phase_only.value("pinn", "amplitude", "rmse") is None
    amplitude_first = compare_split(
        "train", truth, split, evaluation=EVALUATION, metrics=MetricsConfig(emphasize_phase=False)
    )
    assert amplitude_first.to_dict()["primary"] == "amplitude rmse"
    strict = compare_split("train", truth, split, evaluation=EVALUATION, metrics=MetricsConfig(frc_threshold=0.9))
    assert strict.value("pinn", "complex", "frc_05") > phase_only.value("pinn", "complex", "frc_05")
    wider = compare_split("train", truth, split, evaluation=EvaluationSettings(coverage_threshold=1.0), metrics=METRICS)
    assert wider.region.pixels < phase_only.region.pixels
    fixed = compare_split(
        "train",
        truth,
        train_split({"pinn": np.roll(truth, 1, 0)}),
        evaluation=EvaluationSettings(max_shift_px=0.0),
        metrics=METRICS,
    )
    assert fixed.methods["pinn"].alignment.shift_px == (0.0, 0.0)
    assert fixed.value("pinn", "phase", "rmse") > 0.05
