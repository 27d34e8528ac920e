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
from fly64_assets.pinn.unrolled.regularisation_path import RegularisedLikelihood, regularisation_path
from fly64_assets.pinn.unrolled.slow_phases import with_slow_phases
from fly64_assets.pinn.unrolled.starts import SlowPhasesOf, Starts, pretrained_object, start_objects
from fly64_assets.pinn.unrolled.training import UnrolledTraining


def silent(*_: object) -> None:
    pass


@pytest.fixture(scope="module")
def trained(measurement, settings, tmp_path_factory):
    chosen, lines = replace(settings, start="pretrained"), []
    folder = tmp_path_factory.mktemp("starts")
    found = train(measurement, chosen, 1, 7, 1, Execution(), silent, scratch=folder, notify=lines.append)
    return found, lines


def counts_of(measurement):
    shifted = np.fft.ifftshift(measurement.counts(slice(0, measurement.frames)), axes=(-2, -1)).astype(np.float32)
    return lambda rows: torch.from_numpy(shifted[rows])


@pytest.mark.parametrize("which", [(False, False), (True, False), (False, True), (True, True)])
def test_slow_phases_are_added_to_the_objects_that_are_named(measurement, which):
    plane, network = ObjectPlane(measurement), files.general_network()
    counts, scale = counts_of(measurement), measurement.intensity_scale
    best = RegularisedLikelihood(plane, counts, scale).minimised(0.6, None, 6)
    objects = start_objects(plane, counts, scale, best, SlowPhasesOf(*which), network)
    plain = (best, pretrained_object(network, plane, counts, scale, best))
    for found, without, added in zip(objects, plain, which, strict=True):
        if added:
            expected = with_slow_phases(plane, RegularisedLikelihood(plane, counts, scale), without).object
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
            assert not torch.equal(found, without)
        else:
            assert torch.equal(found, without)


def test_the_pretrained_object_is_turned_to_the_phase_of_the_other(measurement):
    plane, network = ObjectPlane(measurement), files.general_network()
    counts, scale = counts_of(measurement), measurement.intensity_scale
    free = estimate(network, plane, counts, scale)
    found = pretrained_object(network, plane, counts, scale, free * np.exp(2j))
    torch.testing.assert_close(found, free * np.exp(2j))


def test_without_the_pretrained_network_the_start_is_the_object_of_the_weight():
    weights = [torch.polar(torch.ones(64, 64), torch.full((64, 64), height)) for height in (0.1, 0.3)]
    given = Starts(weights, weights[1]).network_input(torch.ones(64, 64), 0.0)
    assert given.obj is weights[1]
    assert len(given.channels) == 5


def test_a_bundle_whose_start_was_one_of_the_two_is_refused(trained):
    document = trained[0].spec.to_dict()
    assert NetworkSpec.from_dict(document) == trained[0].spec
    del document["pretrained_part"]
    with pytest.raises(TypeError, match="train the network again"):
        NetworkSpec.from_dict(document)


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


def test_the_counts_choose_the_part_of_each(trained):
    found, lines = trained
    losses, part = found.facts["start_losses"], found.spec.pretrained_part
    assert len(losses) == 3
    assert 0 <= part <= 1
    # Of a parabola through the three, relative to the middle.
    values = [losses[0], losses[1], losses[2]]
    parabola = np.polynomial.Polynomial.fit([0, 0.5, 1], values, 2)
    assert parabola(part) <= min(parabola(np.linspace(0, 1, 101))) + 1e-6 * np.ptp(values)
    assert any(f"trained once is {part:.2f}" in line for line in lines)


def test_the_object_to_correct_is_the_mean(measurement):
    shape = (64, 64)
    one, other = torch.full(shape, 1.0 + 0j), torch.full(shape, 0.0 + 2j)
    starts = Starts([one], one, other)
    for part, expected in ((0.0, 1.0), (0.25, 0.75 + 0.5j), (1.0, 2j)):
        given = starts.network_input(torch.ones(shape), part)
        torch.testing.assert_close(given.obj, torch.full(shape, expected, dtype=torch.complex64))
        assert len(given.channels) == 5


def test_the_pretrained_network_sees_no_photon_of_the_fold(measurement, settings, tmp_path):
    chosen = replace(settings, start="pretrained")
    task = UnrolledTraining(TrainingSetup(measurement, chosen, 1, 7, 1, Ranks(0, 1, "cpu"), tmp_path, silent))
    splits, plane, spec = task.likelihood.counts, ObjectPlane(measurement), task.spec
    of, given = SlowPhasesOf(spec.slow_phases, spec.pretrained_slow_phases), task.data.inputs[FIRST_FOLD]

    def apart(*excluded: int) -> tuple[float, float]:
        """Largest differences of the object and of the channels from those of the counts without some splits."""
        scale = measurement.intensity_scale * np.sqrt(1 - len(excluded) / settings.photon_parts)
        counts = (lambda rows: torch.from_numpy(splits.without(excluded, rows))), scale
        path = regularisation_path(plane, *counts, spec.levels, settings.level_iterations)
        starts = Starts(path, *start_objects(plane, *counts, path[spec.base], of, files.general_network()))
        expected = starts.network_input(plane.illumination, spec.pretrained_part)
        return float((given.obj - expected.obj).abs().max()), float((given.channels - expected.channels).abs().max())

    # Not equal: the background of its search for slow phases went on from that of its path.
    for without_both, without_one in zip(apart(VALIDATION, FIRST_FOLD), apart(VALIDATION), strict=True):
        assert without_both < 0.1 * without_one
