"""Slow phases: how large they are expected to be, what counts find, and what the two methods do with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import fly64_assets.engines.torch_compat  # noqa: F401  # isort: skip
import numpy as np
import pytest
import torch
from fixtures.scan import measure, soft_probe
from scipy.fft import dctn

from fly64_assets.engines.execution import Execution
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.bundle import Bundle, bundle_bytes, read_bundle
from fly64_assets.pinn.inference import reconstruct
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.pretrained.settings import PretrainedSettings
from fly64_assets.pinn.settings import LEAST_GAIN, LEAST_GAIN_OF_PRETRAINED, UnrolledSettings
from fly64_assets.pinn.training import train
from fly64_assets.pinn.unrolled import slow_phases
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import RegularisedLikelihood
from fly64_assets.pinn.unrolled.slow_phases import (
    MOST_STEPS,
    OF_LIKELIHOOD,
    PER_OCTAVE,
    SHORTEST,
    SlowPhases,
    with_slow_phases,
)
from fly64_assets.store.keys import Cell, Half, StageKey
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign
from fly64_assets.tv_ml.settings import TvMlSettings
from fly64_assets.tv_ml.solver import reconstruct as tv_ml


def silent(*_: object) -> None:
    pass


@pytest.fixture(scope="module")
def sample():
    """A scan of an object whose phase rises and falls once over the field: object and measurement.

    It has no details, so that counts prefer a strong TV weight, and total variation holds the slow phase back.
    """
    rows, columns = np.mgrid[:160, :160] / 160
    obj = 0.9 * np.exp(1.5j * np.sin(np.pi * rows) * np.sin(np.pi * columns))
    return obj, measure(obj, soft_probe(64), 60, 1e4)


def phase_error(found: np.ndarray, obj: np.ndarray) -> float:
    ratio = (found * obj.conj())[40:-40, 40:-40]
    return float(np.angle(ratio * np.conj(ratio.sum())).std())


def likelihood_of(measurement: Measurement) -> tuple[ObjectPlane, RegularisedLikelihood]:
    plane = ObjectPlane(measurement)

    def counts(rows: slice) -> torch.Tensor:
        return torch.from_numpy(np.fft.ifftshift(measurement.counts(rows), axes=(-2, -1)).astype(np.float32))

    return plane, RegularisedLikelihood(plane, counts, measurement.intensity_scale)


def flattened(plane: ObjectPlane, obj: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """The object on its plane, and the same without its phase."""
    whole = torch.full(plane.shape, 0.9 + 0j, dtype=torch.complex64)
    height, width = (min(shape, side) for shape, side in zip(plane.shape, obj.shape, strict=True))
    rows, columns = (max(0, first) for first in plane.origin)
    part = torch.from_numpy(obj.astype(np.complex64))[rows : rows + height, columns : columns + width]
    whole[: part.shape[0], : part.shape[1]] = part
    return whole, whole.abs().to(torch.complex64)


# -- the cosines ------------------------------------------------------------------------------------------------------


class Field:
    """What :class:`SlowPhases` reads of an object plane."""

    def __init__(self, height: int, width: int) -> None:
        self.shape = (height, width)
        self.relative_illumination = torch.zeros(self.shape)
        self.relative_illumination[8:-8, 8:-8] = 1.0


def test_every_octave_is_expected_to_be_as_large_as_every_other():
    """Over many draws, in the illuminated part of a large field."""
    slow = SlowPhases(Field(1040, 784))
    rng = np.random.default_rng(1)
    draws = torch.stack([slow.phase(rng.standard_normal(slow.number)) for _ in range(30)])[:, 8:-8, 8:-8]
    power = (dctn(draws.numpy(), axes=(1, 2), norm="ortho") ** 2).mean(axis=0) / (1024 * 768)
    frequency = np.hypot(np.arange(1024)[:, None] / 2048, np.arange(768) / 1536)
    for longest in (256, 128):
        octave = float(power[(frequency > 1 / longest) & (frequency <= 2 / longest)].sum())
        assert octave == pytest.approx(PER_OCTAVE**2, rel=0.1)
    assert float(power[frequency > 1.001 / SHORTEST].sum()) < 1e-6 * PER_OCTAVE**2


def test_derivatives_are_those_of_the_phase():
    slow = SlowPhases(Field(160, 208))
    rng = np.random.default_rng(2)
    values, slope = rng.standard_normal(slow.number), torch.from_numpy(rng.standard_normal((160, 208))).float()
    assert float(slow.slope(slope) @ values) == pytest.approx(float((slope * slow.phase(values)).sum()), rel=1e-4)


def test_a_field_smaller_than_half_a_slow_wavelength_has_none():
    assert SlowPhases(Field(46, 46)).number == 0


# -- what counts find -------------------------------------------------------------------------------------------------


def test_a_slow_phase_is_found_and_amplitudes_stay(sample):
    obj, measurement = sample
    plane, likelihood = likelihood_of(measurement)
    truth, flat = flattened(plane, obj)
    changed = with_slow_phases(plane, likelihood, flat)
    found = changed.object
    lit = plane.relative_illumination > 0.2
    before, after = ((each * truth.conj())[lit] for each in (flat, found))
    spread = [float((each * each.sum().conj()).angle().std()) for each in (before, after)]
    assert spread[1] < 0.2 * spread[0]
    torch.testing.assert_close(found.abs(), flat.abs())
    assert changed.gain > 10 * LEAST_GAIN


@pytest.mark.parametrize("photons", [30, 1e4], ids=["what is expected counts", "the photons count"])
def test_it_is_the_step_that_a_second_implementation_solves_for(sample, photons):
    """Near the truth the most likely values solve (F + 1) v = g, with the Fisher matrix F and the gradient g."""
    obj, _ = sample
    measurement = measure(obj, soft_probe(64), 60, photons)
    plane, likelihood = likelihood_of(measurement)
    start, _ = flattened(plane, obj)
    found = with_slow_phases(plane, likelihood, start).object
    slow, background = SlowPhases(plane), likelihood.fitted_background(start).numpy().astype(np.float64)
    measured = np.fft.ifftshift(measurement.counts(slice(0, measurement.frames)), axes=(-2, -1))
    every = torch.arange(measurement.frames)

    def field(image: torch.Tensor) -> np.ndarray:
        windows, physics = plane.read(image, every), plane.physics
        exit_waves = np.zeros(measured.shape, np.complex128)
        inner = slice(physics.margin, physics.margin + physics.window)
        exit_waves[:, inner, inner] = physics.on_window(physics.probe).numpy() * windows.numpy()
        return measurement.intensity_scale * np.fft.fft2(exit_waves, norm="ortho")

    whole = field(start) + measurement.intensity_scale * np.fft.fft2(
        plane.physics.probe.numpy()
        - np.pad(plane.physics.on_window(plane.physics.probe).numpy(), plane.physics.margin),
        norm="ortho",
    )
    rates = np.abs(whole) ** 2 + background
    slopes = np.stack([2 * (whole.conj() * field(1j * start * slow.phase(unit))).real for unit in np.eye(slow.number)])
    gradient = np.einsum("kfij,fij->k", slopes, measured / rates - 1)
    fisher = np.einsum("kfij,lfij->kl", slopes / np.sqrt(rates), slopes / np.sqrt(rates))
    expected = slow.phase(np.linalg.solve(fisher + np.eye(slow.number), gradient))
    lit = plane.relative_illumination > 0.05
    assert (np.linalg.eigvalsh(fisher)[-3] < 1.5) == (photons == 30)
    difference = (found * start.conj()).angle()[lit] - expected[lit]
    assert float(expected[lit].std()) > 1e-3
    assert float(difference.std()) < 0.1 * float(expected[lit].std())


def test_what_is_not_expected_is_not_found(sample, monkeypatch):
    obj, measurement = sample
    plane, likelihood = likelihood_of(measurement)
    _, flat = flattened(plane, obj)
    monkeypatch.setattr(slow_phases, "PER_OCTAVE", 1e-6)
    changed = with_slow_phases(plane, likelihood, flat)
    found = changed.object
    assert float((found * flat.conj()).angle().abs().max()) < 1e-3
    assert changed.gain < LEAST_GAIN


@pytest.mark.parametrize("photons", [1e3, 1e6, 1e9])
def test_the_gain_is_that_of_the_object_however_rates_are_rounded(sample, photons):
    """With many photons no step decreases the objective in the end: then the search is given up."""
    obj, _ = sample
    plane, likelihood = likelihood_of(measure(obj, soft_probe(64), 60, photons))
    truth, _ = flattened(plane, obj)
    background, slow, evaluated = likelihood.fitted_background(truth), SlowPhases(plane), []

    class Counting:
        def fitted_background(self, obj: torch.Tensor) -> torch.Tensor:
            return likelihood.fitted_background(obj)

        def misfit(self, obj: torch.Tensor, background: torch.Tensor) -> tuple[float, torch.Tensor]:
            evaluated.append(likelihood.misfit(obj, background))
            return evaluated[-1]

    changed = with_slow_phases(plane, Counting(), truth)
    phase = (changed.object * truth.conj()).angle().double()
    basis = torch.stack([slow.phase(unit).double().ravel() for unit in np.eye(slow.number)], dim=1)
    values = torch.linalg.lstsq(basis, phase.ravel()[:, None]).solution[:, 0]
    decrease = evaluated[0][0] - likelihood.misfit(changed.object, background)[0] - 0.5 * float(values @ values)
    assert changed.gain * slow.number == pytest.approx(decrease, rel=0.02, abs=1e-6 * evaluated[0][0])
    assert changed.gain >= 0
    assert len(evaluated) <= MOST_STEPS, "it ends at rounding"


# -- in the two methods -----------------------------------------------------------------------------------------------


def test_tv_ml_has_smaller_errors_with_them_and_the_same_amplitudes(sample, tmp_path):
    obj, measurement = sample
    settings = TvMlSettings(levels=(1.2, 0.6, 0.3), steps=24, slow_phases=False)
    without, found = (
        tv_ml(measurement, replace(settings, slow_phases=on), Execution(), 1, silent, scratch=tmp_path)
        for on in (False, True)
    )
    assert found.level == without.level
    assert "; slow phases are added: they improve the objective by" in found.stop_reason
    assert "slow phases" not in without.stop_reason
    np.testing.assert_array_equal(found.loss, without.loss)
    np.testing.assert_allclose(np.abs(found.object), np.abs(without.object), rtol=1e-5)
    assert phase_error(found.object, obj) < 0.8 * phase_error(without.object, obj)


def test_the_network_corrects_the_object_with_them(sample, tmp_path):
    obj, measurement = sample
    settings = UnrolledSettings(levels=(1.2, 0.6, 0.3), level_iterations=24, epochs=1, steps_per_epoch=1, folds=2)
    errors, before = [], []
    for start in ("likelihood", "slow_phases"):
        chosen = replace(settings, start=start)
        found = train(measurement, chosen, 1, 7, 1, Execution(), silent, scratch=tmp_path, notify=silent)
        before.append(found.facts["validation_loss_before"])
        bundle = Bundle({}, {"network": found.spec.to_dict()}, found.weights, found.history)
        (tmp_path / "wts.h5.zip").write_bytes(bundle_bytes(bundle))
        read = read_bundle(tmp_path / "wts.h5.zip")
        assert NetworkSpec.from_dict(read.params["network"]) == found.spec
        errors.append(phase_error(reconstruct(read, measurement, "cpu", Path(tmp_path), silent).object, obj))
        assert ("slow_phases" in read.params["network"]) == (start == "slow_phases")
        gains = found.facts.get("gains_of_slow_phases", {"likelihood": 0.0})
        assert (gains["likelihood"] > LEAST_GAIN) == (start == "slow_phases")
    assert errors[1] < 0.8 * errors[0]
    assert before[1] < before[0], "it is trained on the object that it corrects"


@pytest.mark.parametrize("method", ["tv_ml", "pinn"])
def test_without_evidence_none_are_added(tmp_path, method):
    """A constant object: the bytes are those without the setting, and it is said."""
    measurement = measure(np.full((160, 160), 0.9 + 0j), soft_probe(64), 60, 1000)
    results, lines = [], []
    for on in (False, True):
        if method == "tv_ml":
            settings = TvMlSettings(levels=(0.6, 0.3), steps=48, slow_phases=on)
            found = tv_ml(measurement, settings, Execution(), 1, silent, scratch=tmp_path)
            lines.append(found.stop_reason)
            results.append(found.object.tobytes())
        else:
            settings = UnrolledSettings(
                levels=(0.6, 0.3), level_iterations=48, epochs=1, steps_per_epoch=1, folds=2,
                start="slow_phases" if on else "likelihood",
            )  # fmt: skip
            found = train(measurement, settings, 1, 7, 1, Execution(), silent, scratch=tmp_path, notify=lines.append)
            results.append({name: np.asarray(value).tobytes() for name, value in found.weights.items()})
            assert not found.spec.slow_phases
    assert results[0] == results[1]
    assert sum("no slow phases are added: they improve the objective by" in line for line in lines) == 1


def test_a_field_without_room_for_them_is_named_and_left_as_it_is(sample):
    plane, likelihood = likelihood_of(sample[1])
    obj = torch.ones(plane.shape, dtype=torch.complex64)
    small = SimpleNamespace(shape=plane.shape, relative_illumination=torch.zeros(plane.shape), frames=plane.frames)
    small.relative_illumination[20:50, 20:50] = 1.0
    changed = with_slow_phases(small, likelihood, obj)
    assert changed.object is obj
    assert "the scan is too small" in OF_LIKELIHOOD.verdict(changed.gain)


def test_with_fewer_frames_than_asked_for_none_are_sought(sample):
    obj, measurement = sample
    plane, likelihood = likelihood_of(measurement)
    _, flat = flattened(plane, obj)
    per_cosine = plane.frames / SlowPhases(plane).number
    assert with_slow_phases(plane, likelihood, flat, 0.999 * per_cosine).gain > 0
    refused = with_slow_phases(plane, likelihood, flat, 1.001 * per_cosine)
    assert (refused.gain, refused.object is flat) == (0.0, True)


def test_a_bundle_that_chose_a_weight_for_them_is_refused():
    document = NetworkSpec("unrolled", 64, 1, levels=(0.6, 0.3)).to_dict() | {"slow_phases": {"weaker": 2, "part": 1.0}}
    with pytest.raises(TypeError, match="must be trained again"):
        NetworkSpec.from_dict(document)


def test_settings_and_the_gain_that_is_asked_for_are_what_results_depend_on():
    without = replace(StudyDesign(), pinn=UnrolledSettings(start="likelihood"), tv_ml=TvMlSettings(slow_phases=False))
    training = StageKey("training", Cell(1000, "dense"), "pinn", 1)
    limits = {
        training: LEAST_GAIN,
        StageKey("reconstruction", Half(1000, "dense", "test"), "tv_ml"): LEAST_GAIN,
        StageKey("reconstruction", Half(1000, "dense", "test"), "pretrained"): LEAST_GAIN_OF_PRETRAINED,
    }
    added = replace(StudyDesign(), pretrained=PretrainedSettings(slow_phases=True))
    for key, limit in limits.items():
        name = f"{key.method}_least_gain_of_slow_phases"
        assert stages.parameters(added, key)[name] == limit
        assert name not in stages.parameters(without, key)
    both = stages.parameters(replace(StudyDesign(), pinn=UnrolledSettings(start="pretrained")), training)
    assert both["pinn_least_gain_of_slow_phases"] == LEAST_GAIN
    assert both["pretrained_least_gain_of_slow_phases"] == LEAST_GAIN_OF_PRETRAINED


@pytest.mark.parametrize(
    "settings",
    [
        TvMlSettings(slow_phases=False),
        TvMlSettings(),
        UnrolledSettings(start="likelihood"),
        UnrolledSettings(),
        PretrainedSettings("mine.zip", slow_phases=True),
        PretrainedSettings(),
    ],
)
def test_what_a_job_is_told_are_the_settings(settings):
    assert type(settings).from_dict(settings.parameters()) == settings
