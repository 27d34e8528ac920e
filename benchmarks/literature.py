"""The doses and probes of arXiv 2602.21361 with the methods of this project: how many rings of an amplitude are found.

An object without a phase is seen by a curved and by a flat probe, at 1e2 to 1e9 photons in a frame of 64 x 64, the
positions fixed. The pictures are some on which no setting was chosen, each with its own positions and noise. The frames
are used together by every method of a study without training. With ``--alone`` the network trained once also gets
each frame by itself, and the patches are averaged, weighted by their illumination: the overlap is not used then.

Rows go to the CSV as they are computed; what is there already is left alone, so that a run goes on where it ended.

    OMP_NUM_THREADS=1 python benchmarks/literature.py [--doses 1e2 ...] [--objects retina ...] [--alone]
    python benchmarks/literature.py --figure docs/images/literature.png
"""

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from literature_tables import ABSOLUTE, LAST_RING, POISSON, of, share
from matplotlib.figure import Figure
from numpy.typing import NDArray

import fly64_assets as fly64
from fly64_assets.api.judging import _no_limit
from fly64_assets.evaluation.scores.compare import SplitInput, compare_split
from fly64_assets.evaluation.scores.region import scan_box
from fly64_assets.evaluation.settings import EvaluationSettings, MetricsConfig
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.probe_overlap import probe_overlap
from fly64_assets.physics.scan import raster_scan
from fly64_assets.pinn.pretrained.files import network_of
from fly64_assets.pinn.pretrained.inference import reconstruct
from fly64_assets.pinn.pretrained.pretrained_spec import read_pretrained
from fly64_assets.pinn.pretrained.settings import GENERAL
from fly64_assets.simulation.bases import picture, soft_disc_probe

N, FRAMES, STEP = 64, 144, 8
SIDE = N + 2 + STEP * 12
OBJECTS = ("retina", "rocket", "astronaut")
PROBES = {"curved": 4.0, "flat": 0.0}
"""Phase of the defocus at the rim of the disc [rad]."""
DOSES = tuple(10**power for power in range(2, 10))
TOGETHER = ("lsqml", "tv_ml", "pretrained")
ALONE = "pretrained"
ALONE_DOSES = (10**4, 10**5, 10**6)
"""Doses of the network's training at which frames are reconstructed by themselves too."""
OUT = Path(__file__).parents[1] / "docs" / "explanation" / "results" / "literature.csv"
COLUMNS = (
    "object", "probe", "dose", "method", "frames", "linear_overlap", "side_px", "frc50_px", "frc50_rings",
    "amplitude_ssim", "amplitude_rmse", "processor_seconds",
)  # fmt: skip


def truth_of(name: str) -> NDArray[np.complex64]:
    """A picture as amplitude from 0.5 to 1; the phase is zero everywhere."""
    return (0.5 + 0.5 * picture(name, SIDE)).astype(np.complex64)


def measured(name: str, probe: str, dose: int) -> Measurement:
    """Frames on a jittered raster; the object's number is the seed of positions and noise."""
    seed = 1 + OBJECTS.index(name)
    scan = raster_scan(seed, FRAMES, (SIDE, SIDE), N)
    wave = soft_disc_probe(N, 0.25, 0.04, PROBES[probe])
    return fly64.simulate(truth_of(name), wave, scan.x, scan.y, dose=dose, seed=seed)


def each_alone(frames: Measurement) -> NDArray[np.complex64]:
    """Every frame reconstructed by itself; patches are averaged by their illumination, each with mean phase zero."""
    network = network_of(read_pretrained(GENERAL), GENERAL)
    total, weight = np.zeros(frames.object_shape, complex), np.zeros(frames.object_shape)
    for k in range(frames.frames):
        part = slice(k, k + 1)
        one = Measurement(
            frames.amplitude[part], frames.intensity_scale, frames.probe, frames.x[part], frames.y[part],
            frames.object_shape, frames.scan_index[part],
        )  # fmt: skip
        found = reconstruct(network, one, "cpu")
        mean = (found.coverage * found.object).sum()
        total += found.coverage * found.object * np.conj(mean) / abs(mean)
        weight += found.coverage
    return np.where(weight > 0, total / np.maximum(weight, 1e-12), 1).astype(np.complex64)


def scores(frames: Measurement, obj: NDArray[np.complex64], truth: NDArray[np.complex64]) -> dict[str, float | int]:
    """As in a study: registered, scaled, on the largest rectangle that is illuminated well."""
    data = SplitInput(frames, {"found": obj}, scan_box(frames.scan))
    compared = compare_split(
        "all", truth, data, evaluation=EvaluationSettings(), metrics=MetricsConfig(), limit=_no_limit
    )
    box = compared.region.rectangle
    side = min(box.height, box.width)
    period = compared.value("found", "amplitude", "frc_05")
    return {
        "side_px": side,
        "frc50_px": round(period, 3) if period else "",
        "frc50_rings": round(side / period, 2) if period else 0,
        "amplitude_ssim": round(compared.value("found", "amplitude", "ssim"), 4),
        "amplitude_rmse": round(compared.value("found", "amplitude", "rmse"), 5),
    }


def cells(options: argparse.Namespace) -> Iterator[tuple[str, str, int, str]]:
    """Object, probe, dose and method, the most important first."""
    for name in options.objects:
        for dose in options.doses:
            for probe in PROBES:
                for method in TOGETHER:
                    yield name, probe, dose, method
                if options.alone and dose in ALONE_DOSES:
                    yield name, probe, dose, f"{ALONE}, each frame alone"


def draw(rows: list[dict[str, str]], path: Path) -> None:
    """Share of the rings up to Nyquist over photons per frame, the printed ones beside those of every method."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots(1, len(PROBES), sharey=True)
    for axis, probe in zip(axes, PROBES, strict=True):
        for method, marker in zip(TOGETHER, "osD", strict=True):
            means = {dose: [share(row) for row in of(rows, probe, dose, method)] for dose in DOSES}
            known = {dose: float(np.mean(values)) for dose, values in means.items() if values}
            axis.plot(list(known), list(known.values()), marker + "-", label=method)
        for printed, style, label in ((POISSON, "k^--", "Poisson loss"), (ABSOLUTE, "kv:", "absolute error")):
            values = [rings / LAST_RING for rings in printed.values()]
            axis.plot(list(printed), values, style, mfc="none", label=f"printed, {label}")
        axis.set(xscale="log", xlabel="photons per frame", title=f"{probe} probe", ylim=(0, 1.05))
    axes[0].set_ylabel("rings at FRC 0.5 / rings up to Nyquist")
    axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", nargs="+", default=OBJECTS, choices=OBJECTS)
    parser.add_argument("--doses", nargs="+", type=lambda text: int(float(text)), default=DOSES)
    parser.add_argument("--alone", action="store_true", help=f"also {ALONE} with each frame alone")
    parser.add_argument("--figure", type=Path, help="draw what is in the CSV, and compute nothing")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    if options.figure:
        with options.out.open(encoding="utf-8", newline="") as file:
            draw(list(csv.DictReader(file)), options.figure)
        return
    done = set()
    if options.out.exists():
        with options.out.open(encoding="utf-8", newline="") as file:
            done = {(row["object"], row["probe"], int(row["dose"]), row["method"]) for row in csv.DictReader(file)}
    else:
        options.out.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    for name, probe, dose, method in cells(options):
        if (name, probe, dose, method) in done:
            continue
        frames, truth = measured(name, probe, dose), truth_of(name)
        began = time.process_time()
        together = method in TOGETHER
        found = fly64.reconstruct(frames, method, threads=1).object if together else each_alone(frames)
        seconds = time.process_time() - began
        overlap = probe_overlap(np.c_[frames.x, frames.y], frames.probe).of("half_energy").linear.nearest
        row = {"object": name, "probe": probe, "dose": dose, "method": method, "frames": frames.frames}
        row |= {
            "linear_overlap": round(overlap, 3),
            **scores(frames, found, truth),
            "processor_seconds": round(seconds, 2),
        }
        with options.out.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
        print(row, flush=True)


if __name__ == "__main__":
    main()
