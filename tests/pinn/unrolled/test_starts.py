"""The object of the network that is trained once as what the network of a cell corrects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fly64_assets.engines.torch_compat  # noqa: F401  # isort: skip
import numpy as np
import pytest
import torch

from fly64_assets.engines.execution import Execution
from fly64_assets.pinn.bundle import Bundle, bundle_bytes, read_bundle
from fly64_assets.pinn.inference import reconstruct
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.optimisation import TrainingSetup
from fly64_assets.pinn.pretrained import files
from fly64_assets.pinn.pretrained.inference import estimate
from fly64_assets.pinn.ranks import Ranks
from fly64_assets.pinn.training import train
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.preparation import FIRST_FOLD, VALIDATION
from fly64_assets.pinn.unrolled.regularisation_path import regularisation_path
from fly64_assets.pinn.unrolled.starts import Starts, with_slow_part
from fly64_assets.pinn.unrolled.training import UnrolledTraining


def silent(*_: object) -> None:
    pass


@pytest.fixture(scope="module")
def trained(measurement, settings, tmp_path_factory):
    chosen, lines = replace(settings, start="pretrained"), []
    folder = tmp_path_factory.mktemp("starts")
    found = train(measurement, chosen, 1, 7, 1, Execution(), silent, scratch=folder, notify=lines.append)
    return found, lines


def wave(shape, period, height=0.5):
    rows = torch.arange(shape[0], dtype=torch.float32)[:, None].expand(shape)
    return torch.polar(torch.ones(shape), height * torch.sin(2 * torch.pi * rows / period))


def test_the_slow_part_comes_from_one_object_and_details_from_the_other():
    shape = (256, 64)
    slow, fine = wave(shape, 256.0), wave(shape, 8.0, 0.1)
    found = with_slow_part(fine, slow * 1.0, torch.ones(shape))
    inner = slice(64, 192)
    details = found[inner] - slow[inner]
    assert float(details.imag.std()) == pytest.approx(float(fine.imag[inner].std()), rel=0.1)
    assert float(details.imag.reshape(16, 8, 64).mean(1).abs().max()) < 0.03


def test_both_starts_share_the_slow_part_of_the_next_weaker_weight_and_the_phase():
    shape = (128, 128)
    weights = [wave(shape, 128.0, height) for height in (0.1, 0.3, 0.5)]
    turned = wave(shape, 6.0, 0.1) * np.exp(2j)
    starts = Starts.of(weights, 0, torch.ones(shape), [turned])
    assert starts.pretrained is not None
    inner = (slice(40, 88), slice(40, 88))
    for obj in (starts.likelihood, starts.pretrained):
        mean = torch.nn.functional.avg_pool2d((obj / weights[1]).imag[None], 6)[0]
        assert float(mean[7:14, 7:14].abs().max()) < 0.05
    assert float((starts.pretrained * starts.likelihood.conj())[inner].angle().mean().abs()) < 0.02


def test_without_the_pretrained_network_the_start_is_the_object_of_the_weight():
    weights = [wave((64, 64), 64.0, height) for height in (0.1, 0.3)]
    starts = Starts.of(weights, 1, torch.ones(64, 64))
    given = starts.network_input(torch.ones(64, 64), corrects_pretrained=False)
    assert given.obj is weights[1]
    assert len(given.channels) == 5


def test_a_bundle_holds_the_pretrained_network_and_needs_no_other_file(trained, measurement, tmp_path, monkeypatch):
    found, _ = trained
    general = files.general_network().state_dict()
    for name, value in general.items():
        np.testing.assert_array_equal(found.weights[f"pretrained.{name}"], value.numpy(), err_msg="training changes it")
    params = {"network": found.spec.to_dict()}
    (tmp_path / "wts.h5.zip").write_bytes(bundle_bytes(Bundle({}, params, found.weights, found.history)))
    monkeypatch.setattr(files, "read_pretrained", lambda _name: pytest.fail("reads the file of the package"))
    bundle = read_bundle(tmp_path / "wts.h5.zip")
    assert NetworkSpec.from_dict(bundle.params["network"]) == found.spec
    once, again = (reconstruct(bundle, measurement, "cpu", Path(tmp_path), silent).object for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_the_counts_choose_the_start(trained, measurement, settings):
    found, lines = trained
    losses = found.facts["start_losses"]
    assert set(losses) == {"likelihood", "pretrained"}
    assert found.spec.corrects_pretrained == (losses["pretrained"] < losses["likelihood"])
    assert any("pretrained: loss" in line for line in lines)


def test_the_pretrained_network_sees_no_photon_of_the_fold(measurement, settings, tmp_path):
    chosen = replace(settings, start="pretrained")
    task = UnrolledTraining(TrainingSetup(measurement, chosen, 1, 7, 1, Ranks(0, 1, "cpu"), tmp_path, silent))
    splits, plane = task.likelihood.counts, ObjectPlane(measurement)
    scale = measurement.intensity_scale * np.sqrt(1 - 2 / settings.photon_parts)

    def counts(rows):
        return torch.from_numpy(splits.without((VALIDATION, FIRST_FOLD), rows))

    path = regularisation_path(plane, counts, scale, task.spec.levels, settings.level_iterations)
    starts = Starts.of(
        path, task.spec.base, plane.relative_illumination, [estimate(files.general_network(), plane, counts, scale)]
    )
    expected = starts.network_input(plane.illumination, task.spec.corrects_pretrained)
    assert torch.equal(task.data.inputs[FIRST_FOLD].obj, expected.obj)
    assert torch.equal(task.data.inputs[FIRST_FOLD].channels, expected.channels)
