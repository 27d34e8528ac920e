"""pty-chi's engines and this project's methods on the cells of export.py, with the settings of the design.

This project's methods run on whole pixels only: what they reach at the study's positions is in contest.csv, from
benchmarks/contest.py. `pinn` is trained on the other half of the cell; all others see what the file holds and no more.

Usage: PYTHONPATH=benchmarks OMP_NUM_THREADS=1 python benchmarks/peers/run_own.py [--study NAME-or-FILE]
       [--cells VIEW:DOSE ...] [--methods lsqml tv_ml pinn ...] FOLDER
"""

import argparse
import time
from pathlib import Path

import contest
import torch
from cells import Cell, design_of, silent
from export import CELLS, WHOLE, cells_of
from frames_file import Run, write_run

from fly64_assets.engines.execution import Execution
from fly64_assets.lsqml.engine import reconstruct
from fly64_assets.lsqml.options import ENGINES
from fly64_assets.study.design import StudyDesign

STUDY = ("lsqml", "tv_ml", "pinn")
PTYCHI = tuple(f"pty-chi {engine}" for engine in ENGINES if engine != "lsqml")


def result_of(method: str, cell: Cell, design: StudyDesign) -> contest.Result:
    seed = design.repeat_seeds(1)["grouping"]
    if method in STUDY:
        return contest.METHODS[method][0](cell, design, seed, Execution())
    engine = method.removeprefix("pty-chi ")
    found = reconstruct(cell.test, design.lsqml, Execution(), seed, silent, engine=engine)
    return contest.Result(found.object, epochs=found.kept_epoch, stop_reason=found.stop_reason)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="demo")
    parser.add_argument("--cells", nargs="+", default=list(CELLS), metavar="VIEW:DOSE")
    parser.add_argument("--methods", nargs="+", choices=(*STUDY, *PTYCHI), default=[*STUDY, *PTYCHI])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    torch.set_num_threads(1)
    design = design_of(options.study)
    for name, cell in cells_of(design, options.cells):
        contest.load_library(cell.test.patch_size)
        for method in options.methods:
            if method in STUDY and not name.endswith(WHOLE):
                continue
            start = time.process_time()
            found = result_of(method, cell, design)
            seconds = time.process_time() - start
            weight = f"TV weight {found.tv_weight:g}" if found.tv_weight else ""
            write_run(options.folder, Run(name, method, weight, [int(found.epochs)], [seconds], found.object[None]))
            print(f"{name}, {method}: {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
