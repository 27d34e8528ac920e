"""The figure of README.md: phase error of every method against dose in the demo, with the wanted error.

Where a curve crosses the line stands the number of photons per frame that the method needs, as in the table of the same
page. It is drawn from ``contest.csv`` and ``pretrained.csv`` in ``docs/explanation/results``, means over their seeds,
with the standard deviation between them as bars.

Usage: python benchmarks/answer_figure.py [FILE]
"""

import statistics
import sys
from pathlib import Path

from matplotlib.figure import Figure
from table_rows import ANSWERED, DOSES, ROOT, TARGET_RAD, VIEWS, all_methods

from fly64_assets.evaluation.report.figures import method_style
from fly64_assets.evaluation.scores.dose_needed import photons_for

FILE = ROOT / "docs" / "images" / "answer.png"
TITLES = {
    "baseline": "full scan: neighbouring probes overlap",
    "dense": "dense: probes hardly touch",
    "sparse": "sparse: gaps",
}


def main() -> None:
    contest = all_methods()
    figure = Figure(figsize=(10.5, 3.4), layout="constrained")
    panels = figure.subplots(1, len(VIEWS), sharey=True)
    for axis, view in zip(panels, VIEWS, strict=True):
        for method in ANSWERED:
            found = [list(contest.values(("demo", view, dose), method).values()) for dose in DOSES]
            errors = [statistics.mean(values) for values in found]
            style = method_style(ANSWERED, method)
            spread = [statistics.stdev(values) for values in found]
            axis.errorbar(DOSES, errors, yerr=spread, label=method, capsize=3, **style)
            sign, photons = photons_for(dict(zip(DOSES, errors, strict=True)), TARGET_RAD)
            if not sign:
                axis.plot([photons] * 2, [TARGET_RAD, 0.022], ":", color=style["color"], linewidth=1)
                text = f"{float(f'{photons:.2g}'):,.0f}"
                axis.text(photons, 0.0225, text, rotation=90, color=style["color"], fontsize=8, ha="right", va="bottom")
        axis.axhline(TARGET_RAD, color="0.3", linewidth=1)
        axis.set(xscale="log", yscale="log", xlabel="photons per frame", ylim=(0.022, 0.3))
        axis.set_title(TITLES[view], fontsize=9)
        axis.grid(True, which="both", alpha=0.2)
    panels[0].set_ylabel("phase error [rad]")
    panels[0].text(DOSES[-1], TARGET_RAD * 1.04, f"{TARGET_RAD:g} rad", ha="right", fontsize=8, color="0.3")
    panels[0].set_yticks([0.03, 0.05, 0.1, 0.2, 0.3], ["0.03", "0.05", "0.1", "0.2", "0.3"])
    panels[0].set_yticks([], minor=True)
    panels[-1].legend(fontsize=8)
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    figure.savefig(target, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
