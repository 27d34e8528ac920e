from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import xlogy

from fly64_assets.lsqml import count_split as photons
from fly64_assets.lsqml.count_split import Photons
from fly64_assets.physics.forward import patch_counts


def counts_of(divided: Photons) -> np.ndarray:
    return np.fft.fftshift(divided.fitted, axes=(-2, -1))


def test_without_a_part_kept_aside_all_counts_are_fitted(scanned):
    m = scanned(dose=1e4, n=70).measurement
    divided = Photons(m, 0, 1)
    assert divided.fitted.dtype == np.float32
    np.testing.assert_array_equal(counts_of(divided), m.counts())
    assert divided.scale == m.intensity_scale
    assert math.isnan(divided.judge(np.ones(m.object_shape), m.probe).held_out)


def test_photons_kept_aside_are_part_of_the_counts_in_the_right_share(scanned):
    m = scanned(dose=1e4, n=70).measurement
    divided = Photons(m, 0.2, 1)
    kept, whole = counts_of(divided), m.counts()
    assert (kept >= 0).all()
    assert (kept <= whole).all()
    share = 1 - kept.sum() / whole.sum()
    assert abs(share - 0.2) < 5 * math.sqrt(0.2 * 0.8 / whole.sum())
    assert divided.scale**2 == pytest.approx(0.8 * m.intensity_scale**2)


def test_the_division_depends_on_seed_and_place_of_the_frame_alone(scanned, monkeypatch):
    m = scanned(dose=1e4, n=70).measurement
    one = Photons(m, 0.2, 1).fitted
    monkeypatch.setattr(photons, "blocks", lambda n: (slice(j, min(j + 7, n)) for j in range(0, n, 7)))
    np.testing.assert_array_equal(Photons(m, 0.2, 1).fitted, one)
    assert (Photons(m, 0.2, 2).fitted != one).any()


@pytest.mark.parametrize("part", [0.0, 0.2])
def test_the_truth_has_the_expected_deviance_and_a_flat_object_has_more(scanned, part):
    s = scanned(dose=1e4, n=40)
    m = s.measurement
    divided = Photons(m, part, 1)
    truth, flat = divided.judge(s.object, m.probe), divided.judge(np.ones_like(s.object), m.probe)
    pixels = 40 * 64**2
    assert abs(truth.deviance - truth.expected) < 4 * np.sqrt(2 / pixels)
    assert flat.deviance > truth.expected + 0.1
    if part:
        assert flat.held_out > truth.held_out + 0.02


def test_only_some_frames_are_judged_where_there_are_many(scanned, monkeypatch):
    monkeypatch.setattr(photons, "JUDGED_FRAMES", 20)
    s = scanned(dose=1e4, n=39)
    m = s.measurement
    broken = m.amplitude.copy()
    broken[1::2] = 9
    even = np.arange(0, 39, 2)
    some = replace(m, amplitude=m.amplitude[even], x=m.x[even], y=m.y[even], scan_index=even)
    found = Photons(replace(m, amplitude=broken), 0, 1).judge(s.object, m.probe)
    expected = Photons(some, 0, 1).judge(s.object, m.probe)
    assert (found.deviance, found.expected) == pytest.approx((expected.deviance, expected.expected), rel=1e-12)


def test_photons_kept_aside_judge_in_all_frames_though_few_judge_the_fit(scanned, monkeypatch):
    monkeypatch.setattr(photons, "JUDGED_FRAMES", 20)
    s = scanned(dose=1e4, n=39)
    m = s.measurement
    divided = Photons(m, 0.2, 1)
    aside = m.counts() - counts_of(divided)
    rates = 0.2 * np.maximum(patch_counts(s.object, m.probe, m.scan, m.intensity_scale), 1e-12)
    expected = 2 * (xlogy(aside, aside / rates) - aside + rates).mean()
    assert divided.judge(s.object, m.probe).held_out == pytest.approx(expected, rel=1e-9)
