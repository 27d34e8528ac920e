"""The study report as one self-contained HTML page.

Belongs here: what the page is made of, and how its pictures are embedded. Does not belong here: numbers (``summary``),
figures (``plots``, ``figures``), Markdown (``markdown``).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any, Final

from fly64_assets.evaluation.report.figures import QUANTITIES
from fly64_assets.evaluation.report.markdown import NO_VALUE, SPLIT_TITLES, number, share
from fly64_assets.evaluation.report.summary import SHOWN_METRICS
from fly64_assets.evaluation.scores.compare import JUDGED_SPLIT, TRUTH, UNIFORM
from fly64_assets.evaluation.scores.verdicts import VERDICT_TEXTS
from fly64_assets.physics.scan import SPLITS

UNITS: Final = {
    "phase rmse": "rad",
    "phase psnr": "dB",
    "phase frc_05": "px",
    "phase frc_half_bit": "px",
    "complex nll_excess": "per frame",
}

QUALITY: Final = 80
"""Of lossy WebP. Noise, which fills the pictures of objects, takes four times less than as PNG; text stays sharp."""


def render_report(summary: Mapping[str, Any], figures: Mapping[str, bytes]) -> str:
    """The page as HTML: no script, no reference to another file or host.

    Parameters
    ----------
    summary : mapping
        From :func:`~fly64_assets.evaluation.report.summary.study_summary`.
    figures : mapping of str to bytes
        PNG by ``DOSE/VIEW/NAME`` with the NAME that
        :func:`~fly64_assets.evaluation.report.figures.picture_name` gives to the files of a cell, and those of
        :func:`~fly64_assets.evaluation.report.plots.study_plots`; missing ones are left out.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("fly64_assets.evaluation.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"figure": number, "share": share, "metric": _metric, "bytes": _megabytes}
    environment.globals["spread"] = _metric_with_spread
    return environment.get_template("report.html.j2").render(
        summary=summary,
        cells={(cell["dose"], cell["view"]): cell for cell in summary["cells"]},
        splits=SPLITS,
        split_titles=SPLIT_TITLES,
        judged=JUDGED_SPLIT,
        metrics=[" ".join(entry) for entry in SHOWN_METRICS],
        units=UNITS,
        uniform=UNIFORM,
        truth=TRUTH,
        names={UNIFORM: "uniform object"},
        verdicts=VERDICT_TEXTS,
        quantities=QUANTITIES,
        pictures={name: data_uri(png, lossless=name.startswith("study/")) for name, png in figures.items()},
    )


def data_uri(png: bytes, *, lossless: bool) -> str:
    """A PNG as a WebP data URI, to be embedded in the page; ``lossless`` for line drawings."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        # No transparency: figures have a white background.
        opaque = picture.convert("RGB")
    opaque.save(buffer, "WEBP", lossless=lossless, quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _metric(value: float | None) -> str:
    """Four significant digits, whole numbers from 1000 on."""
    return NO_VALUE if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _metric_with_spread(value: float | None, spread: float | None) -> str:
    return _metric(value) if value is None or spread is None else f"{_metric(value)} ± {spread:.2g}"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:,.2f} MB"
