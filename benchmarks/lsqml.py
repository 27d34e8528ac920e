"""LSQML: an epoch against the stock library, and where the discrepancy rule stops against the best epoch.

The object (coins, grass) is not one of the studies'. Only this benchmark looks at the truth; the job does not.
Usage: OMP_NUM_THREADS=1 python benchmarks/lsqml.py [--quick] [--json]
"""

import argparse
import json
import platform
import statistics
from dataclasses import replace

import numpy as np

from fly64_assets.bases import make_base
from fly64_assets.design_fields import BaseRecipe, LsqmlSettings
from fly64_assets.evaluation.frame import evaluation_region, scan_box
from fly64_assets.execution import Execution
from fly64_assets.lsqml import engine
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.overlap import select_spaced
from fly64_assets.simulation import simulate

BASE = make_base(BaseRecipe("coins", "grass", 448, 2000), 64)
SPACING = {"baseline": 0.0, "dense": 19.2, "sparse": 51.2}


def measurement(dose: int, view: str) -> Measurement:
    scan = simulate(BASE, dose=dose, scan="uniform", axis="y", seed=7)
    index = scan.halves["train"]
    amplitude = np.concatenate(list(scan.amplitude_blocks("train")))
    kept = np.arange(len(index))
    if SPACING[view]:
        kept = select_spaced(np.c_[scan.x[index], scan.y[index]], SPACING[view], 64).kept
    x, y = scan.x[index][kept], scan.y[index][kept]
    return Measurement(amplitude[kept], scan.scale, BASE.probe, x, y, BASE.object.shape, index[kept])


def phase_rmse(obj: np.ndarray, mask: np.ndarray) -> float:
    """After removing the global phase; positions and grid are the truth's own."""
    product = obj[mask] * BASE.object[mask].conj()
    return float(np.sqrt((np.angle(product * np.conj(product.sum())) ** 2).mean()))


def stopping(dose: int, view: str, epochs: int) -> dict:
    m = measurement(dose, view)
    mask = evaluation_region(m.probe, m.x, m.y, m.object_shape, threshold=0.1, scan_box=scan_box(m.x, m.y)).mask
    errors: list[float] = []
    state = engine._state

    def watched(*arguments):
        result = state(*arguments)
        errors.append(phase_rmse(result[0], mask))
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
        "flat": phase_rmse(np.ones_like(BASE.object), mask),
        "frames": m.frames,
    }


def epoch_ratio(rounds: int) -> dict:
    m = measurement(100_000, "dense")
    times: dict[bool, list[float]] = {False: [], True: []}
    settings = LsqmlSettings(epochs=6, gaussian_epochs=6, noise_model="gaussian", stopping="epochs")
    for _ in range(rounds):
        for fast, seconds in times.items():
            result = engine.reconstruct(m, replace(settings, fast_shift=fast), Execution(), 1, lambda *_: None)
            seconds.append(result.seconds / 6)
    ratios = [stock / fast for stock, fast in zip(times[False], times[True], strict=True)]
    return {
        "name": "lsqml_epoch_vs_stock",
        "value": statistics.median(times[True]) / m.frames * 1e6,
        "unit": "microseconds per position and epoch",
        "floor_or_peer": statistics.median(times[False]) / m.frames * 1e6,
        "ratio": statistics.median(ratios),
        "spread": [min(ratios), max(ratios)],
        "n": rounds,
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under 40 seconds")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    doses, views = ((10_000,), ("sparse",)) if options.quick else ((1000, 10_000, 100_000), tuple(SPACING))
    results = [epoch_ratio(2 if options.quick else 5)]
    results += [stopping(dose, view, 20 if options.quick else 100) for view in views for dose in doses]
    if options.json:
        print(json.dumps(results, indent=2))
        return
    first, *rest = results
    print(f"epoch: {first['value']:.0f} us per position, stock {first['floor_or_peer']:.0f}: {first['ratio']:.2f} x")
    print("| cell | frames | flat [rad] | stops at | there [rad] | best epoch | there [rad] | last epoch [rad] |")
    print("|---|---|---|---|---|---|---|---|")
    for one in rest:
        print(
            f"| {one['name'].removeprefix('stopping_')} | {one['frames']} | {one['flat']:.3f} | {one['stop_epoch']} "
            f"| {one['value']:.3f} | {one['best_epoch']} | {one['floor_or_peer']:.3f} | {one['last_error']:.3f} |"
        )


if __name__ == "__main__":
    main()
