"""The same weights and frames in both backends: patches, counts, loss and gradients."""

from __future__ import annotations

import fly64_assets.engines.torch_compat  # noqa: F401  # isort: skip
import numpy as np
import pytest
import torch

from fly64_assets.physics import forward as physics
from fly64_assets.physics.windows import Scan
from fly64_assets.pinn.architectures import build_network
from fly64_assets.pinn.cnn.canvas import shared_patches
from fly64_assets.pinn.cnn.keras.weights import from_keras, initial_weights, to_keras, weight_shapes
from fly64_assets.pinn.forward import poisson_loss
from fly64_assets.pinn.network_spec import NetworkSpec

CASES = [(64, 1), (64, 2), (128, 1), (128, 2)]


def make_spec(size, gridsize, n_filters_scale=1):
    return NetworkSpec(
        architecture="cnn", patch_size=size, group_frames=gridsize**2, n_filters_scale=n_filters_scale, input_scale=3.0
    )


def make_probe(size):
    rows, columns = np.mgrid[:size, :size] - size // 2
    radius = np.hypot(rows, columns) / (size / 4)
    return (np.exp(2j * radius**2) / (1 + np.exp((radius - 1) * 10))).astype(np.complex64)


def make_case(size, gridsize, samples=1):
    """Weights, and Poisson counts of windows of one smooth object at fractional positions."""
    generator = np.random.default_rng([size, gridsize])
    spec, probe = make_spec(size, gridsize), make_probe(size)
    rows, columns = np.mgrid[: 2 * size, : 2 * size]
    obj = (0.85 + 0.15 * np.sin(rows / 5)) * np.exp(0.7j * np.sin(columns / 6 + rows / 9))
    offsets = generator.uniform(-size / 5, size / 5, (samples, gridsize**2, 2))
    offsets -= offsets.mean(axis=1, keepdims=True)
    y, x = (size + offsets[..., axis].ravel() for axis in (0, 1))
    scale = physics.intensity_scale(1e4, physics.exit_wave_energies(obj, probe, Scan(x, y, obj.shape, len(probe))))
    counts = generator.poisson(physics.patch_counts(obj, probe, Scan(x, y, obj.shape, len(probe)), scale)).reshape(
        *offsets.shape[:2], size, size
    )
    network = build_network(spec, probe, seed=3)
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    arrays = {"probe": probe, "counts": counts, "offsets": offsets.astype(np.float32)}
    arrays["scale"] = np.full((*offsets.shape[:2], 1, 1), scale, np.float32)
    return spec, arrays, weights


def in_torch(spec, arrays, weights, dtype):
    """The same as the job ``evaluate``, by PyTorch."""
    network = build_network(spec, arrays["probe"], seed=0)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    counts, scale, offsets = (torch.from_numpy(np.array(arrays[n], dtype)) for n in ("counts", "scale", "offsets"))
    if dtype == "float32":
        own = network(counts, scale)
    else:
        # ``forward`` ends in single precision.
        network.double()
        code = network.encoder(spec.input_scale / scale * counts.sqrt())
        own = torch.polar(network.amplitude(code), network.phase(code))
    patches = own if spec.group_frames == 1 else shared_patches(own, network.physics.weight, offsets)
    rates = network.physics.rates(patches, scale)
    loss = poisson_loss(rates, counts)
    results = {"own": own, "patches": patches, "rates": rates, "loss": loss}
    if dtype == "float64":
        loss.backward()
        results |= {f"gradient:{name}": parameter.grad for name, parameter in network.named_parameters()}
    return {name: value.detach().numpy() for name, value in results.items()}


@pytest.fixture(scope="module")
def answers(in_child, tmp_path_factory):
    """Both backends' results of every case."""
    folder = tmp_path_factory.mktemp("parity")
    cases, requests = {}, []
    for size, gridsize in CASES:
        spec, arrays, weights = cases[size, gridsize] = make_case(size, gridsize)
        name = f"{size}_{gridsize}"
        np.savez(folder / f"{name}.npz", **arrays, **{f"weight:{key}": value for key, value in weights.items()})
        requests.append(
            {"file": str(folder / f"{name}.npz"), "answer": str(folder / f"a{name}.npz"), "spec": spec.to_dict()}
        )
    facts = in_child("evaluate", {"cases": requests})
    assert (facts["torch"], facts["log"]) == (False, "")
    results = {"adjoint": facts["adjoint"]}
    for case in CASES:
        found = dict(np.load(folder / f"a{case[0]}_{case[1]}.npz"))
        results |= {(case, dtype): (in_torch(*cases[case], dtype), found) for dtype in ("float32", "float64")}
    return results


def relative(found, expected):
    """Largest difference, relative to the largest expected value; where all are zero, as it is."""
    return float(np.abs(found - expected).max() / (np.abs(expected).max() or 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_patches_counts_and_loss_are_the_same(answers, case, dtype, record_property):
    expected, found = answers[case, dtype]
    for name in ("own", "patches", "rates"):
        error = relative(found[f"{name}_{dtype}"], expected[name])
        record_property(f"{name} {case} {dtype}", error)
        assert error < (1e-5 if dtype == "float32" else 1e-6), name
    error = abs(float(found[f"loss_{dtype}"]) / float(expected["loss"]) - 1)
    record_property(f"loss {case} {dtype}", error)
    assert error < 1e-6
    assert np.ptp(np.angle(expected["patches"])) > 0.01, "the network does something"


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_gradients_are_the_same_in_double_precision(answers, case, record_property):
    expected, found = answers[case, "float64"]
    gradients = {name: value for name, value in expected.items() if name.startswith("gradient:")}
    assert {f"{name}_float64" for name in gradients} == {n for n in found if n.startswith("grad") and n.endswith("64")}
    errors = {name: relative(found[f"{name}_float64"], value) for name, value in gradients.items()}
    record_property(f"gradients {case}", max(errors.values()))
    assert max(errors.values()) < 1e-4
    assert sum(bool(np.abs(value).max() > 0) for value in gradients.values()) > len(gradients) / 2


def test_names_and_shapes_are_those_of_the_other_backend():
    for size, gridsize, factor in ((64, 1, 2), (128, 2, 1), (256, 2, 1)):
        spec = make_spec(size, gridsize, factor)
        expected = {k: tuple(v.shape) for k, v in build_network(spec, make_probe(size), seed=0).state_dict().items()}
        assert weight_shapes(spec) == expected
        weights = initial_weights(spec, 5)
        assert {name: value.shape for name, value in weights.items()} == expected
        assert all(np.array_equal(initial_weights(spec, 5)[name], value) for name, value in weights.items())
        assert not np.array_equal(initial_weights(spec, 6)["encoder.0.0.weight"], weights["encoder.0.0.weight"])


def test_kernels_survive_the_way_there_and_back():
    weights = initial_weights(make_spec(64, 2), 1)
    for name in ("encoder.0.0", "phase.outer"):
        kernel, bias = to_keras(name, weights)
        assert kernel.shape == weights[f"{name}.weight"].transpose(2, 3, 1, 0).shape
        again = from_keras(name, [kernel, bias])
        assert all(np.array_equal(again[key], weights[key]) for key in again)


@pytest.mark.slow
def test_placing_and_reading_are_adjoint_and_the_canvas_is_large_enough(answers):
    facts = answers["adjoint"]
    assert facts["placed"] == pytest.approx(facts["read"], rel=1e-12)
    assert facts["side"] == 16 + 2 * np.ceil(facts["reach"])
