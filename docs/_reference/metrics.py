"""Columns of the tables of scores, and every score with what is good."""

from __future__ import annotations

from _reference import table
from fly64_assets.automation.catalogue import MEANINGS
from fly64_assets.evaluation.counts.judge import COUNT_METRICS
from fly64_assets.evaluation.report.summary import TABLE_COLUMNS
from fly64_assets.evaluation.scores.compare import COMPLEX_METRICS, PICTURE_METRICS

HEAD = """# Scores: columns and what is good

`report/study_metrics.csv` has one row for each score of each method, cell, half and repeat; `comparison_metrics.csv` beside a comparison has those of its cell. How scores are
made: [how methods are compared](../explanation/comparison.md), [without a truth](../explanation/measured.md).
"""

SCORES = {
    "rmse": ("rad (phase); the truth's unit (amplitude)", "smaller", "Root mean square error over the evaluated pixels. **The verdict follows that of the phase.** Compare it with the uniform object's."),
    "mae": ("as `rmse`", "smaller", "Mean absolute error; single bad pixels weigh less than in `rmse`."),
    "psnr": ("dB", "larger", "Range of the truth over `rmse`, logarithmic. Says the same as `rmse`."),
    "ssim": ("", "larger, at most 1", "Structural similarity. It rewards the absence of noise: a uniform object's can be larger than that of every method. Never read it without the error."),
    "ms_ssim": ("", "larger, at most 1", "Structural similarity over several scales; the same caution."),
    "correlation": ("", "larger, at most 1", "After the mean is subtracted. Does not see a wrong contrast: read it with `rmse`."),
    "frc_05": ("px per full period", "smaller; 2 is the finest", "Where the Fourier ring correlation with the truth falls below `metrics_config.frc_threshold` (0.5)."),
    "frc_half_bit": ("px per full period", "smaller; 2 is the finest", "Where it falls below the half-bit curve."),
    "efficiency": ("", "no figure of merit", "Photon limit over mean squared error. Below 1: worse than the limit. Above 1: a prior or regularisation dominates, which is not a merit."),
    "nll_excess": ("nats per frame", "near 0", "Negative log-likelihood of the counts that the method was given, less that of the truth. Clearly below 0: the method fits the noise. Clearly above: it misses signal."),
    "complement": ("nats per frame", "smaller", "Measured frames: how badly counts kept aside are predicted, less the same of the reference. **The verdict follows it.**"),
    "complement_error": ("nats per frame", "small beside the difference of two methods", "Standard error of `complement` over frames."),
    "complement_relative": ("", "smaller; 0 is the reference, 1 a uniform object", "`complement` as a part of the distance between the reference and a uniform object. Below 0: better than the reference, which has no prior."),
    "left_out": ("nats per frame", "smaller", "The same for frames that the view left out, with their full counts."),
    "left_out_error": ("nats per frame", "small beside the difference of two methods", "Standard error of `left_out` over frames."),
    "rmse_to_reference": ("rad (phase)", "smaller, but biased", "Distance to the reference. The reference was made by LSQML, so LSQML is favoured."),
    "frc_photons_half_bit": ("px per full period", "smaller", "Resolution at which two reconstructions from halves of the photons agree (half-bit). How far a result can be repeated, not how right it is."),
    "frc_photons_05": ("px per full period", "smaller", "The same at a correlation of 0.5."),
    "frc_frames_half_bit": ("px per full period", "smaller", "Two reconstructions from halves of the frames (half-bit)."),
    "frc_frames_05": ("px per full period", "smaller", "The same at a correlation of 0.5."),
}  # fmt: skip
"""Unit, what is good, and what it says, of every score."""

NOT_IN_COUNTS = {"efficiency", "nll_excess"}


def page() -> str:
    """The whole page; fails where the code has a score or column that is not explained here."""
    scored = dict.fromkeys([*PICTURE_METRICS, *COMPLEX_METRICS, *COUNT_METRICS])
    if missing := set(scored) - set(SCORES):
        raise SystemExit(f"docs/_reference/metrics.py: SCORES does not explain {', '.join(sorted(missing))}")
    columns = table(["column", "what it holds"], [[f"`{name}`", MEANINGS[name]] for name in TABLE_COLUMNS])
    rows = [[f"`{name}`", unit, good, text] for name, (unit, good, text) in SCORES.items()]
    scores = table(["score", "unit", "good is", "what it says"], rows)
    reading = (
        "A score without a value is empty and has its reason in the column `reason`. Differences below 5 % of a single run are within what another processor or seed changes; "
        "with repeats the report tests them ([repeats and significance](../how-to/repeats.md))."
    )
    return f"{HEAD}\n## Columns\n\n{columns}\n\n## Scores\n\n{scores}\n\n{reading}\n"
