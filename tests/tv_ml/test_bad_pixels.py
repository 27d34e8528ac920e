"""Detector pixels that were not measured, in regularised maximum likelihood."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fixtures.scan import detector_gaps, masked, write_data_set
from scipy.ndimage import uniform_filter

from fly64_assets.contract.npz import open_npz
from fly64_assets.engines.execution import RESULT, Execution
from fly64_assets.pinn.unrolled.count_splits import CountSplits
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.tv_ml.job import reconstruct_job
from fly64_assets.tv_ml.settings import TvMlSettings
from fly64_assets.tv_ml.solver import HELD_OUT, _Solver

BAD = detector_gaps(64)
QUICK = {"levels": (0.3,), "steps": 4}


def results(found) -> tuple[bytes, ...]:
    return tuple(array.tobytes() for array in (found.object, found.loss, found.held_out))


@pytest.fixture
def with_zeros(scanned, solved):
    return solved(masked(scanned(n=8).measurement, BAD, 0.0), **QUICK)


@pytest.mark.parametrize("value", [1e6, np.nan])
def test_what_is_stored_at_bad_pixels_changes_no_byte(scanned, solved, with_zeros, value):
    assert results(solved(masked(scanned(n=8).measurement, BAD, value), **QUICK)) == results(with_zeros)


def test_a_mask_changes_the_object_the_objective_and_the_held_out_loss(scanned, solved, with_zeros):
    zeros = replace(masked(scanned(n=8).measurement, BAD, 0.0), bad_pixels=None)
    for own, other in zip(results(solved(zeros, **QUICK)), results(with_zeros), strict=True):
        assert own != other


def test_the_object_is_that_of_a_detector_without_gaps(scanned, textured, solved):
    s = scanned(n=40, dose=1e5, obj=textured)
    gaps = masked(s.measurement, BAD, 5.0)
    whole, own, zeros = (
        solved(m, levels=(0.6,), steps=16).object
        for m in (s.measurement, gaps, replace(masked(gaps, BAD, 0.0), bad_pixels=None))
    )
    reference = replace(s, object=whole)
    assert s.phase_error(own) < 1.15 * s.phase_error(whole)
    assert reference.phase_error(zeros) > 2 * reference.phase_error(own)


def test_the_held_out_loss_is_the_sum_over_measured_pixels(scanned, tmp_path):
    m = masked(scanned(n=5).measurement, BAD, 3.0)
    plane, settings = ObjectPlane(m), TvMlSettings()
    counts = CountSplits.of(m, np.arange(5), splits=settings.count_splits, kept=1, seed=1, scratch=tmp_path)
    solver = _Solver(m, settings, plane, counts, lambda *_: None)
    flat, good = torch.full(plane.shape, 0.8, dtype=torch.complex64), ~np.fft.ifftshift(BAD)
    rates, c = solver._rates(flat, np.arange(5)).double().numpy(), counts.split(HELD_OUT, np.arange(5)).astype(float)

    def loss(background):
        lit = np.maximum(rates + background, 1e-8)[:, good]
        return (lit - c[:, good] * np.log(lit)).sum(axis=1).mean()

    found = solver._held_out_loss(flat)
    assert found < loss(0.0)
    assert found == pytest.approx(loss(background_of(rates, c, good)), rel=1e-5)


def background_of(rates: np.ndarray, counts: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Sixty steps of expectation maximisation with smoothing, in numpy."""

    def mean(image):
        return uniform_filter(np.fft.fftshift(image), 9, mode="nearest")

    own = np.full(good.shape, 0.05 * counts[:, good].mean() + 1e-12)
    for _ in range(60):
        raised = np.where(good, own * (counts / np.maximum(rates + own, 1e-8)).mean(axis=0), 0)
        own = np.fft.ifftshift(mean(raised) / mean(good.astype(float)))
    return own


def test_the_job_reads_the_mask_of_a_file(scanned, solved, tmp_path):
    s = scanned(n=6)
    m = masked(s.measurement, BAD, 4.0)
    request = {
        "measurement": str(write_data_set(tmp_path / "gaps.npz", m, s.object)),
        "output_folder": str(tmp_path),
        "settings": TvMlSettings(**QUICK).parameters(),
        "seed": 1,
        "execution": Execution().to_dict(),
        "metadata": {},
    }
    reconstruct_job(request, lambda *_: None)
    found = open_npz(tmp_path / RESULT)["reconstructed_object"]
    assert found.tobytes() == solved(m, slow_phases=True, **QUICK).object.tobytes()
