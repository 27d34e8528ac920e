"""Peak memory of a training with the default network, by the number of frames.

Frames of 64 x 64 at 1e3 photons on a memory-mapped file, as the store keeps them. Every part of a training runs once:
the division of the photons (written to an unnamed file), likelihood steps over all frames, tiles, validation. The
peak is the kernel's VmHWM of a process that does nothing else; it counts the mapped pages of the frames, which the
kernel may take back at any time.

Usage: OMP_NUM_THREADS=1 python benchmarks/pinn_memory.py [--frames 10000 100000] [--json]
"""

import argparse
import json
import math
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fly64_assets.engines.execution import Execution
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.settings import UnrolledSettings
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.frames import simulate
from fly64_assets.simulation.recipe import BaseRecipe

LIMIT_GB = 3.0
SETTINGS = UnrolledSettings(epochs=1, steps_per_epoch=20, levels=(0.13, 0.04), level_iterations=1, folds=2)


def write_measurement(frames: int, folder: Path) -> None:
    """Simulate about ``frames`` frames of one half, at the density of the demo, into ``folder``."""
    size = 64 + round(math.sqrt(2 * frames * 74))
    base = make_base(BaseRecipe("coins", "grass", size, 2 * frames), 64)
    scan = simulate(base, dose=1000, scan="base", axis="y", seed=7)
    index = scan.halves["train"]
    stored = np.lib.format.open_memmap(folder / "frames.npy", "w+", np.float32, (len(index), 64, 64))
    start = 0
    for block in scan.amplitude_blocks("train"):
        stored[start : start + len(block)] = block
        start += len(block)
    stored.flush()
    rest = (scan.scale, base.probe, scan.positions.x[index], scan.positions.y[index], base.object.shape, index)
    (folder / "rest.pickle").write_bytes(pickle.dumps(rest))


def train_once(folder: Path) -> None:
    """Train in this process and print frames, seconds and the peak."""
    import torch

    from fly64_assets.pinn.training import train

    torch.set_num_threads(1)
    rest = pickle.loads((folder / "rest.pickle").read_bytes())
    measurement = Measurement(np.load(folder / "frames.npy", mmap_mode="r"), *rest)
    start = time.perf_counter()
    train(measurement, SETTINGS, 1, 7, 1, Execution(), lambda *_: None, scratch=folder)
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"frames": measurement.frames, "seconds": time.perf_counter() - start, "peak_kb": peak}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        train_once(options.child)
        return
    results = []
    for frames in options.frames:
        with tempfile.TemporaryDirectory() as folder:
            write_measurement(frames, Path(folder))
            command = [sys.executable, __file__, "--child", folder]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        peak = found["peak_kb"] * 1024 / 1e9
        results.append(
            {
                "name": f"pinn_memory_{found['frames']}",
                "value": peak,
                "unit": "GB",
                "floor_or_peer": LIMIT_GB,
                "ratio": peak / LIMIT_GB,
                "n": 1,
            }
        )
        if not options.json:
            print(f"{found['frames']} frames: peak {peak:.2f} GB, {found['seconds']:.0f} s", flush=True)
    if options.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
