"""The atlas from its table: who wins where, with significance, the law of every method, and figures.

Reads the CSV of `fly64 campaign benchmarks/atlas/campaign.yaml table --out FILE` and writes Markdown between the marks
of a page, or prints it, and two figures. Seconds of processor time are sums of the table's columns.

Usage: python benchmarks/atlas/page.py TABLE.csv [--page docs/explanation/results/atlas.md] [--figures docs/images]
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fly64_assets.evaluation.atlas.cells import UNIFORM, Row, by_sample, geometric_mean, methods_of, read_rows
from fly64_assets.evaluation.atlas.contests import Contest, contests, paired
from fly64_assets.evaluation.atlas.law import fit_law, judge_law

FIRST, LAST = "<!-- atlas: first line -->\n", "<!-- atlas: last line -->\n"
QUARTILES = (0.25, 0.5, 0.75)
GROUPS = {False: "kinds that only results are for", True: "kinds on which settings were chosen"}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def mean_of(rows: Sequence[Row], value: str) -> float:
    return float(np.mean([getattr(row, value) for row in rows]))


def map_of_winners(rows: Sequence[Row]) -> str:
    """One row for each cell: errors, the best method, its lead, and whether it is significant."""
    methods, found = methods_of(rows), contests(rows)
    lines = []
    for contest in found:
        cell = [row for row in rows if (row.dose, row.view) == (contest.dose, contest.view)]
        lines.append(
            [
                f"{geometric_mean([row.photons for row in cell]):.3g}",
                f"{100 * mean_of(cell, 'overlap'):.0f} %",
                *(f"{contest.errors[method]:.4f}" for method in methods),
                f"{contest.uniform:.3f}",
                f"`{contest.winner}`" if contest.winner else "–",
                f"{contest.ratio:.2f} ({contest.low:.2f}–{contest.high:.2f})",
                f"{contest.p_holm:.2g}",
                str(contest.samples),
            ]
        )
    head = ["photons / px", "overlap", *(f"`{method}`" for method in methods), "uniform object", "winner"]
    return table([*head, "best / second (95 %)", "p (Holm)", "samples"], lines)


def network_over_best(rows: Sequence[Row], network: str = "pinn") -> Iterator[str]:
    """The network's error over that of the best other method of each sample."""
    for dose in sorted({row.dose for row in rows}):
        pairs = []
        for found in by_sample([row for row in rows if row.dose == dose]).values():
            others = [row.error for name, row in found.items() if name not in (network, UNIFORM)]
            if network in found and others:
                pairs.append((found[network].error, min(others)))
        if pairs:
            ratio, low, high, p = paired(pairs)
            yield (
                f"- dose {dose:,}: `{network}` has {ratio:.3f} ({low:.3f}–{high:.3f}) of the error of the best other "
                f"method of each sample, geometric mean over {len(pairs)} samples (p = {p:.2g}, not corrected)."
            )


def laws(rows: Sequence[Row]) -> str:
    """Coefficients of the law of each method, and how well it predicts kinds that it has not seen."""
    lines = []
    for method in methods_of(rows):
        law, judged = fit_law(rows, method), judge_law(rows, method)
        photon, worst = law.photon, max(judged.kinds, key=judged.kinds.__getitem__)
        lines.append(
            [
                f"`{method}`",
                *(f"{photon[name]:+.2f}" for name in ("log_photons", "overlap", "log_photons_overlap")),
                *(f"{photon[name]:+.2f}" for name in ("log_bandwidth", "log_phase_range", "gradient_sparsity")),
                "yes" if law.geometry else "no",
                f"{100 * np.expm1(law.spread):.0f} %",
                f"{100 * judged.error:.0f} %",
                f"{100 * judged.coverage:.0f} %",
                f"{worst} ({100 * np.expm1(judged.kinds[worst]):.0f} %)",
            ]
        )
    head = ["method", "log n", "overlap", "log n x overlap", "log bandwidth", "log phase range", "gradient sparsity"]
    return table([*head, "second regime", "fit", "left-out kinds", "in the 80 % interval", "worst kind"], lines)


def processor_hours(rows: Sequence[Row]) -> str:
    seconds = dict.fromkeys(methods_of(rows), 0.0)
    for row in rows:
        if row.method in seconds:
            seconds[row.method] += sum(float(row.values[name] or 0) for name in ("seconds", "training_seconds"))
    words = ", ".join(f"`{method}` {value / 3600:.2f} h" for method, value in seconds.items())
    return f"Hours by the clock of the methods' stages: {words}."


def error_figure(rows: Sequence[Row]) -> Figure:
    """Phase error over photons per pixel for every view and method, with the spread over samples."""
    views, methods = list(dict.fromkeys(row.view for row in rows)), methods_of(rows)
    figure = Figure(figsize=(3.2 * len(views), 3.4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(views), sharey=True))
    for axis, view in zip(axes, views, strict=True):
        for method in (*methods, UNIFORM):
            own = [row for row in rows if (row.view, row.method) == (view, method)]
            cells = [[row for row in own if row.dose == dose] for dose in doses(own)]
            x = [geometric_mean([row.photons for row in cell]) for cell in cells]
            low, middle, high = np.array([np.quantile([row.error for row in cell], QUARTILES) for cell in cells]).T
            label = "uniform object" if method == UNIFORM else method
            (drawn,) = axis.plot(x, middle, "--" if method == UNIFORM else "o-", label=label)
            axis.fill_between(x, low, high, color=drawn.get_color(), alpha=0.15)
        overlap = 100 * mean_of([row for row in rows if row.view == view], "overlap")
        axis.set(xscale="log", yscale="log", xlabel="photons per object pixel")
        axis.set_title(f"{view}: overlap {overlap:.0f} %")
    axes[0].set_ylabel("phase RMSE [rad], median and quartiles")
    axes[0].legend(fontsize="small")
    return figure


def winner_figure(found: Sequence[Contest], rows: Sequence[Row]) -> Figure:
    """The best method of every cell; the colour is full where its lead is significant."""
    methods, views = methods_of(rows), list(dict.fromkeys(row.view for row in rows))
    figure = Figure(figsize=(1.5 * len(doses(rows)) + 2, 0.9 * len(views) + 1.4), layout="constrained")
    axis = figure.subplots()
    for contest in found:
        x, y = doses(rows).index(contest.dose), views.index(contest.view)
        axis.add_patch(
            Rectangle(
                (x - 0.48, y - 0.48),
                0.96,
                0.96,
                color=f"C{methods.index(contest.best)}",
                alpha=0.8 if contest.winner else 0.25,
            )
        )
        axis.text(x, y, f"{contest.best}\n{contest.ratio:.2f}", ha="center", va="center", fontsize="small")
    photons = [geometric_mean([row.photons for row in rows if row.dose == dose]) for dose in doses(rows)]
    overlaps = [100 * mean_of([row for row in rows if row.view == view], "overlap") for view in views]
    axis.set(xlim=(-0.6, len(photons) - 0.4), ylim=(len(views) - 0.4, -0.6), xlabel="photons per object pixel")
    axis.set_xticks(range(len(photons)), [f"{value:.3g}" for value in photons])
    axis.set_yticks(range(len(views)), [f"{value:.0f} %" for value in overlaps])
    axis.set_ylabel("overlap of nearest probes")
    axis.set_title("best method, and its error over the second best; full colour where significant")
    return figure


def doses(rows: Sequence[Row]) -> list[int]:
    return sorted({row.dose for row in rows})


def text_of(rows: Sequence[Row]) -> str:
    parts = []
    for tunable, title in GROUPS.items():
        own = [row for row in rows if row.tunable == tunable]
        if own:
            kinds = ", ".join(sorted({row.kind for row in own}))
            parts += [f"### Who wins: {title}\n", f"{kinds}.\n", map_of_winners(own)]
            parts.append("\n".join(network_over_best(own)) + "\n")
    held_out = [row for row in rows if not row.tunable]
    parts += ["### The law\n", laws(held_out), processor_hours(rows) + "\n"]
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--page", type=Path, help="a page with the marks; default: print")
    parser.add_argument("--figures", type=Path, help="folder for atlas_errors.png and atlas_winners.png")
    options = parser.parse_args()
    with options.table.open(newline="") as file:
        rows = read_rows(file)
    text = text_of(rows)
    if options.page is None:
        print(text)
    else:
        old = options.page.read_text()
        new = re.sub(f"{FIRST}.*{LAST}", lambda _: f"{FIRST}\n{text}\n{LAST}", old, flags=re.S)
        options.page.write_text(new)
    if options.figures is not None:
        held_out = [row for row in rows if not row.tunable] or rows
        error_figure(held_out).savefig(options.figures / "atlas_errors.png", dpi=110)
        winner_figure(contests(held_out), held_out).savefig(options.figures / "atlas_winners.png", dpi=110)


if __name__ == "__main__":
    main()
