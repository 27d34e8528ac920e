"""Jobs in a TensorFlow process, for tests that compare it with PyTorch: arrays in, arrays out, as NPZ files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from fly64_assets.engines.execution import Execution

from fly64_assets.engines.tensorflow_compat import configure  # isort: skip  (before tensorflow)
import tensorflow as tf

from fly64_assets.contract.npz import load_measurement
from fly64_assets.pinn.cnn.keras.architecture import FramesNetwork
from fly64_assets.pinn.cnn.keras.canvas import OverlapCanvas, shared_patches
from fly64_assets.pinn.cnn.keras.forward import ForwardModel, poisson_loss
from fly64_assets.pinn.cnn.keras.job import infer_job, train_job
from fly64_assets.pinn.cnn.keras.training import train
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.settings import CnnSettings
from fly64_assets.ptychopinn import session as own
from fly64_assets.ptychopinn.configuration import LegacyConfigError, ModelConfig, TrainingConfig
from fly64_assets.ptychopinn.session import legacy_session


def evaluate(request, _progress):
    """Patches, counts, loss and gradients of every case, in both precisions; and whether placing and reading agree."""
    configure(Execution())
    for case in request["cases"]:
        with np.load(case["file"]) as file:
            arrays = dict(file)
        spec = NetworkSpec.from_dict(case["spec"])
        results = {}
        for dtype in ("float32", "float64"):
            results |= {f"{name}_{dtype}": value for name, value in _one(spec, arrays, dtype).items()}
        np.savez(case["answer"], **results)
    return {"torch": "torch" in sys.modules, "adjoint": _adjoint(np.random.default_rng(4))}


def _one(spec, arrays, dtype):
    weights = {k.removeprefix("weight:"): v for k, v in arrays.items() if k.startswith("weight:")}
    network = FramesNetwork(spec, weights, dtype)
    physics = ForwardModel(arrays["probe"], dtype)
    counts, scale, offsets = (tf.constant(arrays[name], dtype) for name in ("counts", "scale", "offsets"))
    with tf.GradientTape() as tape:
        own = network(counts, scale)
        patches = own if spec.group_frames == 1 else shared_patches(own, physics.weight, offsets)
        rates = physics.rates(patches, scale)
        loss = poisson_loss(rates, counts)
    results = {"own": own.numpy(), "patches": patches.numpy(), "rates": rates.numpy(), "loss": loss.numpy()}
    again = network.weights()
    assert all(np.array_equal(again[name], value.astype(dtype)) for name, value in weights.items())
    if dtype == "float32":
        return results
    variables = network.variables
    gradients = {v: g.numpy() for v, g in zip(map(id, variables), tape.gradient(loss, variables), strict=True)}
    for name, layer in network._layers.items():
        kernel, bias = (gradients[id(v)] for v in layer.trainable_variables)
        results[f"gradient:{name}.weight"] = np.transpose(kernel, (3, 2, 0, 1))
        results[f"gradient:{name}.bias"] = bias
    return results


def _adjoint(generator):
    """<place p, c> and <p, read c> for random p and c."""
    offsets = generator.uniform(-9, 9, (2, 4, 2))
    canvas = OverlapCanvas(tf.constant(offsets), 16)
    patches = generator.normal(size=(2, 4, 16, 16))
    placed = canvas.place(tf.constant(patches))
    other = generator.normal(size=placed.shape)
    return {
        "placed": float(np.sum(placed.numpy() * other)),
        "read": float(np.sum(patches * canvas.read(tf.constant(other)).numpy())),
        "side": int(placed.shape[-1]),
        "reach": float(np.abs(offsets).max()),
    }


def course(request, progress):
    """Train twice, refuse what must be refused, and reconstruct with the bundles of both backends."""
    facts = [train_job({**request["train"], "output_folder": folder}, progress) for folder in request["folders"]]
    infer = [infer_job({**request["infer"], **paths}, progress) for paths in request["inferences"]]
    measurement, settings = load_measurement(Path(request["infer"]["measurement"])), CnnSettings()
    with legacy_session(TrainingConfig()) as closed:
        pass
    refused = [_refusal(None, measurement, settings), _refusal({"N": 64}, measurement, settings)]
    refused.append(_refusal(closed, measurement, settings))
    for config in (
        TrainingConfig(model=ModelConfig(N=128), intensity_scale_trainable=False),
        TrainingConfig(model=ModelConfig(amp_activation="swish")),
    ):
        with legacy_session(config) as session:
            refused.append(_refusal(session, measurement, settings))
    return {"facts": facts, "infer": infer, "refused": refused, "left": dict(own.cfg), "torch": "torch" in sys.modules}


def masked(request, progress):
    """Train once on each measurement, reconstruct it with the result, and take the loss of given rates and counts."""
    for case in request["cases"]:
        facts = train_job({**request["train"], **case["train"]}, progress)
        infer_job({"execution": request["train"]["execution"], **case["infer"]}, progress)
    with np.load(request["file"]) as file:
        rates, counts, bad = (file[name] for name in ("rates", "counts", "bad_pixels"))
    with tf.GradientTape() as tape:
        variable = tf.constant(rates)
        tape.watch(variable)
        loss = poisson_loss(variable, counts, bad)
    gradient = tape.gradient(loss, variable).numpy()
    return facts | {"loss": float(loss), "under": float(np.abs(gradient[:, bad]).max())}


def _refusal(session, measurement, settings):
    try:
        train(session, measurement, settings, lambda *_: None)
    except LegacyConfigError as error:
        return str(error)
    return ""
