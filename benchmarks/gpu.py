"""What a GPU gives: an epoch of LSQML against the library's own, likelihood steps, training and stitched frames.

The scan has as many frames as a published one (10,304; Vu et al., arXiv 2602.21361 give 1.444 s per epoch of LSQML for
10,304 frames of 128 x 128 on a GPU that is not named). The object (coins, grass) is no study's. Without a GPU the
same script runs on the processor, with fewer frames.

Usage: python benchmarks/gpu.py [--accelerator cuda] [--frames 10304] [--sizes 64 128] [--rounds 3]
    [--not-deterministic] [--parts lsqml likelihood pretrained network] [--output FILE.csv]
"""

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from fly64_assets.engines.execution import Execution, torch_settings
from fly64_assets.engines.torch_compat import declare_torchvision_operators
from fly64_assets.lsqml import engine
from fly64_assets.lsqml.count_split import HeldOutCounts
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.torch_windows import Windows
from fly64_assets.physics.windows import Scan
from fly64_assets.pinn.bundle import Bundle
from fly64_assets.pinn.inference import reconstruct
from fly64_assets.pinn.pretrained.files import general_network
from fly64_assets.pinn.pretrained.inference import reconstruct as apply_pretrained
from fly64_assets.pinn.settings import UnrolledSettings
from fly64_assets.pinn.training import train
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import RegularisedLikelihood
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.recipe import BaseRecipe

declare_torchvision_operators()

PHOTONS = 10_000
BLOCK = 512
COLUMNS = (
    "name", "frames", "value", "unit", "floor_or_peer", "ratio", "largest_difference", "n", "deterministic", "machine",
)  # fmt: skip


def silent(*_: object) -> None:
    """A progress that nobody reads."""


def scan_of(frames: int, size: int, device: str) -> Measurement:
    """Frames at random positions over an object of 336 px beyond the windows, simulated on the device."""
    base = make_base(BaseRecipe("coins", "grass", 336 + size, 64), size)
    numbers = np.random.default_rng(1)
    x, y = numbers.uniform(size / 2, 336 + size / 2, (2, frames))
    scan = Scan(x, y, base.object.shape, size)
    windows, probe = Windows.of(scan, device), torch.from_numpy(base.probe).to(device)
    obj, counts = torch.from_numpy(base.object.astype(np.complex64)).to(device), np.empty((frames, size, size), "f4")
    energy = float((probe.abs().square().sum()) * obj.abs().square().mean())
    scale = (PHOTONS / energy) ** 0.5
    torch.manual_seed(1)
    for first in range(0, frames, BLOCK):
        rows = slice(first, min(frames, first + BLOCK))
        rates = (torch.fft.fft2(probe * windows[rows].read(obj), norm="ortho").abs() * scale).square()
        counts[rows] = torch.fft.fftshift(torch.poisson(rates), dim=(-2, -1)).cpu().numpy()
    amplitude = (np.sqrt(counts) / scale).astype(np.float32)
    return Measurement(amplitude, scale, base.probe, x, y, base.object.shape, np.arange(frames))


def seconds(work: Callable[[], object], device: str) -> float:
    """Wall clock of some work, the device's included."""
    if device == "cuda":
        torch.cuda.synchronize()
    before = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - before


def lsqml(m: Measurement, execution: Execution, rounds: int) -> list[dict]:
    """An epoch of ours and of the library's, alternating, and how far apart their objects are after as many."""
    settings = LsqmlSettings()
    start, split, tasks, times = np.ones(m.object_shape, np.complex64), HeldOutCounts(m, 0, 1), {}, {}
    with torch_settings(execution):
        for fast in (True, False):
            unchanged = mock.patch("fly64_assets.lsqml.minibatch.use_fast_minibatches")
            began = time.perf_counter()
            with nullcontext() if fast else unchanged:
                model = engine.noise_models(settings)[1]
                tasks[fast] = engine._task(m, split, settings, execution, 1, start, model, m.probe)
            tasks[fast].run(1)
            times[fast] = []
            if fast:
                start_seconds = time.perf_counter() - began
        for _ in range(rounds):
            for fast, found in times.items():
                found.append(seconds(lambda task=tasks[fast]: task.run(1), execution.accelerator))
    ours, stock = (float(np.median(times[fast])) for fast in (True, False))
    entry = {"name": f"gpu_lsqml_epoch_{m.patch_size}", "value": ours, "unit": "s", "floor_or_peer": stock}
    fast, stock_object = (task.get_data_to_cpu("object", as_numpy=True) for task in (tasks[True], tasks[False]))
    apart = float(np.abs(fast - stock_object).max())
    entry |= {"ratio": stock / ours, "frames": m.frames, "n": rounds, "start_s": round(start_seconds, 2)}
    return [entry | {"largest_difference": apart}]


def likelihood(m: Measurement, execution: Execution, rounds: int) -> list[dict]:
    """A step of the regularised likelihood, against two transforms of as many frames."""
    device = execution.accelerator
    with torch_settings(execution), torch.no_grad():
        plane = ObjectPlane(m, device)
        shifted = np.fft.ifftshift(m.counts(slice(None)).astype(np.float32), axes=(-2, -1))
        counts = torch.from_numpy(shifted).to(device)
        path = RegularisedLikelihood(plane, lambda rows: counts[rows], m.intensity_scale)
        path.minimised(0.3, None, 2)
        steps: list[float] = []
        found = [seconds(lambda: path.minimised(0.3, None, 5, steps.append), device) for _ in range(rounds)]
        field = torch.randn(min(m.frames, BLOCK), m.patch_size, m.patch_size, dtype=torch.complex64, device=device)
        floors = [seconds(lambda: torch.fft.ifft2(torch.fft.fft2(field)), device) for _ in range(10)]
    step, floor = float(np.sum(found)) / len(steps), float(np.median(floors)) * m.frames / len(field)
    entry = {"name": f"gpu_likelihood_step_{m.patch_size}", "value": step, "unit": "s", "floor_or_peer": floor}
    return [entry | {"ratio": floor / step, "frames": m.frames, "n": len(steps)}]


def trained_network(m: Measurement, execution: Execution, _rounds: int) -> list[dict]:
    """Training of the unrolled network, and stitched frames per second of its inference, everything included."""
    settings = UnrolledSettings(epochs=3)
    with tempfile.TemporaryDirectory() as folder:
        trained = train(m, settings, 1, 7, 1, execution, silent, scratch=Path(folder))
        bundle = Bundle({}, {"network": trained.spec.to_dict()}, trained.weights, trained.history)
        spent = seconds(
            lambda: reconstruct(bundle, m, execution.accelerator, Path(folder), silent), execution.accelerator
        )
    common = {"frames": m.frames, "n": 1}
    return [
        {"name": f"gpu_training_{m.patch_size}", "value": trained.seconds, "unit": "s for 3 epochs"} | common,
        {"name": f"gpu_stitched_{m.patch_size}", "value": m.frames / spent, "unit": "frames/s"} | common,
    ]


def pretrained(m: Measurement, execution: Execution, rounds: int) -> list[dict]:
    """Stitched frames per second of the network that is trained once; its five passes over the frames included."""
    network = general_network().to(execution.accelerator)
    with torch_settings(execution):
        apply_pretrained(network, m, execution.accelerator)
        spent = [
            seconds(lambda: apply_pretrained(network, m, execution.accelerator), execution.accelerator)
            for _ in range(rounds)
        ]
    rate = m.frames / float(np.median(spent))
    entry = {"name": f"gpu_pretrained_{m.patch_size}", "value": rate, "unit": "frames/s"}
    return [entry | {"frames": m.frames, "n": rounds}]


PARTS = {"lsqml": lsqml, "likelihood": likelihood, "pretrained": pretrained, "network": trained_network}


def measured(m: Measurement, execution: Execution, rounds: int, parts: Sequence[str]) -> Iterator[dict]:
    """Entries, one after the other; a part that fails stops no other."""
    for part in parts:
        try:
            yield from PARTS[part](m, execution, rounds)
        except (RuntimeError, TypeError) as error:
            yield {"name": f"gpu_{part}_{m.patch_size}", "error": repr(error)[:500]}


def append(path: Path, entry: dict) -> None:
    """Add a row to a CSV file."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow({name: f"{value:.4g}" if isinstance(value, float) else value for name, value in entry.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--frames", type=int, default=256)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="CSV file to which rows are added, besides the printed JSON")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--not-deterministic", action="store_true", help="sums in any order on the GPU")
    options = parser.parse_args()
    execution = replace(Execution(), accelerator=options.accelerator, deterministic=not options.not_deterministic)
    machine = torch.cuda.get_device_name() if options.accelerator == "cuda" else "cpu"
    for size in options.sizes:
        m = scan_of(options.frames, size, options.accelerator)
        for found in measured(m, execution, options.rounds, options.parts):
            entry = found | {"deterministic": execution.deterministic, "machine": machine}
            print(json.dumps(entry), flush=True)
            if options.output and "error" not in entry:
                append(options.output, entry)


if __name__ == "__main__":
    main()
