"""Every method on every cell with every seed: one row of a CSV file for each, for the tables of the documentation.

A seed is a repeat of the study: noise and training of its own; seed 1 is the study itself. Frames, halves, views and
scores are the study's. The network is trained on the train half; every method reconstructs the test half, and is scored
there. Settings are those of the design. Objects are designs (``demo``, ``fly64``, a YAML file) or names of
:mod:`objects`.

Rows that exist with the same settings are not computed again, so that a run that was stopped goes on where it was. The
column ``settings`` is a hash of the method's settings and of the versions of its code in the table of stages. Seconds
are those of the process, for each of the two stages; ``reconstruction_cpu_s`` of the network is inference. Rows stand
in the order in which they were finished.

Usage: OMP_NUM_THREADS=1 python benchmarks/contest.py [--objects demo slow ...] [--cells dense:1000 ...] [--seeds 1 2 3]
       [--methods lsqml tv_ml pinn ...] [--accelerator cuda] [--jobs 2] [--output FILE.csv]
"""

import argparse
import csv
import itertools
import multiprocessing
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from cells import Cell, cell_of, design_of, errors, repeat_of, silent

from fly64_assets.engines.execution import Execution, torch_settings
from fly64_assets.evaluation.scores.photons import photon_budget
from fly64_assets.lsqml import engine
from fly64_assets.pinn.bundle import Bundle
from fly64_assets.pinn.inference import reconstruct
from fly64_assets.pinn.pretrained.files import general_network
from fly64_assets.pinn.pretrained.inference import reconstruct as apply_pretrained
from fly64_assets.pinn.pretrained.pretrained_spec import GENERAL, bundle_file
from fly64_assets.pinn.settings import LEAST_FRAMES_PER_COSINE, LEAST_GAIN, LEAST_GAIN_OF_PRETRAINED
from fly64_assets.pinn.training import train
from fly64_assets.pinn.unrolled.preparation import RULES, verdicts
from fly64_assets.store.hashing import json_sha256, sha256_file
from fly64_assets.study.design import StudyDesign
from fly64_assets.study.table import STAGES
from fly64_assets.tv_ml import solver

RESULTS = Path(__file__).parents[1] / "docs" / "explanation" / "results" / "contest.csv"
KEY = ("object", "view", "dose", "seed", "method")
COLUMNS = (
    *KEY, "phase_rmse", "amplitude_rmse", "training_cpu_s", "reconstruction_cpu_s", "tv_weight", "epochs",
    "stop_reason", "frames", "photons_per_pixel", "covered_fraction", "phase_floor", "settings", "machine",
)  # fmt: skip
LSQML_TV = 0.15
"""Total variation of ``lsqml_tv``: about the best single weight on coins/grass and moon/coffee."""


@dataclass
class Result:
    """Object of the test half, and what is known of how it was found."""

    object: np.ndarray
    training_cpu_s: float = 0.0
    tv_weight: float | str = ""
    epochs: int | str = ""
    stop_reason: str = ""


# -- the methods ------------------------------------------------------------------------------------------------------


def lsqml(cell: Cell, design: StudyDesign, seed: int, execution: Execution) -> Result:
    found = engine.reconstruct(cell.test, design.lsqml, execution, seed, silent)
    weight = design.lsqml.total_variation or ""
    return Result(found.object, tv_weight=weight, epochs=found.kept_epoch, stop_reason=found.stop_reason)


def tv_ml(cell: Cell, design: StudyDesign, seed: int, execution: Execution) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        found = solver.reconstruct(cell.test, design.tv_ml, execution, seed, silent, scratch=Path(folder))
    return Result(found.object, tv_weight=found.level, epochs=len(found.loss), stop_reason=found.stop_reason)


def pinn(cell: Cell, design: StudyDesign, seed: int, execution: Execution) -> Result:
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        scratch, g = Path(folder), design.gridsize(cell.view)
        trained = train(cell.train, design.pinn, g, design.neighbor_count, seed, execution, silent, scratch=scratch)
        seconds = time.process_time() - begin
        bundle = Bundle({}, {"network": trained.spec.to_dict()}, trained.weights, trained.history)
        obj = reconstruct(bundle, cell.test, execution.accelerator, scratch, silent).object
    slow_phases = verdicts(trained.facts.get("gains_of_slow_phases", {}))
    reason = "; ".join(text for text in (trained.stop_reason, trained.finding, *slow_phases) if text)
    return Result(obj, seconds, epochs=len(trained.history), stop_reason=reason)


def pretrained(cell: Cell, design: StudyDesign, _seed: int, execution: Execution) -> Result:
    network, slow_phases = loaded_once(), design.pretrained.slow_phases
    with torch_settings(execution):
        found = apply_pretrained(network, cell.test, execution.accelerator, slow_phases=slow_phases)
    reason = "trained before, on other scans"
    if (gain := found.gain_of_slow_phases) is not None:
        reason += f"; {RULES['pretrained'].verdict(gain)}"
    return Result(found.object, epochs=len(network.steps), stop_reason=reason)


loaded_once = lru_cache(maxsize=1)(general_network)


def uniform(cell: Cell, _design: StudyDesign, _seed: int, _execution: Execution) -> Result:
    return Result(np.ones_like(cell.truth))


Method = Callable[[Cell, StudyDesign, int, Execution], Result]


def with_total_variation(design: StudyDesign) -> StudyDesign:
    return replace(design, lsqml=replace(design.lsqml, total_variation=LSQML_TV))


def from_the_pretrained(design: StudyDesign) -> StudyDesign:
    return replace(design, pinn=replace(design.pinn, start="pretrained"))


def without_slow_phases(design: StudyDesign) -> StudyDesign:
    return replace(
        design, tv_ml=replace(design.tv_ml, slow_phases=False), pinn=replace(design.pinn, start="likelihood")
    )


def pretrained_with_slow_phases(design: StudyDesign) -> StudyDesign:
    return replace(design, pretrained=replace(design.pretrained, slow_phases=True))


METHODS: dict[str, tuple[Method, str]] = {
    "uniform": (uniform, ""),
    "lsqml": (lsqml, "lsqml"),
    "lsqml_tv": (lsqml, "lsqml"),
    "tv_ml": (tv_ml, "tv_ml"),
    "pinn": (pinn, "pinn"),
    "pinn_pretrained": (pinn, "pinn"),
    "pinn_without_slow_phases": (pinn, "pinn"),
    "tv_ml_without_slow_phases": (tv_ml, "tv_ml"),
    "pretrained": (pretrained, "pretrained"),
    "pretrained_slow_phases": (pretrained, "pretrained"),
}
"""How a method is computed, and its name in a study."""


@lru_cache(maxsize=1)
def load_library(patch_size: int) -> None:
    """Imports and first calls of pty-chi, which no reconstruction should be charged with."""
    import scans

    base = scans.base_of("coins/grass", 2 * patch_size, 40)
    m = scans.train_half(base, 1000, "baseline")
    engine.reconstruct(m, replace(StudyDesign().lsqml, epochs=1), Execution(), 1, silent)


# -- rows -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """One row to compute."""

    object: str
    view: str
    dose: int
    seed: int
    method: str
    accelerator: str = "cpu"

    def design(self) -> StudyDesign:
        design = repeat_of(design_of(self.object), self.seed)
        changed = {
            "lsqml_tv": with_total_variation,
            "pinn_pretrained": from_the_pretrained,
            "pinn_without_slow_phases": without_slow_phases,
            "tv_ml_without_slow_phases": without_slow_phases,
            "pretrained_slow_phases": pretrained_with_slow_phases,
        }
        return changed.get(self.method, lambda same: same)(design)

    def settings(self) -> str:
        """Hash of everything but the cell that the method's object depends on."""
        method = METHODS[self.method][1]
        if not method:
            return ""
        versions = {name: stage.code_version for name, stage in STAGES.items() if stage.method == method}
        settings = getattr(self.design(), method).parameters()
        limits: list[object] = []
        if settings.get("slow_phases") or settings.get("start") in ("slow_phases", "pretrained"):
            limits = [LEAST_GAIN]
        if "pretrained" in (method, settings.get("start")):
            limits += [LEAST_GAIN_OF_PRETRAINED, LEAST_FRAMES_PER_COSINE, sha256_file(bundle_file(GENERAL))]
        return json_sha256([settings, versions, *limits])[:8]

    def key(self) -> tuple[str, ...]:
        """What the row is known by in the file."""
        return (self.object, self.view, str(self.dose), str(self.seed), self.method, self.settings())


def row_of(task: Task) -> tuple[Task, dict[str, object] | str]:
    """The row of a task, or why there is none."""
    try:
        return task, computed_row(task)
    except (ArithmeticError, LookupError, OSError, RuntimeError, ValueError):
        return task, traceback.format_exc()


def computed_row(task: Task) -> dict[str, object] | str:
    """The row of a task, or why its cell does not exist."""
    torch.set_num_threads(1)
    design = task.design()
    cell = cell_of(design, task.view, task.dose)
    if isinstance(cell, str):
        return cell
    method = METHODS[task.method][0]
    if method is lsqml:
        load_library(cell.test.patch_size)
    if method is pretrained:
        # Its file and the first calls of the library are no part of the seconds of one scan.
        pretrained(cell, design, 0, Execution())
    begin = time.process_time()
    execution = Execution(accelerator=task.accelerator)
    result = method(cell, design, design.repeat_seeds(1)["grouping"], execution)
    seconds = time.process_time() - begin - result.training_cpu_s
    phase, amplitude = errors(cell, result.object, design.evaluation.max_shift_px)
    region, test = cell.region, cell.test
    photons = photon_budget(region.illumination, cell.truth, region.mask, test.intensity_scale, test.frames)
    return {
        **{name: getattr(task, name) for name in KEY},
        "phase_rmse": f"{phase:.5f}",
        "amplitude_rmse": f"{amplitude:.5f}",
        "training_cpu_s": f"{result.training_cpu_s:.1f}",
        "reconstruction_cpu_s": f"{seconds:.2f}",
        "tv_weight": result.tv_weight,
        "epochs": result.epochs,
        "stop_reason": result.stop_reason,
        "frames": cell.test.frames,
        "photons_per_pixel": f"{photons.photons_per_pixel:.5g}",
        "covered_fraction": f"{region.covered_fraction:.4f}",
        "phase_floor": f"{photons.phase_floor_rad:.5f}",
        "settings": task.settings(),
        "machine": machine(task.accelerator),
    }


def machine(accelerator: str) -> str:
    """Processor or GPU, and library, which decide the last digits of a network."""
    if accelerator == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, torch {torch.__version__}"


def existing(path: Path) -> set[tuple[str, ...]]:
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise SystemExit(f"{path.name} has other columns than this benchmark writes; give another --output")
        return {tuple(row[name] for name in (*KEY, "settings")) for row in reader}


def tasks_of(options: argparse.Namespace) -> Iterator[Task]:
    """Cells of the same frames one after the other."""
    for name, seed in itertools.product(options.objects, options.seeds):
        design = design_of(name)
        cells = [(view, dose) for dose in design.doses for view in design.views]
        if options.cells:
            cells = [(view, int(float(dose))) for view, _, dose in (cell.partition(":") for cell in options.cells)]
        for (view, dose), method in itertools.product(cells, options.methods):
            yield Task(name, view, dose, seed, method, options.accelerator)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", nargs="+", default=["demo"])
    parser.add_argument("--cells", nargs="+", metavar="VIEW:DOSE", help="default: all of the design")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each of one thread")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    done = existing(options.output)
    tasks = [task for task in tasks_of(options) if task.key() not in done]
    print(f"{len(tasks)} rows to compute, into {options.output.name}", file=sys.stderr)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with options.output.open("a", newline="") as file, multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        for task, row in pool.imap_unordered(row_of, tasks):
            name = " ".join(map(str, task.key()[:5]))
            if isinstance(row, str):
                print(f"{name}: no row: {row}", file=sys.stderr, flush=True)
                continue
            writer.writerow(row)
            file.flush()
            seconds = f"{row['training_cpu_s']} + {row['reconstruction_cpu_s']} s"
            print(f"{name}: {row['phase_rmse']} rad, {seconds}", file=sys.stderr, flush=True)
        pool.close()
        pool.join()


if __name__ == "__main__":
    main()
