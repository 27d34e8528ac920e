"""What Dagster and the code location cost beside the work: loading them, and a run of one step.

    OMP_NUM_THREADS=1 python benchmarks/overhead.py [--quick] [--json]

Processor seconds, the least of a few rounds. The peer of the code location is Dagster alone; that of a step, which
verifies its inputs, writes under its lock and records its sidecars, is a step of Dagster's that does nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
from measure import entry, show

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fixtures.graph import SMALL, make_graph


def load(module: str) -> float:
    """Processor seconds of a process that loads a module."""
    before = os.times()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def least(work: Callable[[], object], rounds: int) -> float:
    """Processor seconds of this process for one call."""
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


@dg.asset
def empty() -> None:
    """Does nothing."""


def step(rounds: int) -> dict[str, Any]:
    """A run of the step ``overlap_view`` on an instance in a folder, against a run of an empty step on the same."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.local_temp(f"{folder}") as instance:
        graph = make_graph(Path(folder), instance, SMALL)
        for asset, partition in (("base_dataset", None), ("simulated_dataset", "1000")):
            assert graph.run(asset, partition=partition).success
        ours = least(lambda: graph.run("overlap_view", partition="1000|dense"), rounds)
        peer = least(lambda: dg.materialize([empty], instance=instance), rounds)
    return entry("run of one step", ours, peer, unit="s", peer="an empty step", n=rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three rounds instead of ten")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rounds = 3 if options.quick else 10
    times = [(load("fly64_assets.definitions"), load("dagster")) for _ in range(rounds)]
    ours, peer = (min(column) for column in zip(*times, strict=True))
    location = entry("load of the code location", ours, peer, unit="s", peer="dagster alone", n=rounds)
    show([location, step(rounds)], as_json=options.json)


if __name__ == "__main__":
    main()
