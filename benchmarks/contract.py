"""Speed and memory of ``fly64 contract check``, against reading and hashing the same file.

    python benchmarks/contract.py --quick
    python benchmarks/contract.py --frames 100000 --json

A data set of counts by the forward model, 64 x 64 pixels, written to a folder and removed afterwards; 512 different
frames are repeated. Each process reads the file once before it is timed, so that both work on the page cache, and the
best of several runs counts. The memory is what the check adds to the process; mapped pages of the file count.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fly64_assets.contract import schema
from fly64_assets.contract.metadata import build_metadata
from fly64_assets.contract.npz import NpzWriter, validate_file
from fly64_assets.physics.counts import poisson_counts, stored_amplitude
from fly64_assets.physics.forward import exact_mean, exit_wave_energies, intensity_scale, patch_counts
from fly64_assets.physics.scan import uniform_scan

SIDE = 64
DIFFERENT = 512
DOSE = 1e4
BLOCK_BYTES = 2**20
FLOOR = 1 / 3
"""The least speed of the check, over that of reading and hashing."""


def write(path: Path, frames: int) -> None:
    """A data set of so many frames, those of a short scan one after the other."""
    rows, columns = np.mgrid[:300, :320]
    obj = (0.8 + 0.2 * np.cos(columns / 9) * np.cos(rows / 7)) * np.exp(0.5j * np.sin(columns / 11 + rows / 13))
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    probe = np.exp(-(x**2 + y**2) / (SIDE / 6) ** 2 + 2j * (x**2 + y**2) / (SIDE / 4) ** 2)
    scan = uniform_scan(1, DIFFERENT, obj.shape, SIDE)
    energies = exit_wave_energies(obj, probe, scan)
    scale = intensity_scale(DOSE, energies)
    rates = patch_counts(obj, probe, scan, scale)
    block = stored_amplitude(poisson_counts(rates, np.arange(DIFFERENT), 1, int(DOSE)), scale)
    chosen = np.arange(frames) % DIFFERENT
    physics = {"nphotons": DOSE, "intensity_scale": scale, "expected_mean_counts": DOSE}
    physics["expected_mean_counts"] = scale**2 * exact_mean(energies[chosen])
    document = build_metadata(SIDE, physics=physics, fields={"view": "bench"})
    blocks = (block[: min(DIFFERENT, frames - start)] for start in range(0, frames, DIFFERENT))
    # Positions differ from frame to frame by less than the bilinear window sees.
    jitter = np.arange(frames) * 1e-9
    arrays = schema.small_arrays(obj, probe, scan.x[chosen] + jitter, scan.y[chosen], np.arange(frames), document)
    with path.open("wb") as file, NpzWriter(file) as writer:
        writer.add_blocks(schema.FRAMES, (frames, SIDE, SIDE), np.float32, blocks)
        for name, array in arrays.items():
            writer.add(name, array)


def read_and_hash(path: Path) -> None:
    """The floor: every byte through SHA256."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)


def peak_kib() -> int:
    """Largest resident memory of this process so far."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) if found else 0


def measure(path: Path, repeats: int) -> dict[str, float]:
    """Seconds of both, alternating, and the memory that the check adds."""
    read_and_hash(path)
    floors, checks = [], []
    before = peak_kib()
    for _ in range(repeats):
        began = time.perf_counter()
        read_and_hash(path)
        floors.append(time.perf_counter() - began)
        began = time.perf_counter()
        report = validate_file(path)
        checks.append(time.perf_counter() - began)
        if not report.ok:
            raise SystemExit("\n".join(finding.message for finding in report.errors))
    return {"floor_s": min(floors), "check_s": min(checks), "memory_mib": (peak_kib() - before) / 1024}


def main() -> None:
    """Write the file, measure in a process of its own, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="5,000 frames")
    parser.add_argument("--folder", type=Path, help="where the file is written for a while; needs 1.7 GB")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.repeats)))
        return
    frames = 5_000 if options.quick else options.frames
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "frames.npz"
        write(path, frames)
        size = path.stat().st_size
        command = [sys.executable, __file__, "--measure", str(path), "--repeats", str(options.repeats)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    row = {
        "name": "contract check",
        "value": size / found["check_s"] / 1e6,
        "floor_or_peer": size / found["floor_s"] / 1e6,
        "unit": "MB/s",
        "ratio": found["floor_s"] / found["check_s"],
        "least_ratio": FLOOR,
        "memory_mib": found["memory_mib"],
        "n": frames,
        "machine": platform.processor() or platform.machine(),
    }
    if options.json:
        print(json.dumps(row))
        return
    print(
        f"{frames} frames, {size / 1e9:.2f} GB: check {row['value']:.0f} MB/s, read and hash "
        f"{row['floor_or_peer']:.0f} MB/s, ratio {row['ratio']:.2f} (at least {FLOOR:.2f}), "
        f"memory {math.ceil(found['memory_mib'])} MiB, {row['machine']}"
    )


if __name__ == "__main__":
    main()
