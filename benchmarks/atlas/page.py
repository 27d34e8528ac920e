"""The atlas from its table: who wins where, with significance, the law of every method, and figures.

Reads the CSV of `fly64 campaign benchmarks/atlas/campaign.yaml table --out FILE` and writes Markdown between the marks
of a page, or prints it, and two figures. Hours are sums of the table's columns of seconds.

With --install the table becomes that of the package, on which `fly64 advise` rests, and everything that follows from it
is written anew: the page of the results, its figures, and the answers in the how-to page of `fly64 advise`.

Usage: python benchmarks/atlas/page.py TABLE.csv [--page PAGE.md] [--figures FOLDER] [--install]
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fly64_assets.cli.main import main as main_command
from fly64_assets.evaluation.atlas.cells import UNIFORM, Row, by_sample, geometric_mean, methods_of, read_rows
from fly64_assets.evaluation.atlas.contests import Contest, contests, independent, paired
from fly64_assets.evaluation.atlas.forecast import forecast, judge
from fly64_assets.evaluation.atlas.law import OBJECT_TERMS, Quantity, fit_law

ROOT = Path(__file__).resolve().parents[2]
PACKAGED = ROOT / "fly64_assets" / "evaluation" / "atlas" / "atlas.csv"
PAGE, FIGURES = ROOT / "docs" / "explanation" / "results" / "atlas.md", ROOT / "docs" / "images"
HOW_TO = ROOT / "docs" / "how-to" / "advise.md"
EXAMPLE = re.compile(r"```\n(?P<commands>(?:fly64 [^`]*\n)?fly64 advise [^`]*\n)```\n\n```text\n(?s:.*?)```\n")
FIRST, LAST = "<!-- atlas: first line -->\n", "<!-- atlas: last line -->\n"
QUARTILES = (0.25, 0.5, 0.75)
NETWORKS = ("pretrained", "pinn")
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


def network_over_best(rows: Sequence[Row]) -> Iterator[str]:
    """A network's error over that of the best iterative method of each sample."""
    for network, dose in itertools.product(NETWORKS, sorted({row.dose for row in rows})):
        own = [row for row in rows if row.dose == dose]
        best = []
        for found in by_sample(own).values():
            others = [row for name, row in found.items() if name not in (*NETWORKS, UNIFORM)]
            if network in found and others:
                best.append((found[network], min(others, key=lambda row: row.error)))
        if best:
            ratio, low, high, p = paired(pairs := independent(best))
            yield (
                f"- {geometric_mean([row.photons for row in own]):.3g} photons per pixel: `{network}` has {ratio:.3f} "
                f"({low:.3f}–{high:.3f}) of the error of the best iterative method of each sample, geometric mean over "
                f"{len(best)} samples (p = {p:.2g} with {len(pairs)} independent pairs, not corrected)."
            )


def coefficients(rows: Sequence[Row], quantity: Quantity) -> str:
    """Coefficients of the law of each method."""
    lines = []
    for method in methods_of(rows):
        try:
            law = fit_law(rows, method, quantity)
        except ValueError as error:
            lines.append([f"`{method}`", str(error), *[""] * 11])
            continue
        photon, geometry = law.photon, law.geometry
        lines.append(
            [
                f"`{method}`",
                *(f"{photon[name]:+.2f}" for name in ("log_photons_apart", "log_photons_whole", "overlap")),
                *(f"{photon[name]:+.2f}" for name in OBJECT_TERMS),
                f"{geometry['overlap']:+.2f}",
                *(f"{geometry[name]:+.2f}" for name in OBJECT_TERMS),
                f"{np.exp(law.ceiling):.2f}" + (" px" if quantity == "resolution" else ""),
                f"{100 * np.expm1(law.spread):.0f} %",
            ]
        )
    terms = ["log spread", "log bandwidth", "sparsity"]
    head = [
        "method",
        "b, overlap 0",
        "b, overlap 1",
        "overlap",
        *terms,
        "geometry: overlap",
        *terms,
        "saturation",
        "fit",
    ]
    return table(head, lines)


def judgements(rows: Sequence[Row]) -> str:
    """How well the law and its intervals hold on kinds that they were not made from."""
    lines = []
    for quantity, words in (("error", "phase error"), ("resolution", "resolution")):
        for method in methods_of(rows):
            try:
                judged = judge(rows, method, quantity)
            except ValueError as error:
                lines.append([words, f"`{method}`", f"{error}", *[""] * 5])
                continue
            half_width = forecast(rows, method, quantity).half_width
            worst = max(judged.kinds, key=judged.kinds.__getitem__)
            lines.append(
                [
                    words,
                    f"`{method}`",
                    str(judged.rows),
                    f"{100 * judged.error:.0f} %",
                    f"{worst} ({100 * np.expm1(judged.kinds[worst]):.0f} %)",
                    f"{100 * judged.coverage:.0f} % ({100 * min(judged.covered.values()):.0f}"
                    f"–{100 * max(judged.covered.values()):.0f} %)",
                    f"{100 * judged.quantiles:.0f} %",
                    f"{np.exp(half_width):.2f}",
                ]
            )
    head = ["", "method", "rows", "error of prediction", "worst kind", "in the 80 % interval (by kind)"]
    return table([*head, "in quantiles of rows", "interval: divided and multiplied by"], lines)


def hours_of_stages(rows: Sequence[Row]) -> str:
    """Hours of the stages of the first seed, which a campaign has made; those of `atlas_seeds.py` are of no stage."""
    seconds = dict.fromkeys(methods_of(rows), 0.0)
    first = min(row.values.get("seed", "") for row in rows)
    for row in rows:
        if row.method in seconds and row.values.get("seed", "") == first:
            seconds[row.method] += sum(float(row.values[name] or 0) for name in ("seconds", "training_seconds"))
    words = ", ".join(f"`{method}` {value / 3600:.2f} h" for method, value in seconds.items())
    return f"Hours by the clock of the methods' stages, first seed: {words}."


def error_figure(rows: Sequence[Row]) -> Figure:
    """Phase error over photons per pixel for every view and method, with the spread over samples."""
    views, methods = list(dict.fromkeys(row.view for row in rows)), methods_of(rows)
    figure = Figure(figsize=(3.2 * len(views), 3.4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(views), sharey=True))
    lines = {}
    for axis, view in zip(axes, views, strict=True):
        for number, method in enumerate((*methods, UNIFORM)):
            own = [row for row in rows if (row.view, row.method) == (view, method)]
            if not own:
                continue
            cells = [[row for row in own if row.dose == dose] for dose in doses(own)]
            x = [geometric_mean([row.photons for row in cell]) for cell in cells]
            low, middle, high = np.array([np.quantile([row.error for row in cell], QUARTILES) for cell in cells]).T
            label = "uniform object" if method == UNIFORM else method
            style, colour = "--" if method == UNIFORM else "o-", f"C{number}"
            (lines[label],) = axis.plot(x, middle, style, color=colour, label=label)
            axis.fill_between(x, low, high, color=colour, alpha=0.15)
        overlap = 100 * mean_of([row for row in rows if row.view == view], "overlap")
        axis.set(xscale="log", yscale="log", xlabel="photons per object pixel")
        axis.set_title(f"{view}: overlap {overlap:.0f} %")
    axes[0].set_ylabel("phase RMSE [rad], median and quartiles")
    axes[0].legend(handles=lines.values(), fontsize="small")
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
    parts += ["### The law of the phase error\n", coefficients(held_out, "error")]
    parts += ["### The law of the resolution\n", coefficients(held_out, "resolution")]
    parts += ["### On kinds left out\n", judgements(held_out), hours_of_stages(held_out or rows) + "\n"]
    return "\n".join(parts)


def filled(page: str, rows: Sequence[Row]) -> str:
    """A page with the tables between its marks."""
    return re.sub(f"{FIRST}.*{LAST}", lambda _: f"{FIRST}\n{text_of(rows)}\n{LAST}", page, flags=re.S)


def answered(page: str) -> str:
    """A page with the output of every block that ends with `fly64 advise` in the block after it; files are made in a
    folder that is thrown away."""

    def answer(match: re.Match[str]) -> str:
        output = ""
        for line in match["commands"].replace("\\\n", " ").splitlines():
            words = shlex.split(line)
            output = CliRunner().invoke(main_command, words[1:], catch_exceptions=False).output
        return f"```\n{match['commands']}```\n\n```text\n{output}```\n"

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        return EXAMPLE.sub(answer, page)


def install(source: Path) -> None:
    """Put a table into the package, and write what follows from it."""
    PACKAGED.write_bytes(source.read_bytes())
    subprocess.run([sys.executable, __file__, PACKAGED, "--page", PAGE, "--figures", FIGURES], check=True)
    HOW_TO.write_text(answered(HOW_TO.read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--page", type=Path, help="a page with the marks; default: print")
    parser.add_argument("--figures", type=Path, help="folder for atlas_errors.png and atlas_winners.png")
    parser.add_argument("--install", action="store_true", help="make it the table of the package, with all pages")
    options = parser.parse_args()
    try:
        with options.table.open(newline="") as file:
            rows = read_rows(file)
    except (OSError, ValueError) as error:
        parser.error(f"{options.table}: cannot be read as the table of a campaign: {error}")
    if not rows:
        parser.error(f"{options.table}: no row of it has an error; is the campaign done?")
    if options.install:
        install(options.table)
        return
    if options.page is None:
        print(text_of(rows))
    else:
        options.page.write_text(filled(options.page.read_text(), rows))
    if options.figures is not None:
        held_out = [row for row in rows if not row.tunable] or rows
        error_figure(held_out).savefig(options.figures / "atlas_errors.png", dpi=110)
        winner_figure(contests(held_out), held_out).savefig(options.figures / "atlas_winners.png", dpi=110)


if __name__ == "__main__":
    main()
