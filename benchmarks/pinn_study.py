"""The network against LSQML, cell by cell: quality on the unseen half, and time.

Frames, halves, views and scores are those of the study: the base of a design (coins and grass by default, which no
study uses), the phase RMSE of the test half without what the training frames lit. Every arm of ``--arms`` is run with
every seed; ``path`` is the object that the network ``unrolled`` starts from, so that a reader sees what it adds.

LSQML's time to equal quality is the time to its first epoch whose error is no larger than the other method's, or to its
stop where it never gets there (marked ``>``). The row of its best epoch says what a perfect stop would give. Only this
benchmark looks at the truth; scoring is not timed. ``lsqml_from_pinn`` is LSQML from the object of ``unrolled``.

With ``--seconds T`` all networks train for T seconds: two epochs are timed first, then the number of epochs is chosen
such that preparation and training end after T seconds with the learning rate at its end. Without it, the design's
epochs and patience count.

Usage: OMP_NUM_THREADS=1 python benchmarks/pinn_study.py [--quick] [--design NAME_OR_PATH | --base AMPLITUDE/PHASE]
       [--cells VIEW:DOSE,...] [--seeds 1 2 3] [--arms ARM ...] [--seconds T] [--threads N] [--json]
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from cells import Cell, cell_of, errors, silent

from fly64_assets.engines.execution import Execution
from fly64_assets.evaluation.scores.compare import SplitInput, compare_split
from fly64_assets.lsqml import engine
from fly64_assets.physics.illumination import LEAST_COVERAGE
from fly64_assets.pinn.bundle import Bundle
from fly64_assets.pinn.inference import reconstruct
from fly64_assets.pinn.network_spec import NetworkSpec
from fly64_assets.pinn.results import Trained
from fly64_assets.pinn.settings import PinnSettings, upgraded
from fly64_assets.pinn.training import train
from fly64_assets.pinn.unrolled.object_plane import ObjectPlane
from fly64_assets.pinn.unrolled.regularisation_path import regularisation_path
from fly64_assets.simulation.recipe import BaseRecipe
from fly64_assets.study.design import StudyDesign, load_design

NETWORKS = ("unrolled", "cnn")
WARM = "lsqml_from_pinn"
ARMS = ("unrolled", "cnn", "path", "lsqml", WARM)
SOLVERS = ("lsqml", WARM)


@dataclass
class Run:
    """One method with one seed on one cell."""

    object: np.ndarray
    seconds: float
    training_seconds: float = 0.0
    epochs: int = 0
    facts: dict = field(default_factory=dict)


# -- the methods ------------------------------------------------------------------------------------------------------


def trained(
    cell: Cell, design: StudyDesign, settings: PinnSettings, seed: int, threads: int, scratch: Path
) -> tuple[Trained, list[float]]:
    """The network, and the times at which its epochs were done."""
    done: list[float] = []
    g, k, execution = design.gridsize(cell.view), design.neighbor_count, Execution(threads=threads)

    def progress(*_: object) -> None:
        done.append(time.perf_counter())

    return train(cell.train, settings, g, k, seed, execution, progress, scratch=scratch), done


def timed_settings(
    cell: Cell, design: StudyDesign, settings: PinnSettings, seconds: float, threads: int, scratch: Path
) -> PinnSettings:
    """Settings with as many epochs as fit into the time, after two epochs as a trial."""
    trial, done = trained(cell, design, replace(settings, epochs=2), 1, threads, scratch)
    epoch, preparation = done[1] - done[0], trial.facts["preparation_seconds"]
    epochs = max(1, int((seconds - preparation) / epoch))
    print(
        f"  {settings.architecture}: preparation {preparation:.1f} s, {epochs} epochs of {epoch:.2f} s", file=sys.stderr
    )
    return replace(settings, epochs=epochs, patience=epochs)


def network_run(cell: Cell, result: Trained, scratch: Path) -> Run:
    bundle = Bundle({}, {"network": result.spec.to_dict()}, result.weights, result.history)
    start = time.perf_counter()
    found = reconstruct(bundle, cell.test, "cpu", scratch, silent)
    seconds = time.perf_counter() - start
    facts = {"best_epoch": int(result.best["epoch"]), "finding": result.finding, **result.facts}
    return Run(found.object, seconds, result.seconds, len(result.history), facts)


def path_run(cell: Cell, spec: NetworkSpec) -> Run:
    """The object that a network changes, and nothing more."""
    start = time.perf_counter()
    with torch.no_grad():
        scene = ObjectPlane(cell.test)

        def frames(rows: slice) -> torch.Tensor:
            return torch.from_numpy(np.fft.ifftshift(cell.test.counts(rows), axes=(-2, -1)).astype(np.float32))

        levels = spec.levels[: spec.base + 1]
        path = regularisation_path(scene, frames, cell.test.intensity_scale, levels, spec.level_iterations)
        obj = np.where(scene.coverage() >= LEAST_COVERAGE, scene.on_grid(path[-1]), 1)
    return Run(obj, time.perf_counter() - start, facts={"level": spec.levels[spec.base]})


def lsqml_run(cell: Cell, design: StudyDesign, seed: int, threads: int, first: np.ndarray | None = None) -> Run:
    """To its own stop, with the object and the time of every epoch; from a uniform object or from ``first``."""
    objects: list[np.ndarray] = []
    times: list[float] = []
    state = engine._state

    def watched(*arguments):
        result = state(*arguments)
        objects.append(result[0])
        times.append(time.perf_counter())
        return result

    engine._state = watched
    start = time.perf_counter()
    try:
        found = engine.reconstruct(cell.test, design.lsqml, Execution(threads=threads), seed, silent, start=first)
    finally:
        engine._state = state
    seconds = time.perf_counter() - start
    phase_errors = [errors(cell, obj, design.evaluation.max_shift_px)[0] for obj in objects]
    facts = {"stop_reason": found.stop_reason, "times": [one - start for one in times], "errors": phase_errors}
    return Run(found.object, seconds, epochs=len(phase_errors), facts=facts)


def runs_of(cell: Cell, design: StudyDesign, options: argparse.Namespace, scratch: Path) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {arm: [] for arm in options.arms}
    for arm in (arm for arm in NETWORKS if arm in runs):
        settings = PinnSettings.from_dict(upgraded(design.pinn.parameters() | {"architecture": arm})[0])
        if options.seconds:
            settings = timed_settings(cell, design, settings, options.seconds, options.threads, scratch)
        for seed in options.seeds:
            result, _ = trained(cell, design, settings, seed, options.threads, scratch)
            runs[arm].append(network_run(cell, result, scratch))
            if arm == "unrolled" and "path" in runs:
                runs["path"].append(path_run(cell, result.spec))
    if any(arm in runs for arm in SOLVERS):
        # Imports and first calls of the library, which no reconstruction should be charged with.
        few = slice(None, 8)
        some = replace(cell.test, **{k: getattr(cell.test, k)[few] for k in ("amplitude", "x", "y", "scan_index")})
        engine.reconstruct(some, replace(design.lsqml, epochs=1), Execution(threads=options.threads), 1, silent)
        if "lsqml" in runs:
            runs["lsqml"] = [lsqml_run(cell, design, seed, options.threads) for seed in options.seeds]
        if WARM in runs:
            starts = zip(options.seeds, runs["unrolled"], strict=True)
            runs[WARM] = [lsqml_run(cell, design, seed, options.threads, one.object) for seed, one in starts]
    return runs


# -- results ----------------------------------------------------------------------------------------------------------


def equal_quality(run: Run, error: float, peer: Run) -> dict:
    """LSQML's time to an error no larger than this method's, relative to the time of its reconstruction."""
    reached = [t for t, e in zip(peer.facts["times"], peer.facts["errors"], strict=True) if e <= error]
    seconds = reached[0] if reached else peer.seconds
    return {"seconds": seconds, "reached": bool(reached), "ratio": seconds / run.seconds}


def entries(cell: Cell, design: StudyDesign, runs: dict[str, list[Run]]) -> Iterator[dict]:
    arms = {f"{arm} {k}": run.object for arm, own in runs.items() for k, run in enumerate(own)}
    data = SplitInput(cell.test, arms, cell.box)
    settings = {"evaluation": design.evaluation, "metrics": design.metrics_config}
    compared = compare_split("test", cell.truth, data, **settings, train_scan=cell.train.scan)
    scores = {a: [compared.value(f"{a} {k}", "phase", "rmse") for k in range(len(own))] for a, own in runs.items()}
    peer = statistics.mean(scores["lsqml"]) if "lsqml" in scores else None
    for arm, own in runs.items():
        value, seconds = statistics.mean(scores[arm]), statistics.median(run.seconds for run in own)
        one = {
            "name": f"{cell.view}:{cell.dose} {arm}",
            "cell": f"{cell.view}:{cell.dose}",
            "arm": arm,
            "value": value,
            "unit": "rad, phase RMSE on the unseen half",
            "floor_or_peer": peer,
            "ratio": value / peer if peer else None,
            "n": len(own),
            "spread": [min(scores[arm]), max(scores[arm])],
            "flat": compared.value("flat", "phase", "rmse"),
            "photons_per_pixel": compared.photons.photons_per_pixel,
            "phase_floor": compared.photons.phase_floor_rad,
            "frames_train": cell.train.frames,
            "frames_test": cell.test.frames,
            "training_seconds": statistics.median(run.training_seconds for run in own),
            "epochs": statistics.median(run.epochs for run in own),
            "reconstruction_seconds": seconds,
            "ms_per_frame": 1e3 * seconds / cell.test.frames,
            "facts": [run.facts for run in own],
        }
        if arm not in SOLVERS and peer:
            equal = [equal_quality(*three) for three in zip(own, scores[arm], runs["lsqml"], strict=True)]
            one["lsqml_seconds_to_equal_quality"] = statistics.median(e["seconds"] for e in equal)
            one["lsqml_reached"] = sum(e["reached"] for e in equal)
            one["lsqml_time_ratio"] = statistics.median(e["ratio"] for e in equal)
        yield one
        if arm in SOLVERS:
            yield one | best_epochs(one, own)


def best_epochs(one: dict, own: list[Run]) -> dict:
    """The row of LSQML if it had stopped where its error is least, which only the truth shows."""
    errors, times, epochs = [], [], []
    for run in own:
        k = int(np.argmin(run.facts["errors"]))
        errors.append(run.facts["errors"][k])
        times.append(run.facts["times"][k])
        epochs.append(k + 1)
    value, seconds = statistics.mean(errors), statistics.median(times)
    return {
        "name": f"{one['cell']} {one['arm']}, best epoch",
        "arm": f"{one['arm']}, best epoch",
        "value": value,
        "ratio": value / one["value"],
        "spread": [min(errors), max(errors)],
        "epochs": statistics.median(epochs),
        "reconstruction_seconds": seconds,
        "ms_per_frame": 1e3 * seconds / one["frames_test"],
        "facts": [],
    }


HEADER = (
    "| cell | frames | photons/px | flat [rad] | arm | phase RMSE [rad] | spread | / LSQML | training [s] | epochs "
    "| reconstruction [s] | ms/frame | LSQML to equal quality [s] | / reconstruction |"
)


def row(one: dict) -> str:
    def shown(value: float | None, text: str) -> str:
        return "" if value is None else format(value, text)

    equal = ("", "")
    if "lsqml_time_ratio" in one:
        mark = "" if one["lsqml_reached"] == one["n"] else "> "
        equal = (f"{mark}{one['lsqml_seconds_to_equal_quality']:.2f}", f"{mark}{one['lsqml_time_ratio']:.2f}")
    columns = (
        one["cell"],
        f"{one['frames_train']} / {one['frames_test']}",
        shown(one["photons_per_pixel"], ".3g"),
        shown(one["flat"], ".4f"),
        one["arm"],
        f"{one['value']:.4f}",
        f"{one['spread'][0]:.4f} to {one['spread'][1]:.4f}",
        shown(one["ratio"], ".3f"),
        shown(one["training_seconds"] or None, ".1f"),
        shown(one["epochs"] or None, ".0f"),
        f"{one['reconstruction_seconds']:.2f}",
        f"{one['ms_per_frame']:.2f}",
        *equal,
    )
    return "| " + " | ".join(columns) + " |"


def options_of(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, StudyDesign, list[tuple[str, int]]]:
    parser.add_argument("--quick", action="store_true", help="one cell, one seed, 5 s of training: about 40 seconds")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--design", help="shipped design or YAML file; all its settings are taken")
    source.add_argument("--base", default="coins/grass", help="pictures of amplitude and phase, 448 px, 2000 positions")
    parser.add_argument("--cells", help="VIEW:DOSE,...; default all of the design")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seconds", type=float, help="time of every training, preparation included")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="a JSON list on standard output, entry by entry")
    options = parser.parse_args()
    if {"path", WARM} & set(options.arms) and "unrolled" not in options.arms:
        parser.error(f"path and {WARM} need unrolled among the methods")
    if options.quick:
        options.cells, options.seeds, options.seconds = options.cells or "dense:1000", [1], 5.0
    recipe = BaseRecipe(*options.base.split("/"), 448, 2000)
    design = load_design(options.design) if options.design else StudyDesign(name="bench", base=recipe).validate()
    cells = [(view, dose) for dose in design.doses for view in design.views]
    if options.cells:
        cells = [(view, int(float(dose))) for view, _, dose in (one.partition(":") for one in options.cells.split(","))]
    unknown = sorted({view for view, _ in cells} - set(design.views))
    if unknown:
        parser.error(f"unknown views {unknown}; the design has {list(design.views)}")
    return options, design, cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options, design, cells = options_of(parser)
    torch.set_num_threads(options.threads)
    machine = f"{platform.machine()}, {options.threads} thread(s), torch {torch.__version__}, {os.cpu_count()} CPUs"
    if not options.json:
        rule = "---|" * (HEADER.count("|") - 1)
        print(f"{design.name}, {design.base}, {machine}, seeds {options.seeds}\n\n{HEADER}\n|{rule}", flush=True)
    separator = "["
    with tempfile.TemporaryDirectory() as folder:
        for view, dose in cells:
            print(f"{view}:{dose}", file=sys.stderr, flush=True)
            cell = cell_of(design, view, dose)
            if isinstance(cell, str):
                print(f"skipped: {cell}", file=sys.stderr, flush=True)
                continue
            runs = runs_of(cell, design, options, Path(folder))
            load = os.getloadavg()[0]
            print(f"  load average {load:.1f} on {os.cpu_count()} CPUs", file=sys.stderr)
            for one in entries(cell, design, runs):
                if options.json:
                    print(
                        separator + json.dumps(one | {"machine": machine, "load_average": load}, indent=1), flush=True
                    )
                    separator = ","
                else:
                    print(row(one), flush=True)
    if options.json:
        print("]" if separator == "," else "[]")


if __name__ == "__main__":
    main()
