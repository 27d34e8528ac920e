"""Speed of the simulation against its floor: the same FFT and the same Poisson draws, and nothing else.

Usage: python benchmarks/simulation.py [--quick] [--json]
"""

import argparse
import json
import platform
import statistics
import tempfile
import time

import numpy as np
import scipy.fft

from fly64_assets.physics.counts import frame_generator
from fly64_assets.physics.forward import blocks, expected_counts
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.frames import simulate, write_split
from fly64_assets.simulation.recipe import BaseRecipe

DOSE = 10_000


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(frames: int, rounds: int) -> list[dict]:
    base = make_base(BaseRecipe("coins", "grass", 400, frames), 64)
    scan = simulate(base, dose=DOSE, scan="uniform", axis="y", seed=42)
    index = scan.halves["train"]
    patches = np.concatenate([next(scan.patch_blocks("train", 64))] * (len(index) // 64 + 1))[: len(index)]
    waves = (scan.scale * base.probe * patches).astype(np.complex128)
    rates = np.concatenate([expected_counts(waves[part], 1.0) for part in blocks(len(index))])

    def floor() -> None:
        for part in blocks(len(index)):
            scipy.fft.fft2(waves[part], norm="ortho")
            for row, frame in zip(rates[part], index[part], strict=True):
                frame_generator(42, DOSE, int(frame)).poisson(row)

    def ours() -> None:
        for _ in scan.amplitude_blocks("train"):
            pass

    def with_file() -> None:
        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            write_split(scan, "train", file, patches=True, metadata={"physics_parameters": {}})

    floor()
    ours()
    times: dict[str, list[float]] = {"floor": [], "simulate": [], "simulate_and_write": []}
    for _ in range(rounds):
        times["floor"].append(seconds(floor))
        times["simulate"].append(seconds(ours))
        times["simulate_and_write"].append(seconds(with_file))
    results = []
    for name in ("simulate", "simulate_and_write"):
        ratios = [mine / least for mine, least in zip(times[name], times["floor"], strict=True)]
        results.append(
            {
                "name": name,
                "value": len(index) / statistics.median(times[name]),
                "unit": "frames per second",
                "floor_or_peer": len(index) / statistics.median(times["floor"]),
                "ratio": statistics.median(ratios),
                "spread": [min(ratios), max(ratios)],
                "n": rounds,
                "frames": len(index),
                "machine": f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}",
            }
        )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under 40 seconds")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = measure(1000, 3) if options.quick else measure(8000, 5)
    if options.json:
        print(json.dumps(results, indent=2))
        return
    for entry in results:
        print(
            f"{entry['name']:20} {entry['value']:8.0f} frames/s; floor {entry['floor_or_peer']:.0f} frames/s; "
            f"time / floor {entry['ratio']:.2f} (n = {entry['n']})"
        )


if __name__ == "__main__":
    main()
