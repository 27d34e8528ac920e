"""Everything in this folder that is timed beside a floor or a peer: one JSON file, and a page with how cost grows.

    make bench            # about an hour on two free cores; writes docs/explanation/results/benchmarks.md and its plots
    make bench QUICK=1    # minutes; writes bench/ only

Each script measures in a process of its own, with one thread, and prints entries as ``measure.entry`` describes them.
``--collect FOLDER`` takes what an earlier run left there instead of measuring again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from measure import machine

HERE: Final = Path(__file__).parent
PAGE: Final = HERE.parent / "docs/explanation/results/benchmarks.md"
IMAGES: Final = HERE.parent / "docs/images"


@dataclass(frozen=True)
class Subject:
    """One script: its title on the page, its further arguments, and the peer of entries that name none."""

    title: str
    script: str
    arguments: tuple[str, ...] = ()
    peer: str = ""


SUBJECTS: Final = (
    Subject("How cost grows", "growth.py"),
    Subject("Memory", "memory.py"),
    Subject("Simulation", "simulation.py", peer="FFT and Poisson draws; ratio: floor over ours"),
    Subject("Contract check", "contract.py", peer="read and hash; ratio: floor over ours"),
    Subject("Dagster and the code location", "overhead.py"),
    Subject("Hundreds of cells", "many_cells.py"),
    Subject("LSQML", "lsqml.py", ("--no-stopping",), peer="pty-chi's own minibatch; ratio: times faster"),
    Subject("Network", "pinn.py"),
)
DRAWN: Final = {
    "bench_growth": ("simulation: against FFT and Poisson", "view of 70 % overlap", "overlap metrics", "LSQML batches"),
    "bench_batches": ("LSQML batches: against pty-chi",),
}
"""Plots by name, each with the series of entries that it shows."""


def run(subject: Subject, folder: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Entries of one subject, which are left in the folder as well."""
    command = [
        sys.executable,
        str(HERE / subject.script),
        "--json",
        *subject.arguments,
        *(["--quick"] if quick else []),
    ]
    print(f"{subject.title}: {' '.join(command[1:])}", flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    entries = entries_of(output)
    place(folder, subject).write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    return entries


def entries_of(output: str) -> list[dict[str, Any]]:
    """What a script printed: one entry, or a list of them."""
    document = json.loads(output)
    return document if isinstance(document, list) else [document]


def place(folder: Path, subject: Subject) -> Path:
    """Where the entries of a subject are."""
    return folder / f"{Path(subject.script).stem}.json"


def table(entries: Sequence[Mapping[str, Any]], peer: str) -> list[str]:
    """Rows of one subject, in Markdown."""
    rows = ["| what | n | ours | floor or peer | ratio | of what |", "|---|---|---|---|---|---|"]
    for one in entries:
        count = one.get("size") or one.get("frames") or ""
        ours, other, ratio = (figure(one[key]) for key in ("value", "floor_or_peer", "ratio"))
        numbers = f"{ours} {one['unit']} | {other} | {ratio}"
        number = f"{count:,}" if count else ""
        rows.append(f"| {one['name']} | {number} | {numbers} | {one.get('peer') or peer} |")
    return rows


def figure(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def draw(name: str, series: Sequence[str], entries: Sequence[Mapping[str, Any]], folder: Path) -> bool:
    """Seconds against size of some series and their peers, as an SVG; False where there is nothing to draw."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = name
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    drawn = False
    for number, title in enumerate(series):
        points = [one for one in entries if one["name"] == title]
        if len(points) < 2:
            continue
        drawn = True
        sizes = [one["size"] for one in points]
        for key, style, label in (("value", "o-", title), ("floor_or_peer", "x:", points[0]["peer"])):
            seconds = [one[key] * one["size"] / 1e6 for one in points]
            axes.loglog(sizes, seconds, style, color=f"C{number}", label=label, markersize=5)
    axes.set_xlabel("frames or positions")
    axes.set_ylabel("processor seconds, one thread")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize=7)
    if drawn:
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)
    return drawn


def page(found: Mapping[Subject, Sequence[Mapping[str, Any]]], images: Path, where: str) -> str:
    """The page over all subjects."""
    everything = [one for entries in found.values() for one in entries]
    loads = [one["load"] for one in everything if "load" in one]
    busy = f" The load average was {min(loads)} to {max(loads)} during the measurement." if loads else ""
    lines = [
        "# What it costs in time",
        "",
        "Each value stands beside a floor (the least that the work can cost) or a peer, measured in the same run, in",
        "turn; a ratio is ours over the other unless the last column says otherwise. Seconds depend on the machine and",
        "on what else it does, ratios hardly. `benchmarks/bench.py` writes this page; `make bench` measures it anew.",
        "",
        f"Measured on {machine()}; one thread each.{busy}",
        "`make bench QUICK=1` measures less, in minutes, and writes `bench/`; the column n says how large each was.",
        "What follows for a study of yours: [the sizing guide](../../how-to/sizing.md).",
        "",
    ]
    for subject, entries in found.items():
        lines += [f"## {subject.title}", "", f"`benchmarks/{subject.script}`", "", *table(entries, subject.peer), ""]
    lines += ["## Plots", ""]
    for name, series in DRAWN.items():
        if draw(name, series, everything, images):
            lines += [f"![{', '.join(series)}]({where}/{name}.svg)", ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="every script with --quick; the documentation stays as it is"
    )
    parser.add_argument("--folder", type=Path, default=Path("bench"), help="where the JSON files go")
    parser.add_argument(
        "--collect", action="store_true", help="take the entries that are in the folder; measure nothing"
    )
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for subject in SUBJECTS:
        if not options.collect:
            found[subject] = run(subject, options.folder, quick=options.quick)
        elif place(options.folder, subject).is_file():
            found[subject] = entries_of(place(options.folder, subject).read_text(encoding="utf-8"))
    everything = [one | {"subject": subject.title} for subject, entries in found.items() for one in entries]
    (options.folder / "benchmarks.json").write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")
    if options.quick:
        (options.folder / "benchmarks.md").write_text(page(found, options.folder, "."), encoding="utf-8")
    else:
        PAGE.write_text(page(found, IMAGES, "../../images"), encoding="utf-8")
    print(f"{len(everything)} entries in {options.folder / 'benchmarks.json'}")


if __name__ == "__main__":
    main()
