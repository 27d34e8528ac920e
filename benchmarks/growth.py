"""How cost grows with the scan: simulation, views, overlap, hashing, LSQML's batches, each beside a floor or a peer.

    OMP_NUM_THREADS=1 python benchmarks/growth.py [--quick] [--json] [--largest N]

Seconds are those of the processor for one thread, of ours and of the floor or peer in turn, the least of a few rounds;
other work on the machine hardly touches their ratio. ``exponent`` of the largest of a series is the slope between it
and the one before: 1 is linear. Frames are 64 x 64 at 1e4 photons, and never kept.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
from measure import entry, show
from scipy.spatial import cKDTree

from fly64_assets.engines.torch_compat import declare_torchvision_operators
from fly64_assets.physics.counts import frame_generators
from fly64_assets.physics.forward import blocks, expected_counts
from fly64_assets.physics.overlap import compute_overlap_metrics, select_spaced
from fly64_assets.physics.windows import cached_frames
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.frames import SimulatedScan, simulate
from fly64_assets.simulation.recipe import BaseRecipe
from fly64_assets.store.hashing import sha256_file

SIZE, DOSE, SEED = 64, 10_000, 42
BLOCK = 4096
"""Frames for which the floor has waves and rates; it goes through them again and again."""
SPACING = 19.2
"""Of a view with 70 % overlap of windows [px]."""
AREA = 36.0
"""Of the object for each position [px^2], as in the scans of LSQML's benchmark."""
BATCH = 64


def processor_seconds(work: Callable[[], object]) -> float:
    """Of one call."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def in_turn(ours: Callable[[], object], peer: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Least seconds of both, alternating."""
    times = [(processor_seconds(ours), processor_seconds(peer)) for _ in range(rounds)]
    return min(one for one, _ in times), min(other for _, other in times)


def series(
    name: str,
    sizes: Sequence[int],
    peer: str,
    pair: Callable[[int], tuple[Callable[[], object], Callable[[], object]]],
    rounds: int,
) -> Iterator[dict[str, Any]]:
    """One entry for each size, in microseconds for each frame, position or KiB."""
    last: tuple[int, float] | None = None
    for size in sizes:
        ours, other = in_turn(*pair(size), rounds if size < max(sizes) or len(sizes) == 1 else 1)
        slope = math.log(ours / last[1]) / math.log(size / last[0]) if last and ours > 0 else None
        scale = 1e6 / size
        yield entry(name, ours * scale, other * scale, unit="us each", peer=peer, n=rounds, size=size, exponent=slope)
        last = size, ours


def simulation(size: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """All frames of a scan against the FFT and the Poisson draws of as many."""
    scan = _scan(size)
    waves, rates = _waves(scan)

    def floor() -> None:
        left = size
        while left > 0:
            number = min(left, len(waves))
            for part in blocks(number, cached_frames(SIZE)):
                scipy.fft.fft2(waves[part], norm="ortho")
                generators = frame_generators(SEED, DOSE, range(number)[part])
                for row, generator in zip(rates[part], generators, strict=True):
                    generator.poisson(row)
            left -= number

    return _simulated(scan), floor


def simulation_by_loop(size: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """All frames of a scan against a plain loop over its frames, as one writes it at first."""
    scan = _scan(size)
    obj, probe = scan.base.object.astype(complex), scan.base.probe.astype(complex)

    def loop() -> None:
        rng = np.random.default_rng(SEED)
        for y, x in zip(scan.positions.y, scan.positions.x, strict=True):
            row, column = math.floor(y) - SIZE // 2, math.floor(x) - SIZE // 2
            v, u = y - math.floor(y), x - math.floor(x)
            window = obj[row : row + SIZE + 1, column : column + SIZE + 1]
            patch = (1 - v) * ((1 - u) * window[:-1, :-1] + u * window[:-1, 1:])
            patch = patch + v * ((1 - u) * window[1:, :-1] + u * window[1:, 1:])
            field = np.fft.fftshift(np.fft.fft2(scan.scale * probe * patch, norm="ortho"))
            np.sqrt(rng.poisson(np.abs(field) ** 2))

    return _simulated(scan), loop


def simulation_by_library(size: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """All frames of a scan against pty-chi's forward model of the same scan, in float32, and torch's Poisson draws."""
    import torch
    from ptychi.api.options.lsqml import LSQMLOptions
    from ptychi.api.task import PtychographyTask

    scan = _scan(size)
    obj = np.pad(scan.base.object, 8, constant_values=1)  # the library's windows need a rim
    centre = scan.base.object.shape[-1] / 2
    options = LSQMLOptions()
    options.reconstructor_options.default_device = "cpu"
    options.object_options.pixel_size_m = 1e-8
    options.object_options.optimizable = options.probe_options.optimizable = False
    task = PtychographyTask(
        options,
        diffraction_data=np.ones((size, SIZE, SIZE), np.float32),
        object_data=obj[None].astype(np.complex64),
        probe_data=(scan.base.probe * scan.scale / SIZE)[None, None].astype(np.complex64),
        probe_position_x_px=(scan.positions.x - centre).astype(np.float32),
        probe_position_y_px=(scan.positions.y - centre).astype(np.float32),
    )
    model = task.reconstructor.forward_model

    def library() -> None:
        generator = torch.Generator().manual_seed(SEED)
        for indices in torch.arange(size).split(BATCH):
            torch.poisson(model(indices), generator=generator).sqrt_()

    return _simulated(scan), torch.no_grad()(library)


def _simulated(scan: SimulatedScan) -> Callable[[], None]:
    def ours() -> None:
        for half in scan.halves:
            for _ in scan.amplitude_blocks(half, threads=1):
                pass

    return ours


def _scan(size: int) -> SimulatedScan:
    side = max(400, round(math.sqrt(size * AREA)) + 2 * SIZE) if size <= BLOCK else 4000
    base = make_base(BaseRecipe("coins", "grass", min(side, 4000), size), SIZE)
    return simulate(base, dose=DOSE, scan="uniform", axis="y", seed=SEED)


def _waves(scan: SimulatedScan) -> tuple[np.ndarray, np.ndarray]:
    patches = np.concatenate([block for block, _ in zip(scan.patch_blocks("train", 64), range(8), strict=False)])
    waves = (scan.scale * scan.base.probe * patches).astype(np.complex128)
    rates = np.concatenate([expected_counts(waves[part], 1.0) for part in blocks(len(waves))])
    return waves, rates


def _positions(size: int) -> np.ndarray:
    return np.random.default_rng(size).uniform(0, math.sqrt(size * AREA), (size, 2))


def view(size: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """Thinning positions to a spacing against finding each one's nearest neighbour."""
    coords = _positions(size)
    return lambda: select_spaced(coords, SPACING, SIZE), lambda: cKDTree(coords).query(coords, 2)


def overlap(size: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """The metrics document of positions against finding each one's seven nearest."""
    coords = _positions(size)
    return lambda: compute_overlap_metrics(coords, 2, 1.0, 512, 6, 30.0), lambda: cKDTree(coords).query(coords, 7)


def batches(size: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """LSQML's compact batches against one sort of the positions along each axis for each halving."""
    from fly64_assets.lsqml.batches import compact_batches

    coords = _positions(size)
    halvings = max(1, math.ceil(math.log2(size / BATCH)))

    def sorts() -> None:
        for number in range(halvings):
            np.argsort(coords[:, number % 2], kind="stable")

    return lambda: compact_batches(coords, BATCH), sorts


def batches_and_library(size: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """LSQML's compact batches against the library's."""
    from ptychi.io_handles import PtychographyCompactBatchSampler

    from fly64_assets.lsqml.batches import compact_batches

    coords = _positions(size)
    return lambda: compact_batches(coords, BATCH), lambda: PtychographyCompactBatchSampler(coords, BATCH)


def hashing(folder: Path) -> Callable[[int], tuple[Callable[[], object], Callable[[], object]]]:
    """SHA256 of a file of so many KiB that was touched just now, so that none is remembered, against its floor."""

    def pair(size: int) -> tuple[Callable[[], object], Callable[[], object]]:
        path = folder / "file.bin"
        path.write_bytes(np.random.default_rng(0).bytes(size * 1024))

        def floor() -> None:
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(2**20):
                    digest.update(block)

        def ours() -> None:
            path.touch()
            sha256_file(path)

        return ours, floor

    return pair


def measure(largest: int, *, quick: bool, folder: Path) -> list[dict[str, Any]]:
    """All series."""
    decades = [10**power for power in range(3, 7) if 10**power <= largest]
    positions = [10**power for power in range(3, 7)]
    library = [1000, 2000] if quick else [1000, 2000, 4000, 8000]
    rounds = 3
    declare_torchvision_operators()
    import ptychi.api  # noqa: F401  (before its other modules)

    plan = (
        ("simulation: against FFT and Poisson", decades, "FFT and Poisson draws", simulation),
        ("simulation: against a loop", decades[:2], "a loop over frames", simulation_by_loop),
        ("simulation: against pty-chi", [1000, 4000], "pty-chi's forward model, torch's draws", simulation_by_library),
        ("view of 70 % overlap", positions, "nearest neighbours", view),
        ("overlap metrics", positions, "seven nearest neighbours", overlap),
        ("SHA256 of files", [1000, 10_000, 100_000], "read and hash", hashing(folder)),
        ("LSQML batches", positions, "one sort for each halving", batches),
        ("LSQML batches: against pty-chi", library, "k-means of pty-chi", batches_and_library),
    )
    return [one for name, sizes, peer, pair in plan for one in series(name, sizes, peer, pair, rounds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="at most 10,000 frames, 2,000 positions for the library")
    parser.add_argument("--largest", type=int, default=100_000, help="most frames to simulate (1000000 takes 10 min)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fly64_growth_") as folder:
        largest = 10_000 if options.quick else options.largest
        results = measure(largest, quick=options.quick, folder=Path(folder))
    show(results, as_json=options.json)


if __name__ == "__main__":
    main()
