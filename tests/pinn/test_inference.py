from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fixtures.scan import in_unit

from fly64_assets.errors import ArtifactError, EngineError
from fly64_assets.pinn.architectures import build_network
from fly64_assets.pinn.bundle import Bundle
from fly64_assets.pinn.inference import network_from_bundle, reconstruct
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.unrolled.network import network_input
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import regularisation_path

SPEC = NetworkSpec(
    architecture="unrolled",
    patch_size=32,
    group_frames=4,
    width=8,
    levels=(0.4, 0.1),
    level_iterations=3,
    base=0,
    n_filters_scale=1,
    amplitude_max=1.5,
    input_scale=1.0,
)


def made(probe, spec=SPEC, spread=0.5):
    """A network whose last layer does not start at zero, and its bundle."""
    network = build_network(spec, probe, 3)
    if spec.architecture == "unrolled":
        with torch.no_grad():
            network.last.weight.normal_(0, spread, generator=torch.Generator().manual_seed(0))
    weights = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    return network, Bundle({}, {"network": spec.to_dict()}, weights, [])


def run(bundle, measurement, folder, progress=lambda *_: None):
    return reconstruct(bundle, measurement, "cpu", folder, progress)


def test_the_object_is_the_likelihood_path_changed_by_the_network(measurement, tmp_path):
    network, bundle = made(measurement.probe)
    steps = []
    found = run(bundle, measurement, tmp_path, lambda done, total, _: steps.append((done, total)))
    counts = torch.from_numpy(np.fft.ifftshift(measurement.counts(), axes=(-2, -1)).astype(np.float32))
    scene = ObjectPlane(measurement)
    path = regularisation_path(scene, lambda rows: counts[rows], measurement.intensity_scale, (0.4, 0.1), 3)
    with torch.no_grad():
        plane = network(network_input(path[0], path, scene.illumination), path[0])
    lit = found.coverage >= 0.01
    assert 0.3 < lit.mean() < 1
    np.testing.assert_allclose(found.object[lit], scene.on_grid(plane)[lit], atol=1e-4)
    assert np.abs(found.object - scene.on_grid(path[0]))[lit].max() > 0.01, "the network has changed it"
    np.testing.assert_array_equal(found.coverage, scene.coverage())
    assert found.frames == 64
    assert steps == [(done, 9) for done in range(1, 10)], "twice as many at the first weight"


@pytest.mark.parametrize("unit", [2.0**-90, 2.0**66])
def test_the_unit_of_the_probe_changes_no_digit(measurement, wide, tmp_path, unit):
    for m, spec in ((measurement, SPEC), (wide, replace(SPEC, architecture="cnn", patch_size=64, levels=()))):
        bundle = made(m.probe, spec)[1]
        network = bundle.params["network"]
        # Amplitudes in the other unit need another scale to be the same numbers.
        in_other_unit = {"network": network | {"input_scale": network["input_scale"] / unit}}
        one = run(bundle, m, tmp_path)
        other = run(replace(bundle, params=in_other_unit), in_unit(m, unit), tmp_path)
        np.testing.assert_array_equal(other.object, one.object)
        np.testing.assert_array_equal(other.coverage, one.coverage)


def test_where_nothing_was_measured_the_object_is_one(measurement, tmp_path):
    corner = replace(measurement, x=measurement.x / 2, y=measurement.y / 2 + 30)
    found = run(made(measurement.probe)[1], corner, tmp_path)
    assert (found.object.dtype, found.coverage.dtype) == (np.complex64, np.float32)
    assert found.object.shape == found.coverage.shape == measurement.object_shape
    assert (found.object[found.coverage < 0.01] == 1).all()
    assert (found.object[found.coverage > 1] != 1).all()
    assert not found.coverage[:8].any()


def test_the_order_of_the_frames_does_not_matter(measurement, tmp_path):
    bundle, order = made(measurement.probe)[1], np.random.default_rng(0).permutation(64)
    shuffled = replace(
        measurement,
        amplitude=measurement.amplitude[order],
        x=measurement.x[order],
        y=measurement.y[order],
        scan_index=measurement.scan_index[order],
    )
    one, other = run(bundle, measurement, tmp_path), run(bundle, shuffled, tmp_path)
    np.testing.assert_allclose(other.object, one.object, atol=1e-4)
    np.testing.assert_allclose(other.coverage, one.coverage, atol=1e-4)


@pytest.mark.parametrize("architecture", ["unrolled", "cnn"])
def test_a_bundle_for_other_frames_is_refused(measurement, wide, tmp_path, architecture):
    spec = replace(SPEC, architecture=architecture, patch_size=64)
    _, bundle = made(wide.probe, spec)
    with pytest.raises(ArtifactError, match="for frames of 64 px, the measurement has 32 px"):
        run(bundle, measurement, tmp_path)


def test_bundles_that_do_not_fit_are_refused(measurement, tmp_path):
    _, bundle = made(measurement.probe)
    network, probe = bundle.params["network"], measurement.probe
    for changed, words in (
        ({"architecture": "transformer"}, "'transformer' is unknown .*unrolled, cnn"),
        ({"width": 16}, "weights do not fit its network"),
        ({"levels": [0.4]}, "weights do not fit its network; the first difference: .*down1.0.weight"),
        ({"depth": 3}, "does not describe its network"),
    ):
        with pytest.raises(ArtifactError, match=words):
            network_from_bundle(replace(bundle, params={"network": network | changed}), probe)
    for params in ({}, {"network": {}}):
        with pytest.raises(ArtifactError, match="does not describe its network"):
            network_from_bundle(replace(bundle, params=params), probe)


def test_an_object_that_is_not_finite_is_refused(measurement, tmp_path):
    _, bundle = made(measurement.probe)
    bundle.weights["last.bias"][0] = np.nan
    with pytest.raises(EngineError, match="not finite; the bundle is of no use"):
        run(bundle, measurement, tmp_path)


def test_cnn_stitches_the_patches_of_all_frames(wide, tmp_path):
    spec = replace(SPEC, architecture="cnn", patch_size=64, levels=(), input_scale=0.5)
    network, bundle = made(wide.probe, spec)
    found = run(bundle, wide, tmp_path)
    assert found.frames == 16
    with torch.no_grad():
        counts = torch.from_numpy(wide.counts(np.zeros(4, int)).astype(np.float32))[None]
        patch = network(counts, torch.full((1, 4, 1, 1), wide.intensity_scale))[0, 0].numpy()
    # 16 times the same frame at the same place: the object there is the frame's patch up to its phase.
    still = replace(wide, amplitude=np.repeat(wide.amplitude[:1], 16, axis=0), x=wide.x * 0 + 44, y=wide.y * 0 + 40)
    alone = run(bundle, still, tmp_path)
    object_part, lit = alone.object[8:72, 12:76], alone.coverage[8:72, 12:76] > 1
    assert lit.sum() > 50
    ratio = object_part[lit] / patch[lit]
    np.testing.assert_allclose(ratio, np.full(lit.sum(), ratio[0]), rtol=1e-4)
    assert abs(ratio[0]) == pytest.approx(1.0, rel=1e-4)
    assert (found.object[found.coverage == 0] == 1).all()
