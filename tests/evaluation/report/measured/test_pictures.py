"""Figures of measured frames: residuals against a second calculation, plots of little or nothing, both probes."""

import io

import numpy as np
import pytest
from fixtures.judged import judged_cell, judged_input, judged_truth, no_limit
from matplotlib import colors
from PIL import Image

from fly64_assets.evaluation.counts.judge import judge_split
from fly64_assets.evaluation.report.figures import PREVIEW_BYTES, method_style
from fly64_assets.evaluation.report.measured.pictures import (
    best_method,
    residual_figure,
    residual_frames,
    residual_pictures,
)
from fly64_assets.evaluation.report.measured.plots import likelihood_figure, measured_plots, resolution_figure
from fly64_assets.evaluation.report.measured.probe import probe_figure, probe_health
from fly64_assets.evaluation.settings import EvaluationSettings, MetricsConfig
from fly64_assets.physics.scan import SPLITS


def picture(data):
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return np.asarray(image.convert("RGB")).astype(int)


def ink(summary, data, method):
    """Pixels in the colour of a method."""
    rgb = 255 * np.array(colors.to_rgb(method_style(summary["arms"], method)["color"]))
    return int(np.all(np.abs(picture(data) - rgb) < 6, axis=2).sum())


@pytest.fixture(scope="module")
def inputs():
    return {split: judged_input(split, "dense") for split in SPLITS}


def test_residual_frames_are_those_that_the_best_method_predicts_worst(inputs):
    """Counts against a subtraction, predictions against windows and transforms that are written out here."""
    judged, data = judged_cell("dense").splits["test"], inputs["test"]
    assert best_method(judged) == "pinn"
    frames = residual_frames(judged, data, "pinn")
    excesses = [frame.excess for frame in frames]
    assert excesses == sorted(excesses, reverse=True)
    m, whole = data.measurement, data.measured
    for frame in frames:
        here = int(np.flatnonzero(m.scan_index == frame.scan_index)[0])
        there = int(np.flatnonzero(whole.scan_index == frame.scan_index)[0])
        kept_aside = whole.counts()[there] - m.counts()[here]
        np.testing.assert_array_equal(frame.counted, kept_aside)
        # What an object predicts has the total of what was counted, to the counting noise.
        assert abs(frame.predicted.sum() - kept_aside.sum()) < 6 * np.sqrt(kept_aside.sum())
        assert np.abs(frame.deviations).mean() < 1.5
    # The true object has residuals of unit variance where there is light.
    bright = frames[0].predicted > 20
    assert 0.5 < frames[0].deviations[bright].std() < 2
    assert judged_truth().patch_size == len(frames[0].counted)


def test_bad_pixels_have_no_residual():
    masked = judged_input("test", "dense", masked=True)
    settings = {"evaluation": EvaluationSettings(), "metrics": MetricsConfig()}
    judged = judge_split("test", judged_truth().object, masked, **settings, limit=no_limit)
    frames = residual_frames(judged, masked, "lsqml")
    for frame in frames:
        np.testing.assert_array_equal(np.isnan(frame.counted), masked.measurement.bad_pixels)
        np.testing.assert_array_equal(np.isnan(frame.deviations), masked.measurement.bad_pixels)
    data = residual_figure(frames, "<name> & title")
    assert len(data) <= PREVIEW_BYTES
    assert np.any(np.abs(picture(data) - round(255 * 0.85)).max(axis=2) <= 1)


def test_residuals_belong_to_the_judged_half_and_to_measured_frames_alone(inputs, comparison):
    cell = judged_cell("dense")
    assert list(residual_pictures(cell, inputs)) == ["residuals_test.png"]
    assert residual_pictures(cell, inputs | {"test": "no frames"}) == {}
    assert residual_pictures(comparison, inputs) == {}


def test_plots_hold_every_method_and_stay_small(summary):
    plots = measured_plots(summary)
    assert set(plots) == {f"study/likelihood/{split}" for split in SPLITS} | {
        "study/resolution",
        "study/correlation/photons",
        "study/correlation/frames",
    }
    for data in plots.values():
        assert len(data) <= PREVIEW_BYTES
        assert all(ink(summary, data, method) > 30 for method in ("pinn", "lsqml"))
    # A method that failed everywhere has no ink, and keeps its place in the palette.
    assert ink(summary, plots["study/likelihood/test"], "tv_ml") == 0


@pytest.mark.parametrize("excess", [0.0, -3.5, 1e-3, 2e7])
def test_any_single_excess_can_be_drawn(summary_of, cell, document, excess):
    """At the reference, below it, tiny and huge (warnings are errors here)."""
    made = document(1000, "baseline", {"pinn": (excess, 0.1, excess / 5000, None, None, None)})
    summary = summary_of([cell(1000, "baseline", made)], doses=(1000,))
    assert ink(summary, likelihood_figure(summary, "test"), "pinn") > 10
    assert ink(summary, resolution_figure(summary, "test"), "pinn") == 0


def test_numbers_on_probes_are_those_of_their_definition(probes):
    first, calibrated = probes
    health = probe_health(first, np.stack([calibrated, 0.1 * calibrated[::-1]]))
    assert health["first"]["photons"] == pytest.approx(float((np.abs(first) ** 2).sum()))
    assert health["calibrated"]["photons"] == pytest.approx(1.01 * health["first"]["photons"])
    assert (health["first"]["modes"], health["calibrated"]["modes"]) == (1, 2)
    # A probe that fills its window evenly has in the border what the border has of the area.
    even = probe_health(np.ones((32, 32)), np.ones((32, 32)))
    assert even["first"]["power_in_window_border"] == pytest.approx(1 - (28 / 32) ** 2)
    assert even["first"]["power_in_far_field_border"] == pytest.approx(0, abs=1e-12)
    assert even["difference"] == pytest.approx(0, abs=1e-7)
    # A common factor is no difference; an orthogonal probe is all of it.
    assert probe_health(first, 3j * first)["difference"] == pytest.approx(0, abs=1e-3)
    ramp = np.exp(2j * np.pi * 5 * np.arange(32) / 32) * np.ones((32, 32))
    assert probe_health(np.ones((32, 32)), ramp)["difference"] == pytest.approx(1)


def test_both_probes_are_drawn(probes):
    data = probe_figure(*probes)
    assert len(data) <= PREVIEW_BYTES
    assert picture(data).std() > 10
    assert probe_figure(probes[0], probes[0]) != data
