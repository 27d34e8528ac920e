"""What safety costs: the share of a simulation's wall time that goes into hashing and flushing.

The stage ``simulated`` is built as its asset builds it: inputs verified, files written atomically, hashed, checked
against DATA-001, recorded. The time inside SHA256 and fsync is measured where it is spent. The floor is the same
simulation written to a plain file, without any of it; both are built in turn, in one process.

Usage: python benchmarks/safety.py [--quick] [--json] [--folder DIR]
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from fly64_assets.contract.npz import load_base, open_npz, write_npz
from fly64_assets.contract.schema import base_arrays
from fly64_assets.contract.validate import validate_pair
from fly64_assets.physics.scan import SPLITS
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.frames import simulate, write_split
from fly64_assets.simulation.recipe import BaseRecipe
from fly64_assets.store import atomic, hashing, sidecars
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.keys import BASE, Dose, StageKey
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign

DOSE = 10_000
KEY = StageKey("simulated", Dose(DOSE))


class Stopwatch:
    """Time spent inside wrapped functions."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def around(self, name: str, function):
        """The function, timed under ``name``."""

        def timed(*arguments, **options):
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

        return timed

    @contextlib.contextmanager
    def running(self):
        """Watch hashing and flushing of the store while the block runs."""
        self.seconds = {}
        kept = hashing.sha256_file, os.fsync
        hashed = self.around("hashing", kept[0])
        os.fsync = self.around("fsync", kept[1])
        atomic.sha256_file = sidecars.sha256_file = hashed
        try:
            yield
        finally:
            os.fsync = kept[1]
            atomic.sha256_file = sidecars.sha256_file = kept[0]


def measure(folder: Path, frames: int, rounds: int, *, patches: bool) -> list[dict]:
    design = StudyDesign(base=BaseRecipe("coins", "grass", 400, frames), patches=patches)
    store = ArtifactStore(folder, "safety")
    layout = store.layout("base_00000000")
    options = {"design": design, "code_version": "1", "seeds": {}}
    with store.build(layout, BASE, inputs=(), parameters={}, **options) as build:
        arrays = base_arrays(make_base(design.base, 64))
        build.write(layout.base, lambda file: write_npz(file, arrays))
        build.succeed({})
    metadata = {"physics_parameters": {"N": 64, "nphotons": float(DOSE)}}
    watch = Stopwatch()

    def scan():
        return simulate(load_base(layout.base), dose=DOSE, scan="uniform", axis="y", seed=42)

    def plain() -> None:
        one = scan()
        for split in SPLITS:
            with (folder / f"plain_{split}.npz").open("wb") as file:
                write_split(one, split, file, patches=patches, metadata=metadata)

    def safe() -> None:
        parameters = stages.parameters(design, KEY)
        with store.build(layout, KEY, inputs=[layout.base], parameters=parameters, **options) as build:
            one = scan()
            paths = [layout.patched(Dose(DOSE), split) for split in SPLITS]
            for split, path in zip(SPLITS, paths, strict=True):
                build.write(
                    path, lambda file, split=split: write_split(one, split, file, patches=patches, metadata=metadata)
                )
            validate_pair(*(open_npz(path) for path in paths))
            build.succeed({})

    plain()
    times: dict[str, list[float]] = {name: [] for name in ("plain", "safe", "hashing", "fsync")}
    for _ in range(rounds):
        start = time.perf_counter()
        plain()
        times["plain"].append(time.perf_counter() - start)
        with watch.running():
            start = time.perf_counter()
            safe()
            times["safe"].append(time.perf_counter() - start)
        for name in ("hashing", "fsync"):
            times[name].append(watch.seconds.get(name, 0.0))
    size = sum(layout.patched(Dose(DOSE), split).stat().st_size for split in SPLITS)
    return [entry | {"patches": patches} for entry in results(times, rounds, frames, size)]


def results(times: dict[str, list[float]], rounds: int, frames: int, size: int) -> list[dict]:
    """Shares of the safe build, and the safe build against the plain one."""
    both = [sum(pair) for pair in zip(times["hashing"], times["fsync"], strict=True)]
    found = []
    for name, part, whole in (
        ("hashing", times["hashing"], times["safe"]),
        ("fsync", times["fsync"], times["safe"]),
        ("hashing_and_fsync", both, times["safe"]),
        ("whole_build", times["safe"], times["plain"]),
    ):
        ratios = [one / other for one, other in zip(part, whole, strict=True)]
        found.append(
            {
                "name": name,
                "value": statistics.median(part),
                "unit": "s",
                "floor_or_peer": statistics.median(whole),
                "ratio": statistics.median(ratios),
                "spread": [min(ratios), max(ratios)],
                "n": rounds,
                "frames": frames,
                "bytes": size,
                "machine": f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}",
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under 40 seconds")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--folder", type=Path, help="where to write; default: the system's temporary folder")
    options = parser.parse_args()
    frames, rounds = (1000, 3) if options.quick else (8000, 5)
    found = []
    for patches in (True, False):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            found += measure(Path(folder), frames, rounds, patches=patches)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for entry in found:
        of = "plain simulation" if entry["name"] == "whole_build" else "build"
        print(
            f"{entry['name']:18} {entry['value']:7.3f} s = {entry['ratio']:.3f} of the {of} "
            f"({entry['spread'][0]:.3f} ... {entry['spread'][1]:.3f}, n = {entry['n']}, {entry['frames']} frames, "
            f"{entry['bytes'] / 1e6:.0f} MB, {'with' if entry['patches'] else 'without'} patches)"
        )


if __name__ == "__main__":
    main()
