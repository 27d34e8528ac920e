from __future__ import annotations

from dataclasses import fields, replace
from itertools import islice

import numpy as np
import pytest
import torch
from fixtures.scan import in_unit
from scipy.optimize import minimize

from fly64_assets.engines.execution import Execution
from fly64_assets.errors import EngineError
from fly64_assets.lsqml.engine import reconstruct as lsqml
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.unrolled import regularisation_path
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import EDGE, RegularisedLikelihood

BACKGROUND = 0.02
"""Photons per detector pixel in the comparison with the second implementation."""
BRIGHT = 1e8
"""Photons per frame at which noise does not matter."""


@pytest.fixture
def given_background(monkeypatch):
    """The background is :data:`BACKGROUND`, whatever the object leaves."""
    monkeypatch.setattr(RegularisedLikelihood, "fitted_background", lambda *_: torch.full((64, 64), BACKGROUND))


def test_an_object_of_uniform_pieces_is_found_from_noiseless_counts(scanned, solved):
    s = scanned(dose=BRIGHT)
    found = solved(s.measurement, levels=(0.3, 0.075), steps=100)
    assert s.phase_error(np.ones_like(s.object)) > 0.3
    assert s.phase_error(found.object) < 0.02


@pytest.mark.parametrize("unit", [2.0**-90, 2.0**-40, 2.0**100])
def test_the_unit_of_the_probe_changes_no_digit(scanned, solved, unit):
    m = scanned(dose=1e4).measurement
    one, other = (solved(measured, levels=(0.3, 0.15), steps=3) for measured in (m, in_unit(m, unit)))
    np.testing.assert_array_equal(other.object, one.object)
    np.testing.assert_array_equal(other.loss, one.loss)
    np.testing.assert_allclose(other.coverage / np.float64(unit) ** 2, one.coverage, rtol=1e-6, atol=1e-9)


def test_few_photons_need_the_regularisation(scanned, solved):
    """Neither likelihood steps with next to no smoothing nor LSQML, stopped in time, come near."""
    s = scanned(dose=1e3)
    own = s.phase_error(solved(s.measurement, steps=24).object)
    without = s.phase_error(solved(s.measurement, levels=(1e-3,), steps=24).object)
    other = lsqml(s.measurement, LsqmlSettings(epochs=20), Execution(), 1, lambda *_: None)
    assert own < 0.8 * without
    assert own < 0.9 * s.phase_error(other.object)


def test_fewer_photons_get_a_larger_weight(scanned, textured, solved):
    chosen = [solved(scanned(dose=dose, obj=textured).measurement, steps=16).level for dose in (300, 1e4, 1e6)]
    assert chosen == sorted(chosen, reverse=True)
    assert chosen[0] > 2 * chosen[-1]


def test_weaker_weights_are_not_tried_after_two_that_predict_worse(scanned, solved):
    found = solved(scanned(dose=1e3).measurement, steps=12)
    best = int(np.argmin(found.held_out))
    assert len(found.levels) == len(found.held_out) == best + 3 < 8
    assert found.level == found.levels[best]
    assert 12 * (len(found.levels) + 1) < len(found.loss) <= 12 * (len(found.levels) + 3), "two are twice as long"
    assert found.stop_reason.startswith(
        f"TV weight {found.level:g} predicts the held-out counts best of {len(found.levels)} weights"
    )
    longer = solved(scanned(dose=1e3).measurement, steps=12, patience=3)
    np.testing.assert_array_equal(longer.held_out[:-1], found.held_out)


def test_the_weakest_weight_says_that_it_is_the_weakest(scanned, solved):
    found = solved(scanned(dose=1e6).measurement, levels=(1.2, 0.6), steps=12)
    assert found.level == 0.6
    assert found.stop_reason.endswith("of 2 weights, and no weaker one is among the settings")


def test_the_objective_falls_with_every_step_of_a_weight(scanned, solved):
    """It rises once: the last reconstruction has more counts to explain."""
    steps, rows = 20, []
    m = scanned(n=12).measurement
    found = solved(m, progress=lambda *row: rows.append(row), levels=(0.6, 0.15), steps=steps)
    rises = np.flatnonzero(np.diff(found.loss) > 1e-6 * found.loss[:-1])
    levels = np.array([row[2]["level"] for row in rows])
    first, last = int((levels[: rises[0] + 1] == 0.6).sum()), int(rises[0]) + 1
    assert len(rises) == 1
    assert steps < first <= 2 * steps
    assert last - first <= steps
    np.testing.assert_array_equal(levels[:first], 0.6)
    np.testing.assert_array_equal(levels[first:last], 0.15)
    np.testing.assert_array_equal(levels[last:], found.level)
    assert len(levels) - last <= 2 * steps
    assert [row[:2] for row in rows] == [(done, 5 * steps) for done in range(1, len(rows) + 1)]
    assert [row[2]["loss"] for row in rows] == found.loss.tolist()


def test_no_more_steps_are_taken_at_the_minimum(scanned, solved):
    found = solved(scanned(n=6).measurement, levels=(0.6,), steps=400)
    assert 22 <= len(found.loss) < 800


def test_the_last_reconstruction_uses_all_counts(scanned, solved, given_background):
    """Though half of them were held out: it reaches the least objective of all, found here without any division."""
    m = scanned(n=12).measurement
    found = solved(m, levels=(0.3,), steps=40, count_splits=2)
    counts = torch.from_numpy(np.fft.ifftshift(m.counts(), axes=(-2, -1)).astype(np.float32))
    likelihood = RegularisedLikelihood(ObjectPlane(m), lambda rows: counts[rows], m.intensity_scale)
    *_, (_, objective) = islice(likelihood.steps(likelihood.constant(), 0.3), 120)
    assert found.loss[-1] == pytest.approx(objective / m.frames, rel=5e-3)
    assert found.loss[np.argmax(np.diff(found.loss))] != pytest.approx(objective / m.frames, rel=2e-2)


def test_equal_arguments_give_equal_bytes_and_another_seed_another_division(scanned, solved):
    m = scanned(n=12).measurement
    one, two, other = (solved(m, seed, levels=(0.3, 0.15), steps=6) for seed in (1, 1, 2))
    assert one.object.tobytes() == two.object.tobytes()
    assert one.loss.tobytes() == two.loss.tobytes()
    assert one.held_out.tobytes() == two.held_out.tobytes()
    assert not np.array_equal(one.held_out, other.held_out)


def test_a_measurement_cannot_hold_the_truth():
    assert {field.name for field in fields(Measurement)} == {
        "amplitude",
        "intensity_scale",
        "probe",
        "x",
        "y",
        "object_shape",
        "scan_index",
        "unit",
        "bad_pixels",
        "further_modes",
    }


def test_pixels_that_no_frame_reaches_are_ones(scanned, solved):
    s = scanned()
    m = s.some(3)
    found = solved(m, levels=(0.3,), steps=6)
    reached = np.zeros(m.object_shape, bool)
    for x, y in zip(np.floor(m.x).astype(int), np.floor(m.y).astype(int), strict=True):
        reached[y - 32 : y + 33, x - 32 : x + 33] = True
    assert not reached.all()
    assert (found.object[~reached] == 1).all()
    assert (found.coverage[~reached] == 0).all()
    bright = found.coverage > 0.3 * found.coverage.max()
    assert (found.object[bright] != 1).all()
    assert (found.object.dtype, found.coverage.dtype) == (np.complex64, np.float32)


def test_one_frame_is_enough(scanned, solved):
    found = solved(scanned().some(1), steps=6)
    assert np.isfinite(found.object).all()
    assert np.isfinite(found.held_out).all()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"intensity_scale": 0.0}, "intensity_scale = 0; it must be finite and positive"),
        ({"probe": np.zeros((64, 64), np.complex64)}, "the probe is zero everywhere"),
        ({"amplitude": np.zeros((5, 64, 64), np.float32)}, "all 5 frames are dark"),
        ({"x": np.full(5, 9.0)}, "outside the object"),
    ],
)
def test_an_unfit_measurement_is_one_sentence(scanned, solved, changes, sentence):
    with pytest.raises(EngineError, match=sentence) as caught:
        solved(replace(scanned().some(5), **changes))
    assert "\n" not in str(caught.value)


# -- a second implementation ------------------------------------------------------------------------------------------


def minimised(m: Measurement, level: float, start: np.ndarray) -> np.ndarray:
    """The object that minimises the stated objective, by L-BFGS in double precision."""
    size = m.patch_size
    counts = torch.from_numpy(np.fft.ifftshift(m.counts(), axes=(-2, -1)))
    probe = torch.from_numpy(m.probe.astype(np.complex128))
    top, left = (torch.from_numpy(corner)[:, None, None] for corner in m.scan.corners.T)
    fy, fx = (torch.from_numpy(fraction)[:, None, None] for fraction in m.scan.fractions.T)
    side, columns = torch.arange(size), start.shape[1]
    corner = (top + side[:, None]) * columns + left + side
    places = [corner, corner + 1, corner + columns, corner + columns + 1]
    weights = [(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx]
    intensity = torch.zeros(start.size, dtype=torch.float64)
    for place, weight in zip(places, weights, strict=True):
        intensity.index_add_(0, place.reshape(-1), (weight * probe.abs().square()).reshape(-1))
    photons = m.intensity_scale**2 * float(intensity.square().sum() / intensity.sum())

    def objective(values: np.ndarray) -> tuple[float, np.ndarray]:
        leaf = torch.from_numpy(values.copy()).requires_grad_()
        obj = torch.complex(*leaf.view(2, *start.shape))
        flat = obj.reshape(-1)
        windows = sum(weight * flat[place] for place, weight in zip(places, weights, strict=True))
        rates = (m.intensity_scale * torch.fft.fft2(probe * windows, norm="ortho")).abs().square()
        rates = rates + BACKGROUND
        misfit = (rates - counts + torch.special.xlogy(counts, counts) - counts * rates.log()).sum()
        down = torch.diff(obj, dim=0, append=obj[-1:])
        right = torch.diff(obj, dim=1, append=obj[:, -1:])
        variation = (down.abs().square() + right.abs().square() + EDGE**2).sqrt().sum()
        total = (misfit + 2 * level * np.sqrt(photons) * variation) / len(m.x)
        total.backward()
        return float(total.detach()), leaf.grad.numpy()

    first = np.concatenate([start.real.ravel(), start.imag.ravel()]).astype(np.float64)
    options = {"maxiter": 500, "maxfun": 600, "maxcor": 30, "ftol": 1e-12, "gtol": 1e-9}
    found = minimize(objective, first, jac=True, method="L-BFGS-B", options=options)
    real, imaginary = found.x.reshape(2, *start.shape)
    return real + 1j * imaginary


@pytest.mark.slow
def test_another_minimiser_of_the_same_objective_finds_the_same_object(
    scanned, textured, solved, given_background, monkeypatch
):
    """L-BFGS from a constant, with gradients by automatic differentiation; both go on as far as they get.

    Where the weight is smaller there are several minima, whose objectives differ by one nat.
    """
    monkeypatch.setattr(regularisation_path, "LEAST_DECREASE", -np.inf)
    level = 0.3
    s = scanned(n=12, obj=textured[:80, :80])
    # The solver takes the probe to be zero outside the square that holds nearly all of it.
    probe = np.zeros_like(s.measurement.probe)
    probe[8:-8, 8:-8] = s.measurement.probe[8:-8, 8:-8]
    m = replace(s.measurement, probe=probe)
    found = solved(m, levels=(level,), steps=150)
    other = minimised(m, level, np.full(m.object_shape, 0.85, complex))
    ratio = (found.object * other.conj())[s.illuminated()]
    difference = np.angle(ratio * np.conj(ratio.sum()))
    assert np.sqrt(np.mean(difference**2)) < 0.01
