"""Speed of the simulation against its floor: the same FFT and the same Poisson draws, and nothing else.

``simulate_vs_floor`` and ``simulate_and_write_vs_floor`` are floor time over ours, on one thread and on all CPUs, of
frames of 64 x 64 at 1e4 photons; writing includes the object patches Y and the contract check of the written file.
``previous_floor`` is the floor of older figures, which made a random generator anew for each frame, as the simulation
did then. Ours and the floor alternate, and the ratio is the median over the rounds. On one thread it is one of
processor time, which other programs change less than the time of the clock; on several it is the clock's.

``--parts`` prints instead what every part of a written half costs.

Usage: OMP_NUM_THREADS=1 python benchmarks/simulation.py [--quick] [--json] [--threads N] [--parts]
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import scipy.fft

from fly64_assets.contract.npz import NpzWriter, validate_file
from fly64_assets.physics.counts import frame_generator, frame_generators
from fly64_assets.physics.forward import blocks, expected_counts
from fly64_assets.physics.windows import cached_frames
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.frames import simulate, split_metadata, write_split
from fly64_assets.simulation.recipe import BaseRecipe

DOSE = 10_000
SIZE = 64


class Runs:
    """The floor and our own simulation of one half of a scan, to be timed in turn."""

    def __init__(self, frames: int, folder: Path) -> None:
        base = make_base(BaseRecipe("coins", "grass", 400, frames), SIZE)
        self.scan = simulate(base, dose=DOSE, scan="uniform", axis="y", seed=42)
        self.index = self.scan.halves["train"]
        self.path = folder / "frames.npz"
        number = len(self.index)
        patches = np.concatenate([next(self.scan.patch_blocks("train", 64))] * (number // 64 + 1))[:number]
        self.waves = (self.scan.scale * base.probe * patches).astype(np.complex128)
        self.rates = np.concatenate([expected_counts(self.waves[part], 1.0) for part in blocks(number)])
        self.metadata = split_metadata(
            self.scan, "train", patches=True, base_name="benchmark", base_sha256="0" * 64, parameters_sha256="0" * 64
        )

    def floor(self) -> None:
        """Transform and draw, with one generator that is set to each frame."""
        for part in blocks(len(self.index), cached_frames(SIZE)):
            scipy.fft.fft2(self.waves[part], norm="ortho")
            generators = frame_generators(42, DOSE, self.index[part].tolist())
            for row, generator in zip(self.rates[part], generators, strict=True):
                generator.poisson(row)

    def previous_floor(self) -> None:
        """Transform and draw, with a new generator for each frame."""
        for part in blocks(len(self.index)):
            scipy.fft.fft2(self.waves[part], norm="ortho")
            for row, frame in zip(self.rates[part], self.index[part], strict=True):
                frame_generator(42, DOSE, int(frame)).poisson(row)

    def simulate(self, threads: int) -> None:
        """Frames, which nobody keeps."""
        for _ in self.scan.amplitude_blocks("train", threads=threads):
            pass

    def simulate_and_write(self, threads: int) -> None:
        """Frames and patches in a file, which is judged."""
        with self.path.open("wb") as file:
            write_split(self.scan, "train", file, patches=True, metadata=self.metadata, threads=threads)


def measure(frames: int, rounds: int, threads: int, folder: Path) -> list[dict]:
    """One entry for each way to simulate and each number of threads."""
    runs = Runs(frames, folder)
    numbers = sorted({1, threads})
    calls = {"floor": runs.floor, "previous_floor": runs.previous_floor}
    for number in numbers:
        calls[f"simulate_{number}"] = partial(runs.simulate, number)
        calls[f"simulate_and_write_{number}"] = partial(runs.simulate_and_write, number)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter(), time.process_time()
            call()
            times[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
            runs.path.unlink(missing_ok=True)
    times = {name: taken[1:] for name, taken in times.items()}  # the first round fills caches
    common = {
        "n": rounds,
        "frames": len(runs.index),
        "machine": f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}",
    }
    return [entry(times, what, number, common) for what in ("simulate", "simulate_and_write") for number in numbers]


def parts(frames: int, rounds: int, folder: Path) -> dict[str, float]:
    """Processor microseconds a frame of every part of a written half, each alone, on one thread."""
    runs = Runs(frames, folder)
    amplitudes, patches = (list(runs.scan.amplitude_blocks("train")), list(runs.scan.patch_blocks("train")))
    shape = (len(runs.index), SIZE, SIZE)

    def write() -> None:
        with (folder / "parts.npz").open("wb") as file, NpzWriter(file) as writer:
            writer.add_blocks("diffraction", shape, np.float32, amplitudes)
            writer.add_blocks("Y", shape, np.complex64, patches)

    def patch() -> None:
        for _ in runs.scan.patch_blocks("train"):
            pass

    calls = {
        "floor": runs.floor,
        "simulate": partial(runs.simulate, 1),
        "patches Y": patch,
        "file and CRC": write,
        "all, written and judged": partial(runs.simulate_and_write, 1),
        "read back and judge": lambda: validate_file(runs.path),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
        (folder / "parts.npz").unlink()
    return {name: statistics.median(taken[1:]) / len(runs.index) * 1e6 for name, taken in times.items()}


def entry(times: dict[str, list[tuple[float, float]]], what: str, threads: int, common: dict) -> dict:
    """Frames per second of one way to simulate, and the floor's time over its own."""
    clock = 1 if threads == 1 else 0
    taken, floor, previous_floor = (
        [both[clock] for both in times[name]] for name in (f"{what}_{threads}", "floor", "previous_floor")
    )
    ratios, previous = (
        [least / mine for least, mine in zip(floors, taken, strict=True)] for floors in (floor, previous_floor)
    )
    frames = common["frames"]
    return {
        "name": f"{what}_vs_floor" if threads == 1 else f"{what}_vs_floor_{threads}_threads",
        "value": frames / statistics.median(taken),
        "unit": "frames per second",
        "floor_or_peer": frames / statistics.median(floor),
        "ratio": statistics.median(ratios),
        "spread": [min(ratios), max(ratios)],
        "ratio_to_previous_floor": statistics.median(previous),
        "threads": threads,
        **common,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under 40 seconds")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--parts", action="store_true")
    options = parser.parse_args()
    if options.parts:
        with tempfile.TemporaryDirectory() as folder:
            for name, microseconds in parts(2000 if options.quick else 8000, 5, Path(folder)).items():
                print(f"{name:25} {microseconds:5.0f} µs for a frame")
        return
    with tempfile.TemporaryDirectory() as folder:
        sizes = (2000, 7) if options.quick else (8000, 9)
        results = measure(*sizes, options.threads, Path(folder))
    if options.json:
        print(json.dumps(results, indent=2))
        return
    for found in results:
        print(
            f"{found['name']:38} {found['value']:8.0f} frames/s; floor {found['floor_or_peer']:.0f} frames/s; "
            f"floor / time {found['ratio']:.2f} ({found['spread'][0]:.2f} to {found['spread'][1]:.2f}; "
            f"previous floor {found['ratio_to_previous_floor']:.2f}; n = {found['n']})"
        )


if __name__ == "__main__":
    main()
