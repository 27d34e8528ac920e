"""The report of a measured study as self-contained HTML pages and as Markdown.

Does not belong here: the numbers (``summary``), what is said about the calibration (``calibration``), figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fly64_assets.evaluation.report.figures import QUANTITIES
from fly64_assets.evaluation.report.glossary import GLOSSARY
from fly64_assets.evaluation.report.measured.calibration import calibration_lines, probe_lines
from fly64_assets.evaluation.report.measured.plots import HALVES
from fly64_assets.evaluation.report.measured.sentences import BETTER, COMPLEMENT, LEFT_OUT, score_text
from fly64_assets.evaluation.report.measured.summary import SHOWN_METRICS
from fly64_assets.evaluation.report.outside import MARK, is_outside
from fly64_assets.evaluation.report.page import (
    NO_VALUE,
    SPLIT_TITLES,
    number,
    record_blocks,
    render_pages,
    share,
    table,
)
from fly64_assets.evaluation.scores.compare import REFERENCE, UNIFORM
from fly64_assets.evaluation.scores.verdicts import VERDICT_TEXTS
from fly64_assets.physics.scan import JUDGED_SPLIT, SPLITS

RESOLUTION: Final = "complex frc_photons_half_bit"
"""The resolution in the table of a cell."""


def render_measured_report(summary: Mapping[str, Any], figures: Mapping[str, bytes]) -> dict[str, str]:
    """The pages as HTML by file name: no script, no reference to another host, links to files of their folder only.

    ``summary`` is from :func:`~fly64_assets.evaluation.report.measured.summary.measured_summary`; ``figures`` holds
    PNG as for :func:`~fly64_assets.evaluation.report.page.render_report`, those of
    :func:`~fly64_assets.evaluation.report.measured.plots.measured_plots`, and ``study/probe`` and
    ``study/calibration``; missing ones are left out.
    """
    residuals = [f"{cell['dose']}/{cell['view']}/{JUDGED_SPLIT}/residuals" for cell in summary["cells"]]
    return render_pages(
        "measured.html.j2",
        summary,
        figures,
        shown=[REFERENCE, *summary["arms"]],
        reference=REFERENCE,
        quantities=QUANTITIES | {"error": "phase difference to the reference"},
        metrics=SHOWN_METRICS,
        better=BETTER,
        complement=COMPLEMENT,
        left_out=LEFT_OUT,
        resolution=RESOLUTION,
        score_text=score_text,
        halves=HALVES,
        verdicts_by_dose={verdict["dose"]: verdict for verdict in summary["verdicts"]},
        shown_residuals=next((name for name in reversed(residuals) if name in figures), None),
        calibration_lines=calibration_lines(summary["calibration"]),
        probe_lines=probe_lines(summary["probes"]),
        seed_names={"simulation": "thinning"},
        glossary=GLOSSARY,
    )


def render_measured_markdown(summary: Mapping[str, Any]) -> str:
    """The report as Markdown, for terminals and diffs."""
    calibration = summary["calibration"]
    blocks = [
        f"# Study {summary['study']}",
        "\n".join(f"- {verdict['sentence']}" for verdict in summary["verdicts"]),
        summary["meaning"],
        summary["reference_bias"],
        *summary["outside_of_training"],
        summary["seeds"],
    ]
    for split in SPLITS:
        title = f"## Counts kept aside [nats per frame above the reference], {SPLIT_TITLES[split]}"
        blocks += [title, _scores(summary, split, COMPLEMENT, uniform=True)]
        blocks += [f"## Frames left out [nats per frame above the reference], {split} split"]
        blocks += [_scores(summary, split, LEFT_OUT, uniform=True)]
    title = f"## Resolution [px of full period]: half-bit, halves of the photons, {JUDGED_SPLIT} split"
    blocks += [title, _scores(summary, JUDGED_SPLIT, RESOLUTION, uniform=False)]
    blocks += ["Scores that need a true object are not available: measured data."]
    blocks += [f"Overlap of discs, {sentence}." for sentence in summary["overlap_counts"]]
    blocks += ["## Calibration", "\n".join(f"- {name}: {text}" for name, text in calibration_lines(calibration))]
    rows = [list(row) for row in probe_lines(summary["probes"])]
    blocks += ["## Health of the probe", table(["", "first probe", "calibrated probe"], rows)]
    return "\n\n".join([*blocks, *record_blocks(summary)]) + "\n"


def _scores(summary: Mapping[str, Any], split: str, score: str, *, uniform: bool) -> str:
    methods = summary["arms"]
    head = ["photons / frame", "view", "frames", "photons / px", "covered", *methods]
    head += ["uniform object"] if uniform else []
    rows = []
    for cell in summary["cells"]:
        scores = cell["splits"].get(split)
        row = [f"{cell['dose']:,}", cell["view"]]
        if scores is None:
            rows.append([*row, f"no result: {cell['reason']}", *[""] * (len(head) - 3)])
            continue
        row += [str(scores["frames"]), number(scores["photons_per_pixel"]), share(scores["covered_fraction"])]
        names = [*methods, UNIFORM] if uniform else methods
        rows.append([*row, *(_scored(scores, name, score) for name in names)])
    return table(head, rows)


def _scored(scores: Mapping[str, Any], name: str, score: str) -> str:
    result = scores["arms"].get(name)
    if result is None:
        return "missing"
    text = score_text(scores, name, score)
    if text is None:
        return str(result["reason"] or NO_VALUE)
    text += f" {MARK}" if is_outside(scores, name) else ""
    if score == COMPLEMENT and name != UNIFORM and result["verdict"] != BETTER:
        return f"{text} ({VERDICT_TEXTS.get(result['verdict'], 'no verdict')})"
    return text
