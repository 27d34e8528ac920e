"""Detector pixels that were not measured, in LSQML: the library's mask, the study's minibatch, deviances, stopping."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fixtures.scan import detector_gaps, masked, write_data_set
from scipy.special import xlogy

from fly64_assets.contract.npz import open_npz
from fly64_assets.engines.execution import RESULT, Execution
from fly64_assets.lsqml import engine
from fly64_assets.lsqml.count_split import HeldOutCounts, expected_deviance
from fly64_assets.lsqml.job import reconstruct_job
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.physics.forward import patch_counts

BAD = detector_gaps(64)
CORNER = np.fft.ifftshift(BAD)
CASES = {
    "study": {},
    "poisson": {"noise_model": "poisson", "gaussian_epochs": 2, "stopping": "epochs"},
    "random": {"batching": "random", "stopping": "discrepancy"},
    "fourier": {"subpixel": "fourier", "probe": "refined", "stopping": "epochs"},
    "total variation": {"total_variation": 0.1, "probe": "refined"},
}


def run(measurement, **settings):
    chosen = LsqmlSettings(**{"epochs": 3, "batch_size": 8, **settings})
    return engine.reconstruct(measurement, chosen, Execution(), 1, lambda *_: None)


def results(found) -> dict[str, bytes]:
    names = ("object", "probe", "loss", "deviance", "expected", "held_out", "refit_loss")
    return {name: getattr(found, name).tobytes() for name in names}


@pytest.mark.parametrize("case", CASES)
def test_what_is_stored_at_bad_pixels_changes_no_byte_and_the_mask_does(scanned, case):
    m = scanned((100, 100), n=12, dose=1e4).measurement
    zeros, huge, nan = (masked(m, BAD, value) for value in (0.0, 1e6, np.nan))
    own, *others, unmasked = (
        results(run(measured, **CASES[case])) for measured in (zeros, huge, nan, replace(zeros, bad_pixels=None))
    )
    for other in others:
        assert other == own
    for name in ("object", "loss", "deviance", "expected"):
        assert own[name] != unmasked[name]


@pytest.mark.parametrize("noise", ["gaussian", "poisson"])
def test_the_object_is_that_of_a_detector_without_gaps(scanned, noise):
    """At many photons, within three percent of its phases; taken for zeros the gaps change it much more."""
    s = scanned((100, 100), n=32, dose=1e7)
    settings = {"epochs": 30, "stopping": "epochs", "noise_model": noise, "batch_size": 11}
    gaps = masked(s.measurement, BAD, 5.0)
    whole, own, zeros = (
        run(m, **settings).object for m in (s.measurement, gaps, replace(masked(gaps, BAD, 0.0), bad_pixels=None))
    )
    reference = replace(s, object=whole)
    assert reference.phase_error(own) < 0.03 * reference.phase_error(np.ones_like(whole))
    assert reference.phase_error(zeros) > 10 * reference.phase_error(own)


@pytest.mark.parametrize(("probe", "variation"), [("fixed", 0.0), ("refined", 0.0), ("fixed", 0.02)])
def test_the_minibatch_of_the_study_masks_like_the_librarys(scanned, monkeypatch, probe, variation):
    from fly64_assets.lsqml import minibatch

    m = masked(scanned(n=48, dose=1e5).measurement, BAD, 2.0)
    settings = {"epochs": 15, "stopping": "epochs", "batch_size": 16, "probe": probe, "total_variation": variation}
    fast = run(m, **settings)
    monkeypatch.setattr(minibatch, "use_fast_minibatches", lambda _task: None)
    stock = run(m, **settings)
    np.testing.assert_allclose(fast.object, stock.object, rtol=0, atol=1e-4)
    np.testing.assert_allclose(fast.probe, stock.probe, rtol=0, atol=1e-4 * np.abs(stock.probe).max())
    np.testing.assert_allclose(fast.loss, stock.loss, rtol=1e-4)


@pytest.fixture
def started(scanned):
    """Builder: ``started(noise)`` gives a reconstructor of a scan with gaps, and its first minibatch."""

    def build(noise: str):
        m = masked(scanned(n=24, dose=1e5).measurement, BAD, 2.0)
        settings, obj = LsqmlSettings(batch_size=8), np.full(m.object_shape, 0.8, np.complex64)
        task = engine._task(m, HeldOutCounts(m, 0.0, 1), settings, Execution(), 1, obj, noise, m.probe)
        task.reconstructor.run_pre_run_hooks()
        task.reconstructor.run_pre_epoch_hooks()
        indices = next(iter(task.reconstructor.dataloader.batch_sampler))
        return task.reconstructor, indices, task.reconstructor.dataset.patterns[indices]

    with torch.no_grad():
        yield build


def test_poisson_step_lengths_know_the_mask(started):
    """They did not in older versions of the library, and depended on what is stored there."""
    reconstructor, indices, counts = started("poisson")
    y_pred, good = reconstructor.forward_model(indices) + 1.0, torch.from_numpy(~CORNER)

    def lengths(pred, true):
        torch.manual_seed(0)
        reconstructor.alpha_psi_far_all_pos[:] = 0.5
        return reconstructor.get_psi_far_step_size(pred, true, indices)

    own = lengths(y_pred, counts)
    for value in (0.0, 50.0, 1e6):
        torch.testing.assert_close(lengths(y_pred, torch.where(good, counts, value)), own, rtol=0, atol=0)
    reconstructor.dataset.valid_pixel_mask = torch.ones(64, 64, dtype=torch.bool)
    assert (lengths(y_pred, counts) - own).abs().max() > 1e-3
    # In double precision, by sums over measured pixels.
    pred, true = (values[:, good].double() for values in (y_pred, counts))
    xi, alpha = 1 - true / (pred + 1e-5), torch.full((len(indices),), 0.5, dtype=torch.float64)
    for _ in range(2):
        before = alpha.mean()
        step = (xi * (pred - true / (1 - before * xi))).sum(1) / (xi**2 * pred).sum(1)
        alpha = (0.5 * before + 0.5 * step).clamp(0, 1)
    torch.manual_seed(0)
    torch.testing.assert_close(own.double(), alpha + torch.randn(alpha.shape).double() * 1e-2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("noise", ["gaussian", "poisson"])
def test_loss_and_far_field_error_are_those_of_measured_pixels(started, noise):
    reconstructor, indices, counts = started(noise)
    y_pred, good = reconstructor.forward_model(indices) + 1.0, ~CORNER
    pred, true = (values.double().numpy()[:, good] for values in (y_pred, counts))
    expected = ((np.sqrt(pred + 1e-7) - np.sqrt(true + 1e-7)) ** 2).mean()
    metric = reconstructor.loss_tracker.metric_function
    assert float(metric(y_pred, counts)) == pytest.approx(expected, rel=1e-5)
    reconstructor.current_minibatch, reconstructor.accumulated_fourier_error = 0, 0.0
    reconstructor.update_fourier_error(y_pred, counts)
    error = ((np.sqrt(pred) - np.sqrt(true)) ** 2).sum() / 64**2
    assert float(reconstructor.accumulated_fourier_error) == pytest.approx(error, rel=1e-5)


@pytest.mark.parametrize("part", [0.0, 0.2])
def test_deviances_are_means_over_measured_pixels(scanned, part):
    s = scanned(n=40, dose=1e4)
    m = masked(s.measurement, BAD, 9.0)
    split = HeldOutCounts(m, part, 1)
    fitted = np.fft.fftshift(split.fitted, axes=(-2, -1)).astype(float)
    assert not fitted[:, BAD].any()
    rates = np.maximum(patch_counts(s.object, m.probe, m.scan, m.intensity_scale), 1e-12)[:, ~BAD]

    def mean(counts, expected):
        return 2 * (xlogy(counts, counts / expected) - counts + expected).mean()

    found = split.deviances(s.object, m.probe)
    assert found.fitted == pytest.approx(mean(fitted[:, ~BAD], (1 - part) * rates), rel=1e-6)
    assert found.expected == pytest.approx(expected_deviance((1 - part) * rates).mean(), rel=1e-9)
    assert abs(found.fitted - found.expected) < 4 * np.sqrt(2 / rates.size)
    if part:
        assert found.held_out == pytest.approx(mean((m.counts() - fitted)[:, ~BAD], part * rates), rel=1e-6)


def test_few_photons_stop_early_by_discrepancy_in_spite_of_gaps(scanned):
    """Zeros at the gaps keep the deviance above its expectation for good."""
    m = scanned(n=40, dose=1e3).measurement
    settings = {"epochs": 24, "stopping": "discrepancy", "noise_model": "poisson", "batch_size": 16}
    whole, gaps = run(m, **settings), run(masked(m, BAD, 5.0), **settings)
    assert abs(gaps.kept_epoch - whole.kept_epoch) <= 2
    assert gaps.kept_epoch < 24
    assert gaps.stop_reason.startswith("discrepancy: ")


def test_the_job_reads_the_mask_of_a_file(scanned, tmp_path):
    s = scanned(n=12)
    m, settings = masked(s.measurement, BAD, 4.0), LsqmlSettings(epochs=3)
    request = {
        "measurement": str(write_data_set(tmp_path / "gaps.npz", m, s.object)),
        "output_folder": str(tmp_path),
        "settings": settings.parameters(),
        "seed": 1,
        "execution": Execution().to_dict(),
        "metadata": {},
    }
    reconstruct_job(request, lambda *_: None)
    expected = engine.reconstruct(m, settings, Execution(), 1, lambda *_: None).object
    assert open_npz(tmp_path / RESULT)["reconstructed_object"].tobytes() == expected.tobytes()
