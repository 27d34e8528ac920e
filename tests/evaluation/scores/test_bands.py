"""Scores gathered in bands: the same as from whole pictures, in the memory of a few copies of the object."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.ndimage
from numpy.testing import assert_allclose

from fly64_assets.evaluation.scores import bands, metrics, registration, resolution
from fly64_assets.evaluation.scores.alignment import align
from fly64_assets.evaluation.scores.compare import SplitInput, compare_split
from fly64_assets.evaluation.scores.metrics import Part
from fly64_assets.evaluation.scores.region import Rectangle, scan_box
from fly64_assets.evaluation.settings import EvaluationSettings, MetricsConfig
from fly64_assets.physics.forward import patch_counts
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.windows import Scan


def no_limit(problem):
    raise ValueError("not asked for")


def smooth(shape, seed):
    noise = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0, mode="wrap")
    return noise / noise.std()


def large(side, seed=3):
    """Object (side, side) complex64."""
    return ((0.85 + 0.05 * smooth((side, side), seed)) * np.exp(0.3j * smooth((side, side), seed + 1))).astype(
        np.complex64
    )


def slopes(shape, ramp):
    return np.exp(1j * (ramp[0] * np.arange(shape[0])[:, None] + ramp[1] * np.arange(shape[1])[None, :]))


def noisy(obj, sigma, seed=30):
    return obj * np.exp(1j * np.random.default_rng(seed).normal(0, sigma, obj.shape))


def ring_correlation(a, b):
    """Of two whole pictures."""
    return resolution.ring_correlation(lambda rows: (a[rows], b[rows]), a.shape)


@pytest.fixture(scope="module")
def methods(truth):
    """Arms that need everything alignment can do, and one with holes outside the region."""
    holed = noisy(truth, 0.2)
    holed[:3] = np.nan
    return {
        "noisy": 2j * noisy(truth, 0.1),
        "whole": np.roll(noisy(truth, 0.05), (1, -2), (0, 1)),
        "part": scipy.ndimage.shift(noisy(truth, 0.02), (0.4, -0.7), order=5, mode="nearest"),
        "refined": noisy(truth, 0.05) * slopes(truth.shape, (0.03, -0.05)),
        "holed": holed,
    }


@pytest.fixture(scope="module")
def scored(truth, methods, train_split):
    """All scores of all methods; bands as the module has them."""

    def score():
        return compare_split(
            "train",
            truth,
            train_split(methods, {"refined"}),
            evaluation=EvaluationSettings(),
            metrics=MetricsConfig(),
            limit=no_limit,
        )

    return score


@pytest.mark.parametrize("rows", [5, 32])
def test_scores_do_not_depend_on_the_height_of_the_bands(scored, monkeypatch, rows):
    whole = scored()
    assert whole.methods["whole"].alignment.shift_px != (0.0, 0.0)
    assert not float(whole.methods["part"].alignment.shift_px[0]).is_integer()
    assert whole.methods["refined"].alignment.ramp_rad_per_px != (0.0, 0.0)
    monkeypatch.setattr(bands, "BAND_PIXELS", 96 * rows)
    banded = scored()
    assert len(whole.rows) == len(banded.rows) > 100
    for one, other in zip(whole.rows, banded.rows, strict=True):
        assert (one.method, one.part, one.metric) == (other.method, other.part, other.metric)
        assert (one.value is None) == (other.value is None), (one, other)
        if one.value is not None:
            assert other.value == pytest.approx(one.value, rel=1e-9, abs=1e-12), one
    for method, parts in whole.curves.items():
        for part, curve in parts.items():
            if not isinstance(curve, str):
                assert_allclose(banded.curves[method][part].correlation, curve.correlation, atol=1e-10)
    assert banded.photons.phase_floor_rad == pytest.approx(whole.photons.phase_floor_rad, rel=1e-12)


@pytest.mark.parametrize("shape", [(61, 83), (64, 40), (97, 97)])
@pytest.mark.parametrize("rows", [1, 2, 9])
def test_windowed_scores_and_curves_of_any_size_do_not_depend_on_the_bands(monkeypatch, shape, rows):
    truth, other = smooth(shape, 1), smooth(shape, 1) + 0.3 * smooth(shape, 2)
    rectangle = Rectangle(3, 2, shape[0] - 6, shape[1] - 3)

    def scores():
        part = Part(lambda p: (truth[p], other[p]), np.ones(shape, bool), rectangle, float(np.ptp(truth)))
        curve = resolution.ring_correlation(*part.windows())
        values = [f(part).value for f in (metrics.mae, metrics.rmse, metrics.psnr, metrics.ssim)]
        return [*values, metrics.ms_ssim(part, 1.0).value, metrics.correlation(part.moments).value], curve

    whole, curve = scores()
    monkeypatch.setattr(bands, "BAND_PIXELS", shape[1] * rows)
    banded, same = scores()
    assert_allclose(banded, whole, rtol=1e-11)
    assert_allclose(same.correlation, curve.correlation, atol=1e-11)
    assert_allclose(same.half_bit, curve.half_bit, rtol=1e-12)


def test_rows_of_an_aligned_field_are_those_of_the_whole(truth, methods, mask):
    for name, method in methods.items():
        aligned = align(method, truth, mask, max_shift_px=2.0, remove_ramp=name == "refined")
        whole = aligned.field
        for part in (slice(0, 5), slice(40, 41), slice(90, 96)):
            assert_allclose(aligned.rows(part), whole[part], rtol=1e-12, atol=1e-13)


def test_a_large_object_is_registered_from_tiles_as_well_as_from_all_of_it(monkeypatch):
    truth = large(300).astype(np.complex128)
    seen = noisy(scipy.ndimage.shift(truth, (0.35, -1.2), order=5, mode="wrap"), 0.02)
    seen = 0.7j * seen * slopes(truth.shape, (0.4, -0.2))
    mask = np.zeros(truth.shape, dtype=bool)
    mask[20:280, 30:270] = True
    mask[100:120, 100:140] = False
    whole = align(seen, truth, mask, max_shift_px=2.0, remove_ramp=True)
    monkeypatch.setattr(registration, "WHOLE_UP_TO", 1000)
    monkeypatch.setattr(registration, "TILE_PX", 60)
    tiles = registration._tiles(mask, 50)
    assert len(tiles) == 9
    used = sum(np.count_nonzero(chosen) for _, chosen in tiles)
    assert used < 0.6 * np.count_nonzero(mask)
    assert all(not chosen[~mask[span]].any() for span, chosen in tiles)
    found = align(seen, truth, mask, max_shift_px=2.0, remove_ramp=True)
    assert found.shift_px == pytest.approx((-0.35, 1.2), abs=5e-3)
    assert found.shift_px == pytest.approx(whole.shift_px, abs=5e-3)
    assert found.ramp_rad_per_px == pytest.approx((-0.4, 0.2), abs=2e-5)


def test_tiles_find_a_region_that_fills_a_corner_alone(monkeypatch):
    monkeypatch.setattr(registration, "WHOLE_UP_TO", 1000)
    monkeypatch.setattr(registration, "TILE_PX", 40)
    mask = np.zeros((230, 170), dtype=bool)
    mask[-30:, -20:] = True
    tiles = registration._tiles(mask, 5)
    assert 1 <= len(tiles) <= 4
    assert sum(np.count_nonzero(chosen) for _, chosen in tiles) >= np.count_nonzero(mask) / 2


def test_single_precision_gives_the_same_curve_and_a_flat_picture_stays_flat(monkeypatch):
    a = large(200).astype(np.complex128)
    b = noisy(a, 0.2)
    double = ring_correlation(a, b)
    monkeypatch.setattr(resolution, "SINGLE_FROM", 1)
    single = ring_correlation(a, b)
    assert_allclose(single.correlation, double.correlation, atol=1e-4)
    assert np.abs(single.correlation - double.correlation).max() > 0, "nothing was in single precision"
    assert ring_correlation(np.abs(a), np.full(a.shape, 0.7)) == "the reconstruction is constant in the rectangle"


class ComputedFrames:
    """Frames that take no memory: computed from the truth when they are read."""

    def __init__(self, truth, probe, scan):
        self.truth, self.probe, self.scan = truth, probe, scan

    def __getitem__(self, frames):
        return np.sqrt(np.rint(patch_counts(self.truth, self.probe, self.scan[frames], 1.0)))


@pytest.mark.slow
def test_scoring_takes_a_few_copies_of_the_object(monkeypatch, probe):
    """Bands and tiles as small beside this object as the real ones are beside one of 10 000 x 10 000 pixels."""
    side = 1500
    truth = large(side)
    method = noisy(truth, 0.1).astype(np.complex64)
    y, x = (c.ravel() for c in np.meshgrid(*[np.arange(20.0, side - 20, 40)] * 2, indexing="ij"))
    # Rows of bright discs that touch, so that the region reaches over the whole object.
    bright = np.ones((48, 48), np.complex64)
    measurement = Measurement(
        ComputedFrames(truth, bright, Scan(x, y, truth.shape, len(bright))),
        1.0,
        bright,
        x,
        y,
        truth.shape,
        np.arange(len(x), dtype=np.int64),
    )
    monkeypatch.setattr(bands, "BAND_PIXELS", bands.BAND_PIXELS * side**2 // 10**8)
    monkeypatch.setattr(resolution, "SINGLE_FROM", side**2 // 10)
    monkeypatch.setattr(registration, "WHOLE_UP_TO", 1000)
    monkeypatch.setattr(registration, "TILE_PX", 72)
    tracemalloc.start()
    compared = compare_split(
        "train",
        truth,
        SplitInput(measurement, {"arm": method}, scan_box(measurement.scan)),
        evaluation=EvaluationSettings(),
        metrics=MetricsConfig(),
        limit=no_limit,
    )
    copies = tracemalloc.get_traced_memory()[1] / truth.nbytes
    tracemalloc.stop()
    assert compared.value("arm", "phase", "rmse") == pytest.approx(0.1, rel=0.01)
    assert compared.region.pixels > 0.9 * side**2
    # Illumination, its thresholds, two spectra in single precision, and bands; the objects themselves are two more.
    assert copies < 4.5
