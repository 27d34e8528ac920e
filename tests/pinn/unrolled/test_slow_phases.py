"""Slow phases of a weaker weight: what is taken, and when counts that were kept aside are evidence enough."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fly64_assets.engines.torch_compat  # noqa: F401  # isort: skip
import numpy as np
import pytest
import torch
from fixtures.scan import measure, soft_probe

from fly64_assets.engines.execution import Execution
from fly64_assets.pinn.bundle import Bundle, bundle_bytes, read_bundle
from fly64_assets.pinn.inference import reconstruct
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.settings import UnrolledSettings
from fly64_assets.pinn.training import train
from fly64_assets.pinn.unrolled.slow_phases import LEAST_GAIN, OWN, SlowPhases, with_slow_phases
from fly64_assets.tv_ml import solver
from fly64_assets.tv_ml.settings import TvMlSettings
from fly64_assets.tv_ml.solver import reconstruct as tv_ml

SHAPE = (128, 128)
LIGHT = torch.ones(SHAPE)


def wave(height: float, period: float = 512.0) -> torch.Tensor:
    """A phase that varies along the rows [rad], amplitude 0.9."""
    rows = torch.arange(SHAPE[0], dtype=torch.float32)[:, None].expand(SHAPE)
    return torch.polar(torch.full(SHAPE, 0.9), height * torch.sin(2 * torch.pi * rows / period))


DETAILS = wave(0.1, 4.0) / 0.9
"""With a mean of zero over any few pixels."""


def silent(*_: object) -> None:
    pass


def slow_phase(obj: torch.Tensor) -> np.ndarray:
    """Phase [rad] of the means over squares of 8 px, away from the edge."""
    parts = torch.view_as_real(obj).movedim(-1, 0)
    means = torch.nn.functional.avg_pool2d(parts, 8)
    return torch.atan2(means[1], means[0])[3:-3, 3:-3].numpy()


@pytest.mark.parametrize("part", [0.0, 0.25, 1.0])
def test_slow_phases_go_a_part_of_the_way_and_all_else_stays(part):
    obj, other = wave(0.2) * DETAILS, 0.5 * wave(0.6)
    found = with_slow_phases(obj, other, LIGHT, part)
    expected = wave(0.2 + part * 0.4)
    np.testing.assert_allclose(slow_phase(found), slow_phase(expected), atol=0.02)
    np.testing.assert_allclose(found.abs().numpy(), obj.abs().numpy(), rtol=1e-6)
    inner = slice(32, 96)
    details = (found / expected)[inner].angle() - DETAILS[inner].angle()
    assert float(details.abs().max()) < 0.03


def test_the_counts_kept_aside_choose_weight_and_part():
    path, truth = [wave(0.1), wave(0.3), wave(0.5)], wave(0.2)
    found = SlowPhases.chosen(path, 0, LIGHT, lambda obj: float((obj - truth).abs().square().sum()))
    assert (found.weaker, found.part) in {(1, 0.5), (2, 0.25)}
    np.testing.assert_allclose(slow_phase(found.given(path, 0, LIGHT)), slow_phase(truth), atol=0.02)
    assert SlowPhases.from_dict(found.to_dict()) == found


@pytest.mark.parametrize(("gain", "changed"), [(1.01 * LEAST_GAIN, True), (0.99 * LEAST_GAIN, False), (0.0, False)])
def test_less_than_two_nats_are_no_evidence(gain, changed):
    path = [wave(0.1), wave(0.3)]
    found = SlowPhases.chosen(path, 0, LIGHT, lambda obj: 0.0 if obj is path[0] else -gain)
    assert (found != OWN) == changed
    assert found.given(path, 0, LIGHT) is path[0] or changed
    assert found.gain == pytest.approx(gain)
    assert f"{gain:.1f} nats" in found.sentence((0.6, 0.3), 0)


def test_the_weakest_weight_has_none_to_take_them_from():
    path = [wave(0.1), wave(0.3)]
    asked = []
    assert SlowPhases.chosen(path, 1, LIGHT, lambda obj: float(asked.append(obj) or 0)) == OWN
    assert len(asked) == 1


def test_no_part_is_taken_of_a_phase_near_pi():
    """A part of it would jump where its sign changes."""
    obj = wave(0.2)
    for height, taken in ((2.4, True), (3.3, False)):
        found = with_slow_phases(obj, wave(0.2 + height), LIGHT, 0.5)
        assert (found is not obj) == taken
        assert float((found[1:] / found[:-1]).angle().abs().max()) < 0.1


# -- in the two methods -----------------------------------------------------------------------------------------------


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


def test_tv_ml_has_smaller_errors_with_them_and_says_so(sample, tmp_path):
    obj, measurement = sample
    settings = TvMlSettings(levels=(1.2, 0.6, 0.3), steps=24)
    without, found = (
        tv_ml(measurement, replace(settings, slow_phases=on), Execution(), 1, silent, scratch=tmp_path)
        for on in (False, True)
    )
    assert "slow phases" not in without.stop_reason
    assert "of the way to those of the TV weight" in found.stop_reason
    assert found.level == without.level
    most = replace(settings, slow_phases=True).most_steps
    assert most == settings.most_steps + 2 * settings.steps
    assert len(without.loss) < len(found.loss) <= most
    assert found.loss[-1] == without.loss[-1], "the last steps are those of the chosen weight"
    assert phase_error(found.object, obj) < 0.9 * phase_error(without.object, obj)


def test_tv_ml_says_when_the_last_objects_differ_too_much_to_change_anything(sample, tmp_path, monkeypatch):
    _, measurement = sample
    monkeypatch.setattr(solver, "with_slow_phases", lambda obj, other, light, part: obj)
    settings = TvMlSettings(levels=(1.2, 0.6, 0.3), steps=24, slow_phases=True)
    found = tv_ml(measurement, settings, Execution(), 1, silent, scratch=tmp_path)
    assert found.stop_reason.endswith("differ by too much: they stay as they are")


def test_the_network_corrects_the_object_with_them_and_its_bundle_keeps_the_choice(sample, tmp_path):
    obj, measurement = sample
    settings = UnrolledSettings(levels=(1.2, 0.6, 0.3), level_iterations=24, epochs=1, steps_per_epoch=1, folds=2)
    errors, lines, before = [], [], []
    for start in ("likelihood", "slow_phases"):
        chosen = replace(settings, start=start)
        found = train(measurement, chosen, 1, 7, 1, Execution(), silent, scratch=tmp_path, notify=lines.append)
        before.append(found.facts["validation_loss_before"])
        bundle = Bundle({}, {"network": found.spec.to_dict()}, found.weights, found.history)
        (tmp_path / "wts.h5.zip").write_bytes(bundle_bytes(bundle))
        read = read_bundle(tmp_path / "wts.h5.zip")
        assert NetworkSpec.from_dict(read.params["network"]) == found.spec
        errors.append(phase_error(reconstruct(read, measurement, "cpu", Path(tmp_path), silent).object, obj))
        assert ("slow_phases" in read.params["network"]) == ("slow_phases" in found.facts) == (start == "slow_phases")
    assert errors[1] < 0.9 * errors[0]
    assert before[1] < before[0], "it is trained on the object that it corrects"
    assert sum("slow phases go" in line for line in lines) == 1


def test_designs_without_them_have_the_hashes_that_they_had():
    assert "slow_phases" not in TvMlSettings().parameters()
    assert TvMlSettings(slow_phases=True).parameters()["slow_phases"] is True
    assert TvMlSettings.from_dict(TvMlSettings(slow_phases=True).parameters()).slow_phases
    assert "start" not in UnrolledSettings().parameters()
    assert UnrolledSettings(start="slow_phases").parameters()["start"] == "slow_phases"
