"""Settings and engines of the iterative method, over doses and views, on objects and a probe that no study uses.

One change at a time from the chosen settings: how the object is read between pixels, batches, acceleration, noise
model, rescaling of object against probe, a probe to be refined, the rule that ends a run; then the other engines. Every
variant of a cell sees the same frames. A run goes to its last epoch and is judged by every rule afterwards, so the
table shows what each rule keeps, the best epoch and the last one; *interior* is the error without the dim rim of the
scan, and *refit* the error of the result: as many epochs as the held-out counts keep, with all counts. Only this
benchmark looks at the truth.

Usage: OMP_NUM_THREADS=1 python benchmarks/lsqml_settings.py [--quick] [--objects coins/grass moon/coffee]
       [--cells VIEW:DOSE,...] [--only NAME ...] [--epochs N] [--csv FILE] [--json]
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from unittest import mock

import numpy as np
import scans

from fly64_assets.engines.execution import Execution
from fly64_assets.errors import EngineError
from fly64_assets.lsqml import engine
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.physics.measurement import Measurement

CELLS = tuple((view, dose) for dose in (1000, 10_000, 100_000) for view in scans.SPACING)
COLUMNS = (
    "object", "view", "dose", "frames", "flat", "floor", "variant", "held_out_epoch", "held_out", "discrepancy_epoch",
    "discrepancy", "best_epoch", "best", "epochs", "last", "interior_floor", "interior", "interior_best_epoch",
    "interior_best", "seconds_per_epoch", "refit",
)  # fmt: skip
DAMPING = "reconstructor_options.preconditioning_damping_factor"
STEP = "object_options.optimal_step_size_scaler"


@dataclass(frozen=True)
class Variant:
    """Settings to try, options of the library to change (``part.name``), an error of the known probe, an engine."""

    settings: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)
    wrong_probe: bool = False
    engine: str = "lsqml"


VARIANTS = {
    "chosen": Variant(),
    "windows fourier": Variant({"subpixel": "fourier"}),
    "batches of 32": Variant({"batch_size": 32}),
    "batches of 200": Variant({"batch_size": 200}),
    "uniform batches of 64": Variant({"batching": "uniform"}),
    "uniform batches of 16": Variant({"batching": "uniform", "batch_size": 16}),
    "random batches of 16": Variant({"batching": "random", "batch_size": 16}),
    "momentum 0": Variant({"momentum": 0.0}),
    "momentum 0.8": Variant({"momentum": 0.8}),
    "momentum 4": Variant({"momentum": 4.0}),
    "poisson after 5": Variant({"noise_model": "poisson"}),
    "poisson after 20": Variant({"noise_model": "poisson", "gaussian_epochs": 20}),
    "poisson from the start": Variant({"noise_model": "poisson", "gaussian_epochs": 0}),
    "rescaled": Variant(options={"object_options.remove_object_probe_ambiguity.enabled": True}),
    "damping 0.03": Variant(options={DAMPING: 0.03}),
    "damping 0.3": Variant(options={DAMPING: 0.3}),
    "damping 1": Variant(options={DAMPING: 1.0}),
    "steps of 0.5": Variant(options={STEP: 0.5}),
    "total variation 0.07": Variant({"total_variation": 0.07}),
    "total variation 0.15": Variant({"total_variation": 0.15}),
    "total variation 0.3": Variant({"total_variation": 0.3}),
    "total variation 0.6": Variant({"total_variation": 0.6}),
    "probe 10 % off, fixed": Variant(wrong_probe=True),
    "probe 10 % off, refined": Variant({"probe": "refined"}, wrong_probe=True),
    "fourier, poisson after 5, momentum 0.8": Variant(
        {"subpixel": "fourier", "noise_model": "poisson", "momentum": 0.8}
    ),
    "epie": Variant(engine="epie"),
    "rpie": Variant(engine="rpie"),
    "dm": Variant(engine="dm"),
    "autodiff": Variant(engine="autodiff"),
}


@lru_cache(maxsize=1)
def measurement(name: str, dose: int, view: str, size: int, positions: int) -> tuple[Measurement, np.ndarray]:
    """Frames of the train half of a cell, and the truth."""
    base = scans.base_of(name, size, positions)
    return (scans.raster(base, dose) if view == "raster" else scans.train_half(base, dose, view)), base.object


def run(m: Measurement, truth: np.ndarray, regions: Sequence[np.ndarray], variant: Variant, epochs: int) -> dict:
    """One reconstruction to its last epoch, judged by every rule where a study judges, and in the interior."""
    if variant.wrong_probe:
        m = replace(m, probe=m.probe * np.complex64(1.1))
    errors: list[list[float]] = []
    state, options = engine._state, engine.engine_options

    def watched(*arguments):
        result = state(*arguments)
        errors.append([scans.phase_rmse(result[0], truth, mask) for mask in regions])
        return result

    def changed(*arguments):
        found = options(*arguments)
        for path, value in variant.options.items():
            owner, name = path.rsplit(".", 1)
            setattr(attrgetter(owner)(found), name, value)
        return found

    settings = LsqmlSettings(**{"epochs": epochs, "stopping": "held_out", **variant.settings})
    patches = {"_state": watched, "engine_options": changed}
    with mock.patch.multiple(engine, **patches), mock.patch("fly64_assets.lsqml.stopping.PATIENCE", epochs):
        found = engine.reconstruct(m, settings, Execution(), 1, lambda *_: None, engine=variant.engine)
    below = np.flatnonzero(found.deviance <= found.expected)
    where, interior = zip(*errors[: len(found.loss)], strict=True)
    kept = {
        "held_out": int(np.argmin(found.held_out)),
        "discrepancy": int(below[0]) if len(below) else len(where) - 1,
        "best": int(np.argmin(where)),
    }
    row = {f"{rule}_epoch": k + 1 for rule, k in kept.items()} | {rule: where[k] for rule, k in kept.items()}
    row |= {"interior": interior[kept["held_out"]], "interior_best": min(interior)}
    row |= {"interior_best_epoch": int(np.argmin(interior)) + 1}
    row |= {"epochs": len(where), "last": where[-1], "seconds_per_epoch": found.seconds / len(errors)}
    return row | {"refit": errors[-1][0]}


def rows(options: argparse.Namespace) -> Iterator[dict]:
    for name in options.objects:
        for view, dose in options.cells:
            m, truth = measurement(name, dose, view, options.size, options.positions)
            regions = scans.evaluated(m), scans.interior(m)
            floor, interior_floor = (scans.phase_floor(m, truth, mask) for mask in regions)
            flat = scans.phase_rmse(np.ones_like(truth), truth, regions[0])
            one = {"object": name, "view": view, "dose": dose, "frames": m.frames, "flat": flat}
            one |= {"floor": floor, "interior_floor": interior_floor}
            for variant in options.only or VARIANTS:
                try:
                    result = run(m, truth, regions, VARIANTS[variant], options.epochs)
                except EngineError as error:
                    print(f"{name} {view}:{dose} {variant}: {error}", file=sys.stderr)
                    result = {}
                yield dict.fromkeys(COLUMNS) | one | {"variant": variant} | result


def cells(text: str) -> tuple[tuple[str, int], ...]:
    parts = (cell.split(":") for cell in text.split(","))
    return tuple((view, int(float(dose))) for view, dose in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one cell, few epochs: about a minute")
    parser.add_argument(
        "--objects", nargs="+", default=["coins/grass", "moon/coffee"], metavar="NAME",
        help="AMPLITUDE/PHASE, two pictures; smooth/SIGMA, noise smoothed by SIGMA pixels",
    )  # fmt: skip
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
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in found:
            writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
