"""The network: frames per second of training steps and of reconstructions, beside the machine's convolution peak.

The peak is a large 3 x 3 convolution in the same data type and memory format, measured in turns with the networks.
FLOPs are those of the networks' convolutions, counted by torch; transforms (FFT) are not counted, so that the
likelihood's share of a step shows as a lower fraction of the peak. The regularisation path has a floor of its own:
the two transforms of every frame; its steps share the fit of the background. Networks are untrained, the
object (coins, grass) is not one of the studies'. A step is forward, backward and optimiser, without preparation and
without Lightning's loop.

Usage: OMP_NUM_THREADS=1 python benchmarks/pinn.py [--quick] [--threads N] [--json]
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from fly64_assets.physics.forward import blocks
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.architectures import build_network
from fly64_assets.pinn.bundle import Bundle
from fly64_assets.pinn.cnn.training import CnnTraining
from fly64_assets.pinn.inference import reconstruct
from fly64_assets.pinn.network_spec import NetworkSpec, input_scale
from fly64_assets.pinn.optimisation import TrainingSetup
from fly64_assets.pinn.ranks import Ranks
from fly64_assets.pinn.settings import CnnSettings, UnrolledSettings
from fly64_assets.pinn.unrolled.network import network_input
from fly64_assets.pinn.unrolled.object_plane import BLOCK_FRAMES, ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import FIRST_PART, regularisation_path
from fly64_assets.pinn.unrolled.training import UnrolledTraining
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.frames import simulate
from fly64_assets.simulation.recipe import BaseRecipe

Work = Callable[[], object]
DOSE = 10_000
SETTINGS, CNN_SETTINGS = UnrolledSettings(), CnnSettings()
CNN = {"cnn, 4 frames, g = 1": (4, 1), "cnn, 16 frames, g = 1": (16, 1)}
CNN |= {"cnn, 16 frames, g = 2": (16, 2), "cnn, 64 frames, g = 1": (64, 1)}
TILES = {f"unrolled, tile {side} px": side for side in (96, 160, 256)}
PATH_STEPS = 24
"""Too few to reach the minimum, so that all of them are taken."""


def measurement(positions: int) -> Measurement:
    """The train half of a scan, from the middle outwards: the first n frames are a scan of the same density."""
    base = make_base(BaseRecipe("coins", "grass", 448, positions), 64)
    scan = simulate(base, dose=DOSE, scan="uniform", axis="y", seed=7)
    amplitude, index = np.concatenate(list(scan.amplitude_blocks("train"))), scan.halves["train"]
    x, y = scan.positions.x[index], scan.positions.y[index]
    order = np.argsort(np.maximum(np.abs(x - np.median(x)), np.abs(y - np.median(y))))
    return Measurement(amplitude[order], scan.scale, base.probe, x[order], y[order], base.object.shape, index[order])


def first(m: Measurement, n: int) -> Measurement:
    return replace(m, amplitude=m.amplitude[:n], x=m.x[:n], y=m.y[:n], scan_index=m.scan_index[:n])


# -- measuring ------------------------------------------------------------------------------------------------------


def seconds(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turns(works: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What every work measures, once per round."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(work())
    return found


def flops(work: Work) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def convolution(channels: int, memory_format: torch.memory_format, training: bool) -> Work:
    images = torch.randn(1, channels, 128, 128).to(memory_format=memory_format).requires_grad_(training)
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=memory_format)

    def work() -> None:
        with torch.set_grad_enabled(training):
            result = layer(images)
            if training:
                result.backward(torch.ones_like(result))

    return work


@dataclass(frozen=True)
class Peak:
    """The fastest of several large convolutions, as (name, FLOPs, work)."""

    fastest: list[tuple[str, int, Work]]

    @classmethod
    def of(cls, training: bool) -> "Peak":
        candidates = []
        for memory_format, label in ((torch.contiguous_format, "contiguous"), (torch.channels_last, "channels last")):
            for channels in (32, 64, 128) if training else (32, 64, 128, 256):
                work = convolution(channels, memory_format, training)
                candidates.append((f"{channels} channels, {label}", flops(work), work))
        times: list[list[float]] = [[] for _ in candidates]
        for _ in range(5):
            for (_, _, work), own in zip(candidates, times, strict=True):
                own.append(seconds(work))
        rates = [count / min(own) for (_, count, _), own in zip(candidates, times, strict=True)]
        return cls([candidates[k] for k in np.argsort(rates)[::-1][:2]])

    def rate(self) -> float:
        """FLOPs per second now: the best of a few calls."""
        return max(count / seconds(work) for _ in range(3) for _, count, work in self.fastest)


def spread(values: Sequence[float]) -> list[float]:
    return [min(values), max(values)]


def entry(name: str, frames: int, count: int, own: list[float], peaks: list[float]) -> dict:
    """Frames per second, beside those of a machine that does nothing but these convolutions at its peak.

    ``own`` in seconds, ``peaks`` in FLOPs per second, measured in turns.
    """
    return {
        "name": name,
        "value": frames / statistics.median(own),
        "unit": "frames per second",
        "floor_or_peer": frames * statistics.median(peaks) / count,
        "ratio": statistics.median(count / mine / peak for mine, peak in zip(own, peaks, strict=True)),
        "spread": spread([frames / one for one in own]),
        "n": len(own),
        "frames": frames,
        "seconds": statistics.median(own),
        "gflop": count / 1e9,
        "peak_gflop_per_second": statistics.median(peaks) / 1e9,
    }


# -- training -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One optimisation step, its network alone (forward and backward on the same input), and its FLOPs."""

    frames: int
    whole: Work
    network: Work
    flops: int


def step_of(task: CnnTraining | UnrolledTraining, batch: object, frames: int) -> Step:
    optimizer = task.configure_optimizers()["optimizer"]
    task.log = lambda *_, **__: None
    parameters = list(task.network.parameters())
    seen = []

    def step() -> None:
        optimizer.zero_grad()
        task.training_step(batch, 0).backward()
        torch.nn.utils.clip_grad_norm_(parameters, SETTINGS.gradient_clip)
        optimizer.step()

    handle = task.network.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs))
    count = flops(step)
    handle.remove()

    def network_alone() -> None:
        optimizer.zero_grad()
        torch.view_as_real(task.network(*seen[0])).square().mean().backward()

    network_alone()
    return Step(frames, step, network_alone, count)


def cnn_steps(m: Measurement, largest: int) -> dict[str, Step]:
    steps = {}
    for name, (frames, gridsize) in CNN.items():
        if frames > largest:
            continue
        settings = replace(CNN_SETTINGS, batch_size=frames)
        task = CnnTraining(setup(m, settings, gridsize, Path()))
        task.on_fit_start()
        batch = task.samples.epoch(0)[0]
        steps[name] = step_of(task, batch, batch.frames.size)
    return steps


def setup(m: Measurement, settings: CnnSettings | UnrolledSettings, gridsize: int, scratch: Path) -> TrainingSetup:
    return TrainingSetup(m, settings, gridsize, 7, 1, Ranks(0, 1, "cpu"), scratch, lambda _line: None)


def unrolled_steps(m: Measurement, scratch: Path) -> dict[str, Step]:
    # Few likelihood steps: a training step takes as long on a poor object as on a good one.
    settings = replace(SETTINGS, level_iterations=1, folds=1)
    task = UnrolledTraining(setup(m, settings, 1, scratch))
    spec = replace(task.spec, levels=SETTINGS.levels[:4], base=2)
    illumination = task.likelihood.plane.illumination
    inputs = {
        which: replace(one, channels=network_input(one.obj, [one.obj] * len(spec.levels), illumination))
        for which, one in task.data.inputs.items()
    }
    data = replace(task.data, inputs=inputs)
    steps = {}
    for name, side in TILES.items():
        network = build_network(spec, m.probe, 1)
        own = UnrolledTraining(setup(m, replace(settings, tile=side), 1, scratch))
        own.network, own.data = network, data
        tiles = sorted(own.sampler.epoch(0), key=lambda tile: len(tile.frames))
        batch = tiles[len(tiles) // 2]
        steps[name] = step_of(own, batch, len(batch.frames))
    return steps


def training(rounds: int, largest: int, scratch: Path) -> list[dict]:
    m = measurement(2000)
    steps = cnn_steps(m, largest) | unrolled_steps(m, scratch)
    peak = Peak.of(training=True)
    results = []
    for name, step in steps.items():
        works = {"whole": partial(seconds, step.whole), "network": partial(seconds, step.network), "peak": peak.rate}
        times = in_turns(works, rounds)
        one = entry(f"train: {name}", step.frames, step.flops, times["whole"], times["peak"])
        alone = entry("", step.frames, step.flops, times["network"], times["peak"])
        extra = {"network_alone_ratio": alone["ratio"], "peak": peak.fastest[0][0]}
        results.append(one | extra)
    return results


# -- inference ------------------------------------------------------------------------------------------------------


def bundles(m: Measurement) -> dict[str, Bundle]:
    """Untrained networks; ``unrolled`` with all levels of the default, the most that a training leaves it."""
    found = {}
    for architecture in ("cnn", "unrolled"):
        spec = NetworkSpec(
            architecture=architecture,
            patch_size=m.patch_size,
            group_frames=1,
            width=SETTINGS.width,
            levels=SETTINGS.levels,
            level_iterations=SETTINGS.level_iterations,
            base=len(SETTINGS.levels) - 2,
            n_filters_scale=CNN_SETTINGS.n_filters_scale,
            amplitude_max=CNN_SETTINGS.amplitude_max,
            input_scale=input_scale(m),
        )
        weights = {k: v.numpy() for k, v in build_network(spec, m.probe, 1).state_dict().items()}
        found[architecture] = Bundle({}, {"network": spec.to_dict()}, weights, [])
    return found


def network_flops(bundle: Bundle, m: Measurement, scratch: Path) -> int:
    """FLOPs of the convolutions of one reconstruction, which the number of likelihood steps does not change."""
    short = replace(bundle, params={"network": bundle.params["network"] | {"level_iterations": 1}})
    return flops(lambda: reconstruct(short, m, "cpu", scratch, lambda *_: None))


def inference(m: Measurement, sizes: Sequence[int], rounds: int, scratch: Path) -> list[dict]:
    peak = Peak.of(training=False)
    results = []
    for architecture, bundle in bundles(m).items():
        for n in sizes:
            some = first(m, n)
            # A network of frames does the same for each of them.
            counted = some if architecture == "unrolled" else first(m, BLOCK_FRAMES)
            count = network_flops(bundle, counted, scratch) * n // counted.frames

            run = partial(reconstruct, bundle, some, "cpu", scratch, lambda *_: None)
            works = {"run": partial(seconds, run), "peak": peak.rate}
            times = in_turns(works, rounds if n < 1000 else 1)
            one = entry(f"infer: {architecture}, {n} frames", n, count, times["run"], times["peak"])
            results.append(one | {"peak": peak.fastest[0][0]})
    return results


def path(m: Measurement, sizes: Sequence[int], rounds: int) -> list[dict]:
    results = []
    for n in sizes:
        some = first(m, n)
        scene = ObjectPlane(some)
        counts = torch.from_numpy(np.fft.ifftshift(some.counts(), axes=(-2, -1)).astype(np.float32))
        waves = torch.randn(n, 64, 64, dtype=torch.complex64)

        def floor(waves: torch.Tensor = waves) -> None:
            for part in blocks(len(waves), BLOCK_FRAMES):
                torch.fft.ifft2(torch.fft.fft2(waves[part], norm="ortho"), norm="ortho")

        def steps(
            read: Callable[[slice], torch.Tensor], scene: ObjectPlane = scene, scale: float = m.intensity_scale
        ) -> None:
            regularisation_path(scene, read, scale, (0.04,), PATH_STEPS // FIRST_PART)

        def from_amplitudes(rows: slice, some: Measurement = some) -> torch.Tensor:
            shifted = np.fft.ifftshift(some.counts(rows), axes=(-2, -1))
            return torch.from_numpy(shifted.astype(np.float32))

        works = {"path": partial(steps, counts.__getitem__), "stored": partial(steps, from_amplitudes), "floor": floor}
        for work in works.values():
            work()
        times = in_turns({name: partial(seconds, work) for name, work in works.items()}, rounds)
        own = [one / n / PATH_STEPS * 1e6 for one in times["path"]]
        least = [one / n * 1e6 for one in times["floor"]]
        ratios = [mine / low for mine, low in zip(own, least, strict=True)]
        results.append(
            {
                "name": f"path: {n} frames",
                "value": statistics.median(own),
                "unit": "microseconds per frame and step",
                "floor_or_peer": statistics.median(least),
                "ratio": statistics.median(ratios),
                "spread": spread(own),
                "n": rounds,
                "with_counts_from_amplitudes": statistics.median(times["stored"]) / n / PATH_STEPS * 1e6,
                "plane": list(scene.shape),
            }
        )
    return results


# -- output ---------------------------------------------------------------------------------------------------------


def table(results: list[dict], machine: str) -> None:
    print(machine)
    print("\n| training step | frames | frames/s | spread | ms/step | conv. GFLOP | of conv. peak | network alone |")
    print("|---|---|---|---|---|---|---|---|")
    for one in (r for r in results if r["name"].startswith("train: ")):
        print(
            f"| {one['name'].removeprefix('train: ')} | {one['frames']} | {one['value']:.0f} "
            f"| {one['spread'][0]:.0f} to {one['spread'][1]:.0f} | {1e3 * one['seconds']:.1f} | {one['gflop']:.2f} "
            f"| {100 * one['ratio']:.0f} % | {100 * one['network_alone_ratio']:.0f} % |"
        )
    print("\n| reconstruction, end to end | frames/s | spread | ms/frame | seconds | conv. GFLOP | of conv. peak | n |")
    print("|---|---|---|---|---|---|---|---|")
    for one in (r for r in results if r["name"].startswith("infer: ")):
        print(
            f"| {one['name'].removeprefix('infer: ')} | {one['value']:.0f} | {one['spread'][0]:.0f} to "
            f"{one['spread'][1]:.0f} | {1e3 / one['value']:.2f} | {one['seconds']:.2f} | {one['gflop']:.2f} "
            f"| {100 * one['ratio']:.1f} % | {one['n']} |"
        )
    print(
        "\n| regularisation path | us per frame and step | spread | its two transforms alone | ratio "
        "| with counts from amplitudes in every step, as in a reconstruction | plane [px] |"
    )
    print("|---|---|---|---|---|---|---|")
    for one in (r for r in results if r["name"].startswith("path: ")):
        print(
            f"| {one['name'].removeprefix('path: ')} | {one['value']:.0f} | {one['spread'][0]:.0f} to "
            f"{one['spread'][1]:.0f} | {one['floor_or_peer']:.0f} | {one['ratio']:.2f} "
            f"| {one['with_counts_from_amplitudes']:.0f} | {one['plane'][0]} x {one['plane'][1]} |"
        )
    for kind, what in (("train: ", "forward and backward"), ("infer: ", "forward")):
        own = [one for one in results if one["name"].startswith(kind)]
        rates = [one["peak_gflop_per_second"] for one in own]
        print(f"\nconvolution peak, {what}: {min(rates):.0f} to {max(rates):.0f} GFLOP/s ({own[0]['peak']})", end="")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under 60 seconds")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    sizes, rounds = ((64, 128), 2) if options.quick else ((128, 512, 2048), 3)
    machine = (
        f"{platform.machine()}, {options.threads} thread(s), float32, torch {torch.__version__}, {os.cpu_count()} CPUs"
    )
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        m = measurement(2 * max(sizes) + 200)
        results = training(3 if options.quick else 5, 16 if options.quick else 64, scratch)
        results += path(m, sizes, 3 if options.quick else 5)
        results += inference(m, sizes, rounds, scratch)
    # Other work on the machine shows here; a load beyond the number of CPUs makes every figure worthless.
    machine += f", load average at the end {os.getloadavg()[0]:.1f}"
    if options.json:
        print(json.dumps([one | {"machine": machine} for one in results], indent=2))
        return
    table(results, machine)


if __name__ == "__main__":
    main()
