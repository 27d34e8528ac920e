"""The study report as one self-contained HTML page.

Belongs here: what the page is made of. Does not belong here: numbers (``summary``), figures (``plots``, ``tiles``,
``figures``), Markdown (``markdown``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fly64_assets.evaluation.report import numbers
from fly64_assets.evaluation.report.inline import data_uri
from fly64_assets.evaluation.report.summary import JUDGED_SPLIT, SHOWN_METRICS
from fly64_assets.evaluation.report.tiles import QUANTITIES
from fly64_assets.evaluation.scores.compare import FLAT, TRUTH
from fly64_assets.physics.scan import SPLITS

UNITS: Final = {
    "phase rmse": "rad",
    "phase psnr": "dB",
    "phase frc_05": "px",
    "phase frc_half_bit": "px",
    "complex nll_excess": "per frame",
}


def render_report(summary: Mapping[str, Any], figures: Mapping[str, bytes]) -> str:
    """The page as HTML: no script, no reference to another file or host.

    Parameters
    ----------
    summary : mapping
        From :func:`~fly64_assets.evaluation.report.summary.study_summary`.
    figures : mapping of str to bytes
        PNG by ``DOSE/VIEW/SPLIT`` (the cell's figure), ``DOSE/VIEW/SPLIT/limit`` (the bound as a map) and
        ``DOSE/VIEW/SPLIT/ARM/QUANTITY`` (tiles of the matrix), and those of
        :func:`~fly64_assets.evaluation.report.plots.study_plots`; missing ones are left out.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("fly64_assets.evaluation.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "figure": numbers.number,
        "share": numbers.share,
        "metric": numbers.metric,
        "bytes": numbers.megabytes,
    }
    environment.globals["spread"] = numbers.metric_with_spread
    return environment.get_template("report.html.j2").render(
        summary=summary,
        cells={(cell["dose"], cell["view"]): cell for cell in summary["cells"]},
        splits=SPLITS,
        judged=JUDGED_SPLIT,
        metrics=[" ".join(entry) for entry in SHOWN_METRICS],
        units=UNITS,
        flat=FLAT,
        truth=TRUTH,
        quantities=QUANTITIES,
        pictures={name: data_uri(png, lossless=name.startswith("study/")) for name, png in figures.items()},
    )
