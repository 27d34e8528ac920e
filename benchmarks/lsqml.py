"""LSQML: a job and an epoch against the stock library, growth with the scan, equal quality, and where the rules stop.

The object (coins, grass) is not one of the studies'. Only this benchmark looks at the truth; the job does not.
Usage: OMP_NUM_THREADS=1 python benchmarks/lsqml.py [--quick] [--json] [--rounds N] [--largest N] [--no-stopping]
"""

import argparse
import json
import math
import platform
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from unittest import mock

import numpy as np
import scans
import torch

from fly64_assets.engines.execution import Execution, torch_settings
from fly64_assets.engines.torch_compat import declare_torchvision_operators
from fly64_assets.lsqml import engine
from fly64_assets.lsqml.count_split import HeldOutCounts
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.physics.measurement import Measurement
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.recipe import BaseRecipe

declare_torchvision_operators()

MACHINE = f"{platform.machine()}, Python {platform.python_version()}"
BASE = make_base(BaseRecipe("coins", "grass", 448, 2000), 64)


def stopping(dose: int, view: str, epochs: int) -> dict:
    m = scans.train_half(BASE, dose, view)
    mask = scans.evaluated(m)
    errors: list[float] = []
    state = engine._state

    def watched(*arguments):
        result = state(*arguments)
        errors.append(scans.phase_rmse(result[0], BASE.object, mask))
        return result

    settings = LsqmlSettings(epochs=epochs)
    engine._state = watched
    try:
        whole = engine.reconstruct(m, replace(settings, stopping="epochs"), Execution(), 1, lambda *_: None)
    finally:
        engine._state = state
    below = np.flatnonzero(whole.deviance <= whole.expected)
    stop = int(below[0]) + 1 if len(below) else epochs
    best = int(np.argmin(errors)) + 1
    return {
        "name": f"stopping_{dose}_{view}",
        "value": errors[stop - 1],
        "unit": "rad",
        "floor_or_peer": errors[best - 1],
        "ratio": errors[stop - 1] / errors[best - 1],
        "n": 1,
        "stop_epoch": stop,
        "best_epoch": best,
        "last_error": errors[-1],
        "uniform": scans.phase_rmse(np.ones_like(BASE.object), BASE.object, mask),
        "frames": m.frames,
    }


def library(fast: bool) -> AbstractContextManager:
    """Tasks of the block have the library's own minibatches, or the faster ones."""
    return nullcontext() if fast else mock.patch("fly64_assets.lsqml.minibatch.use_fast_minibatches")


def epochs_in_turn(m: Measurement, settings: LsqmlSettings, rounds: int, threads: int = 1) -> dict[bool, np.ndarray]:
    """Seconds (rounds, 2) of wall clock and of the process for an epoch of the library and of ours, alternating."""
    tasks, times = {}, {False: [], True: []}
    start, split, execution = np.ones(m.object_shape, np.complex64), HeldOutCounts(m, 0, 1), Execution(threads=threads)
    with torch_settings(execution):
        for fast in times:
            with library(fast):
                model = engine.noise_models(settings)[1]
                tasks[fast] = engine._task(m, split, settings, execution, 1, start, model, m.probe)
            tasks[fast].run(1)
        for _ in range(rounds):
            for fast, seconds in times.items():
                seconds.append(timed(lambda task=tasks[fast]: task.run(1)))
    return {fast: np.array(seconds) for fast, seconds in times.items()}


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of wall clock and of the process."""
    before = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - before[0], time.process_time() - before[1]


def job_entry(view: str, rounds: int, epochs: int = 15) -> dict:
    """A whole reconstruction with the study's settings, of the library and of ours in turn."""
    m, settings = scans.train_half(BASE, 100_000, view), LsqmlSettings(epochs=epochs)
    times: dict[bool, list] = {False: [], True: []}
    for _ in range(rounds):
        for fast, seconds in times.items():
            with library(fast):
                seconds.append(timed(lambda: engine.reconstruct(m, settings, Execution(), 1, lambda *_: None)))
    ours, stock = (np.array(times[fast]) for fast in (True, False))
    wall, process = (stock / ours).T
    return {
        "name": f"lsqml_job_vs_stock_{view}",
        "value": float(np.median(ours[:, 1])),
        "unit": "seconds of processor time",
        "floor_or_peer": float(np.median(stock[:, 1])),
        "ratio": float(np.median(process)),
        "spread": [float(process.min()), float(process.max())],
        "ratio_of_wall_clock": float(np.median(wall)),
        "frames": m.frames,
        "epochs": epochs,
        "n": rounds,
        "machine": MACHINE,
    }


def two_transforms(size: int = 64, frames: int = 16) -> float:
    """Seconds per position of one transform to the detector and one back, the least an epoch can cost."""
    field = torch.randn(frames, size, size, dtype=torch.complex64)
    times = []
    for _ in range(100):
        before = time.perf_counter()
        torch.fft.ifft2(torch.fft.fft2(field))
        times.append((time.perf_counter() - before) / frames)
    return min(times)


def epoch_entry(name: str, m: Measurement, settings: LsqmlSettings, rounds: int, threads: int = 1) -> dict:
    times = epochs_in_turn(m, settings, rounds, threads)
    wall, process = (times[False] / times[True]).T
    value, stock = (float(np.median(times[fast][:, 0])) / m.frames for fast in (True, False))
    with torch_settings(Execution(threads=threads)):
        floor = two_transforms()
    return {
        "name": name,
        "value": value * 1e6,
        "unit": "microseconds per position and epoch",
        "floor_or_peer": stock * 1e6,
        "ratio": float(np.median(wall)),
        "spread": [float(wall.min()), float(wall.max())],
        "ratio_of_processor_time": float(np.median(process)),
        "processor_time": [float(np.median(times[fast][:, 1])) / m.frames * 1e6 for fast in (True, False)],
        "two_fft_floor": floor * 1e6,
        "ratio_to_floor": value / floor,
        "frames": m.frames,
        "threads": threads,
        "n": rounds,
        "machine": MACHINE,
    }


def speed(rounds: int, quick: bool) -> list[dict]:
    """A job, and an epoch: known probe, refined probe, two threads; all with the study's windows and noise model."""
    m, settings = scans.train_half(BASE, 100_000, "baseline"), LsqmlSettings(stopping="epochs")
    results = [job_entry("dense", rounds), epoch_entry("lsqml_epoch_vs_stock", m, settings, rounds)]
    if not quick:
        results += [
            job_entry("baseline", rounds),
            epoch_entry("lsqml_epoch_vs_stock_refined_probe", m, replace(settings, probe="refined"), rounds),
            epoch_entry("lsqml_epoch_vs_stock_two_threads", m, settings, rounds, threads=2),
        ]
    return results


def scan_of(frames: int) -> Measurement:
    """Positions as dense as the baseline's over an object as large as they need; frames of noise, the cost is alike."""
    rng = np.random.default_rng(frames)
    side = 64 + 2 * round(math.sqrt(frames) * 6)
    x, y = rng.uniform(32, side - 32, (2, frames))
    amplitude = np.sqrt(rng.poisson(25, (frames, 64, 64)).astype(np.float32))
    return Measurement(amplitude, 1.0, BASE.probe, x, y, (side, side), np.arange(frames))


def scaling(largest: int, rounds: int) -> list[dict]:
    settings = LsqmlSettings(stopping="epochs")
    sizes = [n for n in (400, 4000, 10_000, 40_000) if n <= largest]
    return [epoch_entry(f"lsqml_scaling_{n}", scan_of(n), settings, rounds) for n in sizes]


def same_quality(epochs: int = 100) -> dict:
    """The object after the same epochs of the library and of ours."""
    m = scans.train_half(BASE, 10_000, "dense")
    mask = scans.evaluated(m)
    settings = LsqmlSettings(epochs=epochs, stopping="epochs")
    found = {}
    for fast in (False, True):
        with library(fast):
            found[fast] = engine.reconstruct(m, settings, Execution(), 1, lambda *_: None).object
    ours, stock = (scans.phase_rmse(found[fast], BASE.object, mask) for fast in (True, False))
    return {
        "name": "lsqml_quality_vs_stock",
        "value": ours,
        "unit": "rad",
        "floor_or_peer": stock,
        "ratio": ours / stock,
        "n": 1,
        "object_difference": float(np.abs(found[True] - found[False])[mask].max()),
        "epochs": epochs,
        "frames": m.frames,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under 40 seconds")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of epochs, alternating (default 5)")
    parser.add_argument("--largest", type=int, default=40_000, help="positions of the largest scan (default 40000)")
    parser.add_argument("--no-stopping", dest="stopping", action="store_false", help="leave out the stopping table")
    options = parser.parse_args()
    doses, views = ((10_000,), ("sparse",)) if options.quick else ((1000, 10_000, 100_000), tuple(scans.SPACING))
    results = speed(2 if options.quick else options.rounds, options.quick)
    if not options.quick:
        results += [*scaling(options.largest, 2), same_quality()]
    measured = len(results)
    if options.stopping:
        results += [stopping(dose, view, 20 if options.quick else 100) for view in views for dose in doses]
    if options.json:
        print(json.dumps(results, indent=2))
        return
    print("| what | frames | ours [us] | library [us] | times faster | of processor time | times the two-FFT floor |")
    print("|---|---|---|---|---|---|---|")
    for one in results[:measured]:
        if "two_fft_floor" not in one:
            print(f"| {one['name']}: {one['value']:.4f} {one['unit']}, library {one['floor_or_peer']:.4f} |")
            continue
        numbers = (
            one["value"],
            one["floor_or_peer"],
            one["ratio"],
            one["ratio_of_processor_time"],
            one["ratio_to_floor"],
        )
        row = " | ".join(
            f"{number:{style}}" for number, style in zip(numbers, (".0f", ".0f", ".2f", ".2f", ".1f"), strict=True)
        )
        print(f"| {one['name'].removeprefix('lsqml_')} | {one['frames']} | {row} |")
    print("| cell | frames | uniform [rad] | stops at | there [rad] | best epoch | there [rad] | last epoch [rad] |")
    print("|---|---|---|---|---|---|---|---|")
    for one in results[measured:]:
        print(
            f"| {one['name'].removeprefix('stopping_')} | {one['frames']} | {one['uniform']:.3f} | {one['stop_epoch']} "
            f"| {one['value']:.3f} | {one['best_epoch']} | {one['floor_or_peer']:.3f} | {one['last_error']:.3f} |"
        )


if __name__ == "__main__":
    main()
