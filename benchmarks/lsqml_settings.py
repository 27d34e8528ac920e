"""Settings and engines of the iterative arm, over doses and views, on objects and a probe that no study uses.

One change at a time from the chosen settings: how the object is read between pixels, batches, acceleration, noise
model, rescaling of object against probe, a probe to be refined, the rule that ends a run; then the other engines. Every
variant of a cell sees the same frames. A run goes to its last epoch and is judged by every rule afterwards, so the
table shows what each rule keeps, the best epoch and the last one. Only this benchmark looks at the truth.

Usage: OMP_NUM_THREADS=1 python benchmarks/lsqml_settings.py [--quick] [--objects coins/grass moon/coffee]
       [--cells VIEW:DOSE,...] [--only NAME ...] [--epochs N] [--csv FILE] [--json]
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from unittest import mock

import numpy as np

from fly64_assets.bases import make_base
from fly64_assets.contract.schema import Base
from fly64_assets.design_fields import BaseRecipe, LsqmlSettings
from fly64_assets.errors import EngineError
from fly64_assets.evaluation.frame import evaluation_region, scan_box
from fly64_assets.execution import Execution
from fly64_assets.lsqml import engine
from fly64_assets.physics import counts, forward
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.overlap import select_spaced
from fly64_assets.simulation import simulate

SPACING = {"baseline": 0.0, "dense": 19.2, "sparse": 51.2}
CELLS = tuple((view, dose) for dose in (1000, 10_000, 100_000) for view in SPACING)
COLUMNS = (
    "object", "view", "dose", "frames", "flat", "variant", "held_out_epoch", "held_out", "discrepancy_epoch",
    "discrepancy", "best_epoch", "best", "epochs", "last", "seconds_per_epoch",
)  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """Settings to try, options of the library to change, and an error of the known probe."""

    settings: dict = field(default_factory=dict)
    rescaled: bool = False
    wrong_probe: bool = False


VARIANTS = {
    "chosen": Variant(),
    "windows fourier": Variant({"windows": "fourier"}),
    "batches of 32": Variant({"batch_size": 32}),
    "batches of 200": Variant({"batch_size": 200}),
    "uniform batches of 64": Variant({"batching": "uniform"}),
    "uniform batches of 16": Variant({"batching": "uniform", "batch_size": 16}),
    "random batches of 16": Variant({"batching": "random", "batch_size": 16}),
    "momentum 0": Variant({"momentum": 0.0}),
    "momentum 0.8": Variant({"momentum": 0.8}),
    "momentum 4": Variant({"momentum": 4.0}),
    "gaussian": Variant({"noise_model": "gaussian"}),
    "poisson after 5": Variant({"noise_model": "poisson"}),
    "poisson after 20": Variant({"noise_model": "poisson", "gaussian_epochs": 20}),
    "poisson from the start": Variant({"noise_model": "poisson", "gaussian_epochs": 0}),
    "rescaled": Variant(rescaled=True),
    "probe 10 % off, fixed": Variant(wrong_probe=True),
    "probe 10 % off, refined": Variant({"probe": "refined"}, wrong_probe=True),
    "fourier, poisson after 5, momentum 0.8": Variant(
        {"windows": "fourier", "noise_model": "poisson", "momentum": 0.8}
    ),
    "epie": Variant({"engine": "epie"}),
    "rpie": Variant({"engine": "rpie"}),
    "dm": Variant({"engine": "dm"}),
    "autodiff": Variant({"engine": "autodiff"}),
}


@lru_cache(maxsize=1)
def base_of(pictures: str, size: int, positions: int) -> Base:
    amplitude, phase = pictures.split("/")
    recipe = BaseRecipe(amplitude, phase, size, positions, probe_radius=0.22, probe_curvature=5.0, seed=9)
    return make_base(recipe, 64)


def raster(base: Base, dose: int) -> Measurement:
    """The upper half of a raster of whole pixels, 8 px apart: 512 frames for an object of 320 px."""
    centres = np.arange(36.0, base.object.shape[0] - 35, 8)
    y, x = (axis.ravel() for axis in np.meshgrid(centres, centres, indexing="ij"))
    scale = forward.intensity_scale(dose, forward.exit_wave_energies(base.object, base.probe, x, y))
    index = np.arange(len(x) // 2)
    x, y = x[index], y[index]
    amplitude = np.empty((len(index), *base.probe.shape), np.float32)
    for part in forward.blocks(len(index)):
        rates = forward.patch_counts(base.object, base.probe, x[part], y[part], scale)
        amplitude[part] = counts.stored_amplitude(counts.poisson_counts(rates, index[part], 7, dose), scale)
    return Measurement(amplitude, scale, base.probe, x, y, base.object.shape, index)


@lru_cache(maxsize=1)
def measurement(pictures: str, dose: int, view: str, size: int, positions: int) -> tuple[Measurement, np.ndarray]:
    """Frames of the train half of a cell, and the pixels that count."""
    base = base_of(pictures, size, positions)
    if view == "raster":
        m = raster(base, dose)
        return m, region(m)
    scan = simulate(base, dose=dose, scan="uniform", axis="y", seed=7)
    index = scan.halves["train"]
    amplitude = np.concatenate(list(scan.amplitude_blocks("train")))
    kept = np.arange(len(index))
    if SPACING[view]:
        kept = select_spaced(np.c_[scan.x[index], scan.y[index]], SPACING[view], 64).kept
    x, y = scan.x[index][kept], scan.y[index][kept]
    m = Measurement(amplitude[kept], scan.scale, base.probe, x, y, base.object.shape, index[kept])
    return m, region(m)


def region(m: Measurement) -> np.ndarray:
    return evaluation_region(m.probe, m.x, m.y, m.object_shape, threshold=0.1, scan_box=scan_box(m.x, m.y)).mask


def phase_rmse(obj: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """After removing the global phase; positions and grid are the truth's own."""
    product = obj[mask] * truth[mask].conj()
    return float(np.sqrt((np.angle(product * np.conj(product.sum())) ** 2).mean()))


def run(m: Measurement, truth: np.ndarray, mask: np.ndarray, variant: Variant, epochs: int) -> dict:
    """One reconstruction to its last epoch, judged by every rule."""
    if variant.wrong_probe:
        m = replace(m, probe=m.probe * np.complex64(1.1))
    errors: list[float] = []
    state, options = engine._state, engine.engine_options

    def watched(*arguments):
        result = state(*arguments)
        errors.append(phase_rmse(result[0], truth, mask))
        return result

    def changed(*arguments):
        found = options(*arguments)
        found.object_options.remove_object_probe_ambiguity.enabled = variant.rescaled
        return found

    settings = LsqmlSettings(**{"epochs": epochs, "stopping": "held_out", **variant.settings})
    patches = {"_state": watched, "engine_options": changed}
    with mock.patch.multiple(engine, **patches), mock.patch("fly64_assets.lsqml.stopping.PATIENCE", epochs):
        found = engine.reconstruct(m, settings, Execution(), 1, lambda *_: None)
    below = np.flatnonzero(found.deviance <= found.expected)
    kept = {
        "held_out": int(np.argmin(found.held_out)),
        "discrepancy": int(below[0]) if len(below) else len(errors) - 1,
        "best": int(np.argmin(errors)),
    }
    row = {f"{rule}_epoch": k + 1 for rule, k in kept.items()} | {rule: errors[k] for rule, k in kept.items()}
    return row | {"epochs": len(errors), "last": errors[-1], "seconds_per_epoch": found.seconds / len(errors)}


def rows(options: argparse.Namespace) -> Iterator[dict]:
    for pictures in options.objects:
        truth = base_of(pictures, options.size, options.positions).object
        for view, dose in options.cells:
            m, mask = measurement(pictures, dose, view, options.size, options.positions)
            flat = phase_rmse(np.ones_like(truth), truth, mask)
            one = {"object": pictures, "view": view, "dose": dose, "frames": m.frames, "flat": flat}
            for name in options.only or VARIANTS:
                try:
                    result = run(m, truth, mask, VARIANTS[name], options.epochs)
                except EngineError as error:
                    print(f"{pictures} {view}:{dose} {name}: {error}", file=sys.stderr)
                    result = dict.fromkeys(COLUMNS[6:])
                yield one | {"variant": name} | result


def cells(text: str) -> tuple[tuple[str, int], ...]:
    parts = (cell.split(":") for cell in text.split(","))
    return tuple((view, int(float(dose))) for view, dose in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one cell, few epochs: about a minute")
    parser.add_argument("--objects", nargs="+", default=["coins/grass", "moon/coffee"], metavar="AMPLITUDE/PHASE")
    parser.add_argument(
        "--cells", type=cells, default=CELLS, help="VIEW:DOSE,... (also raster:DOSE); all nine by default"
    )
    parser.add_argument("--only", nargs="+", choices=VARIANTS, metavar="NAME", help="variants; all by default")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--size", type=int, default=320, help="object side [px]")
    parser.add_argument("--positions", type=int, default=900)
    parser.add_argument("--csv", type=Path, help="write every row as it is measured")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.objects, options.cells, options.epochs = ["coins/grass"], (("sparse", 10_000),), 10
    found = []
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS), file=sys.stderr if options.json else sys.stdout)
    for row in rows(options):
        found.append(row)
        shown = [f"{v:.4f}" if isinstance(v, float) else "" if v is None else str(v) for v in map(row.get, COLUMNS)]
        if not options.json:
            print("| " + " | ".join(shown) + " |", flush=True)
        if options.csv:
            write(options.csv, found)
    if options.json:
        print(json.dumps(found, indent=2))


def write(path: Path, found: list[dict]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in found:
            writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
