"""Peak resident memory and time of each stage that reads or writes frames, by the number of frames.

Frames of 64 x 64 at 1e3 photons on an object that grows with the scan up to 2,784 px. Each stage runs in a process of
its own on files that the stage before has written; the peak is the kernel's VmHWM of that process, which counts pages
of files that are mapped, too. ``imports`` is a process that only loads the package: no stage takes less.

| stage | what it does |
|---|---|
| base | make the object and positions, write and read ``base.npz`` |
| simulate | simulate both halves, write them, check both and the pair |
| views | the views baseline, dense (70 %) and sparse (20 %) of both halves: selection, overlap, files, their checks |
| check | the contract on the files of both halves and on the pair |
| hash | SHA256 of both files |
| counts | the frames as a file of other software has them, uint16 counts (not limited) |
| import | canonicalise that file, judge it, write it |
| thin | all of the imported frames at a lower dose, both halves |
| likelihood | read all frames for the likelihood of two objects, as the comparison does |

``--positions N`` measures views and overlap of N positions alone, without frames; ``--lsqml N M`` the memory of LSQML
for N and for M frames, and from that the bytes for each frame; ``--keep`` leaves the folder of files for a look.

Usage: OMP_NUM_THREADS=1 python benchmarks/memory.py [--frames 1000 10000 100000] [--quick] [--json] [--folder DIR]
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from measure import entry

from fly64_assets.contract.npz import NpzWriter, load_base, load_dataset, open_npz, validate_file, write_npz
from fly64_assets.contract.schema import base_arrays
from fly64_assets.contract.validate import validate_pair
from fly64_assets.evaluation.scores.metrics import nll_excess
from fly64_assets.measured.doses import measured_photons, split_metadata, thin
from fly64_assets.measured.doses import write_split as write_thinned
from fly64_assets.measured.thinning import Thinning
from fly64_assets.physics.overlap import compute_overlap_metrics, select_spaced
from fly64_assets.physics.scan import SPLITS, uniform_scan
from fly64_assets.ptychopinn.data_sets import import_data_set
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.frames import simulate, write_split
from fly64_assets.simulation.frames import split_metadata as simulated_metadata
from fly64_assets.simulation.recipe import BaseRecipe, ViewRule
from fly64_assets.simulation.views import split_view, view_metadata, write_view
from fly64_assets.store.hashing import sha256_file

SIZE, DOSE, LOWER = 64, 1000, 300
LARGEST_OBJECT = 2784
LIMIT_MIB = 1024
FRAME_KIB = SIZE * SIZE * 4 / 1024
VIEWS = {"baseline": None, "dense": 0.3 * SIZE, "sparse": 0.8 * SIZE}
STAGES = ("imports", "base", "simulate", "views", "check", "hash", "counts", "import", "thin", "likelihood")
SHA = "0" * 64


def imports(_folder: Path, _frames: int) -> None:
    """Nothing but what loading this module takes."""


def base(folder: Path, frames: int) -> None:
    """Make the base and write it."""
    size = min(SIZE + round(math.sqrt(frames * 74)), LARGEST_OBJECT)
    made = make_base(BaseRecipe("coins", "grass", size, frames), SIZE)
    with (folder / "base.npz").open("wb") as file:
        write_npz(file, base_arrays(made))
    load_base(folder / "base.npz")


def halves(folder: Path) -> list[Path]:
    """Files of both halves."""
    return [folder / f"patched_{split}.npz" for split in SPLITS]


def judge_pair(paths: list[Path]) -> None:
    """The contract's rules on two halves."""
    validate_pair(*(open_npz(path, hashed=True) for path in paths)).raise_if_failed("the halves")


def simulate_halves(folder: Path, _frames: int) -> None:
    """Simulate, write and judge both halves."""
    scan = simulate(load_base(folder / "base.npz"), dose=DOSE, scan="uniform", axis="y", seed=42)
    for split, path in zip(SPLITS, halves(folder), strict=True):
        metadata = simulated_metadata(
            scan, split, patches=False, base_name="benchmark", base_sha256=SHA, parameters_sha256=SHA
        )
        with path.open("wb") as file:
            write_split(scan, split, file, patches=False, metadata=metadata)
    judge_pair(halves(folder))


def views(folder: Path, _frames: int) -> None:
    """Select, measure, write and judge the views of both halves."""
    for split, path in zip(SPLITS, halves(folder), strict=True):
        data = load_dataset(path, hashed=True)
        for name, spacing in VIEWS.items():
            rule = ViewRule(name, spacing, 16, "a view", 2 if spacing else 1, 7, 456)
            view = split_view(data, rule, DOSE, split)
            if spacing and not view.skipped:
                metadata = view_metadata(data, view, rule, parameters_sha256=SHA)
                with (folder / f"{name}_{split}.npz").open("wb") as file:
                    write_view(data, view.kept, file, metadata=metadata)


def check(folder: Path, _frames: int) -> None:
    """Judge the files of both halves."""
    for path in halves(folder):
        validate_file(path).raise_if_failed(path.name)
    judge_pair(halves(folder))


def hashes(folder: Path, _frames: int) -> None:
    """Hash both files."""
    for path in halves(folder):
        sha256_file(path)


def counts(folder: Path, _frames: int) -> None:
    """Write the train half as another program has it: counts in 16 bits, without metadata."""
    data = load_dataset(halves(folder)[0], hashed=True)
    measured = data.measurement()
    blocks = (block.astype(np.uint16) for _, block in measured.count_blocks())
    with (folder / "counts.npz").open("wb") as file, NpzWriter(file) as writer:
        writer.add_blocks("diffraction", data.diffraction.shape, np.uint16, blocks)
        for name, array in (("probeGuess", data.probe), ("xcoords", data.x), ("ycoords", data.y)):
            writer.add(name, array)


def import_counts(folder: Path, _frames: int) -> None:
    """Import that file."""
    import_data_set(folder / "counts.npz", folder / "imported.npz", {})


def thin_halves(folder: Path, _frames: int) -> None:
    """Take photons away, and write both halves."""
    measured = load_dataset(folder / "imported.npz", hashed=True)
    photons = float(np.mean([block.sum(axis=(1, 2)).mean() for _, block in measured.measurement().count_blocks()]))
    physics = {**measured.metadata["physics_parameters"], "nphotons": photons}
    measured = replace(measured, metadata={**measured.metadata, "physics_parameters": physics})
    thinning = Thinning(LOWER, measured_photons(measured), "nested", (LOWER,), 42, 1)
    scan = thin(measured, thinning, "x")
    for split in SPLITS:
        metadata = split_metadata(scan, split, base_name="benchmark", measured_sha256=SHA, parameters_sha256=SHA)
        with (folder / f"thinned_{split}.npz").open("wb") as file:
            write_thinned(scan, split, file, metadata=metadata)


def likelihood(folder: Path, _frames: int) -> None:
    """Likelihood of the truth and of another object."""
    data = load_dataset(halves(folder)[1], hashed=True)
    nll_excess({"other": np.ones_like(data.object)}, data.object, data.measurement())


def positions(_folder: Path, number: int) -> None:
    """Views and overlap of positions alone."""
    size = SIZE + round(math.sqrt(number * 74))
    scan = uniform_scan(42, number, (size, size), SIZE)
    coords = np.c_[scan.x, scan.y]
    for spacing in VIEWS.values():
        kept = coords if spacing is None else coords[select_spaced(coords, spacing, SIZE).kept]
        compute_overlap_metrics(kept, 2, 1.0, 512, 6, 28.0, 456)


def lsqml(folder: Path, _frames: int) -> None:
    """Two epochs of LSQML on the test half."""
    from fly64_assets.contract.npz import load_measurement
    from fly64_assets.engines.execution import Execution
    from fly64_assets.lsqml.engine import reconstruct
    from fly64_assets.lsqml.settings import LsqmlSettings

    measurement = load_measurement(halves(folder)[1])
    reconstruct(measurement, replace(LsqmlSettings(), epochs=2), Execution(), 1, lambda *_: None)


RUN = {
    "imports": imports,
    "base": base,
    "simulate": simulate_halves,
    "views": views,
    "check": check,
    "hash": hashes,
    "counts": counts,
    "import": import_counts,
    "thin": thin_halves,
    "likelihood": likelihood,
    "positions": positions,
    "lsqml": lsqml,
}


def run_here(stage: str, folder: Path, frames: int) -> None:
    """Run one stage and print its peak and time."""
    wall, processor = time.perf_counter(), time.process_time()
    RUN[stage](folder, frames)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"peak_mib": peak / 1024, "seconds": wall, "processor_seconds": processor}))


def run_apart(stage: str, folder: Path, frames: int, as_json: bool) -> dict:
    """Run one stage in a process of its own."""
    command = [sys.executable, __file__, "--child", stage, "--folder", str(folder), "--frames", str(frames)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
    measured = entry(
        f"peak memory: {stage}", found["peak_mib"], LIMIT_MIB,
        unit="MiB", peer="the limit of 1 GiB", n=1, frames=frames,
        seconds=found["seconds"], processor_seconds=found["processor_seconds"],
    )  # fmt: skip
    if not as_json:
        print(
            f"{stage:11} {frames:9} frames: {found['peak_mib']:7.0f} MiB, {found['seconds']:8.1f} s "
            f"({found['processor_seconds']:.1f} s of processor)",
            flush=True,
        )
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--positions", type=int, nargs="*", default=[])
    parser.add_argument("--lsqml", type=int, nargs=2, default=[], metavar=("N", "M"))
    parser.add_argument("--quick", action="store_true", help="500 and 5,000 frames, under 40 seconds")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--folder", type=Path, help="where files lie for a while: 17 KB for each frame and stage")
    parser.add_argument("--child", choices=RUN, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_here(options.child, options.folder, options.frames[0])
        return
    results = []
    for frames in [500, 5000] if options.quick else options.frames:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            results += [run_apart(stage, Path(folder), frames, options.json) for stage in options.stages]
    for number in options.positions:
        results.append(run_apart("positions", Path(tempfile.gettempdir()), number, options.json))
    peaks = []
    for frames in options.lsqml:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            for stage in ("base", "simulate"):
                run_apart(stage, Path(folder), 2 * frames, as_json=True)
            results.append(run_apart("lsqml", Path(folder), frames, options.json))
            peaks.append(results[-1]["value"])
    if peaks:
        per_frame = (peaks[1] - peaks[0]) / (options.lsqml[1] - options.lsqml[0]) * 1024
        results.append(
            entry("memory of LSQML for a frame", per_frame, FRAME_KIB, unit="KiB", peer="its float32 counts", n=1)
        )
        if not options.json:
            print(f"LSQML: {per_frame:.0f} KiB for each frame of {FRAME_KIB:.0f} KiB")
    if options.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
