"""Residual frames of a judged cell as PNG bytes: what was counted, what the best object predicts, and the difference.

Does not belong here: pictures of objects, which are drawn as those of a comparison with a truth (``report.figures``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.engines.figures import draw_picture, png
from fly64_assets.evaluation.counts.judge import JudgedInput, JudgedSplit
from fly64_assets.evaluation.counts.likelihood import IndependentCounts
from fly64_assets.evaluation.report.figures import PREVIEW_BYTES, new_figure
from fly64_assets.evaluation.scores.compare import CellComparison, SplitInput
from fly64_assets.physics.forward import patch_counts
from fly64_assets.physics.scan import JUDGED_SPLIT

MOST_DEVIATIONS: Final = 5.0
"""End of the scale of differences, in standard deviations of the counting noise."""


@dataclass(frozen=True)
class ResidualFrame:
    """A frame of counts kept aside (N, N) beside its prediction (N, N), NaN at bad pixels of the detector.

    ``excess`` is how much less probable than by the reference object the counts are [nats].
    """

    scan_index: int
    counted: NDArray[np.float64]
    predicted: NDArray[np.float64]
    excess: float

    @property
    def deviations(self) -> NDArray[np.float64]:
        """Counted minus predicted in standard deviations of a Poisson number, of at least one count."""
        deviations: NDArray[np.float64] = (self.counted - self.predicted) / np.sqrt(np.maximum(self.predicted, 1.0))
        return deviations


def residual_pictures(comparison: CellComparison, splits: Mapping[str, SplitInput | str]) -> dict[str, bytes]:
    """``residuals_SPLIT.png`` of the half that is judged, from what was compared; none for a cell with a truth."""
    judged, data = comparison.splits.get(JUDGED_SPLIT), splits.get(JUDGED_SPLIT)
    if not isinstance(judged, JudgedSplit) or not isinstance(data, JudgedInput):
        return {}
    method = best_method(judged)
    if method is None:
        return {}
    frames = residual_frames(judged, data, method)
    title = f"{comparison.dose:,} photons per frame, {comparison.view}, {JUDGED_SPLIT}: {method}"
    return {f"residuals_{JUDGED_SPLIT}.png": residual_figure(frames, title)}


def best_method(judged: JudgedSplit) -> str | None:
    """The method that predicts the counts kept aside best; None where none has a value."""
    scores = {name: judged.value(name, "counts", "complement") for name in judged.candidates}
    known = {name: score for name, score in scores.items() if score is not None}
    return min(known, key=known.__getitem__) if known else None


def residual_frames(judged: JudgedSplit, data: JudgedInput, method: str) -> list[ResidualFrame]:
    """The frames whose counts kept aside a method predicts worst, the worst first.

    The prediction is that of the likelihood: of the object as it was judged, with its background.
    """
    m, alignment = data.measurement, judged.fields[method]
    obj = alignment.field if method in data.refined_probe else alignment.reconstruction
    counts = IndependentCounts(m, data.measured, data.half)
    places = {int(index): place for place, index in enumerate(m.scan_index)}
    scale, frames = counts.complement_scale, []
    for worst in judged.measured["worst_frames"][method]:
        row = np.array([places[worst["scan_index"]]])
        background = judged.backgrounds[method] * (scale / m.intensity_scale) ** 2
        pair = [counts.complement(row)[0], patch_counts(obj, m.modes, m.scan[row], scale)[0] + background]
        if m.bad_pixels is not None:
            pair = [np.where(m.bad_pixels, np.nan, picture) for picture in pair]
        frames.append(ResidualFrame(worst["scan_index"], pair[0], pair[1], worst["complement"]))
    return frames


def residual_figure(frames: Sequence[ResidualFrame], title: str) -> bytes:
    """A column per frame: counted, predicted on the same logarithmic scale, and their difference; under 200 kB."""
    from matplotlib.colors import LogNorm

    figure = new_figure(2.5 * len(frames) + 1.0, 7.0)
    axes = figure.subplots(3, len(frames), squeeze=False)
    brightest = max(float(np.nanmax(picture)) for frame in frames for picture in (frame.counted, frame.predicted))
    counts = {"norm": LogNorm(0.5, max(1.0, brightest))}
    spread = {"vmin": -MOST_DEVIATIONS, "vmax": MOST_DEVIATIONS}
    for column, frame in zip(axes.T, frames, strict=True):
        # A prediction below the scale is drawn in its darkest colour, like a pixel without a count.
        pictures = (np.maximum(frame.counted, 0.5), np.maximum(frame.predicted, 0.5), frame.deviations)
        scales: Sequence[dict[str, Any]] = (counts, counts, spread)
        for axis, picture, colours, scale in zip(
            column, pictures, ("cividis", "cividis", "coolwarm"), scales, strict=True
        ):
            side = len(picture)
            draw_picture(axis, picture, colours, (0, side, side, 0), **scale)
            axis.set(xticks=[], yticks=[], xlabel="", ylabel="")
        column[0].set_title(f"frame {frame.scan_index}\n{frame.excess:,.3g} nats above the reference", fontsize=8)
    labels = ("counted (kept aside)", "predicted", "difference [standard deviations]")
    for row, label in zip(axes, labels, strict=True):
        row[0].set_ylabel(label, fontsize=8)
        bar = figure.colorbar(row[0].images[0], ax=list(row), shrink=0.85, pad=0.02)
        bar.ax.tick_params(labelsize=7)
    figure.suptitle(title, fontsize=9)
    return png(figure, max_bytes=PREVIEW_BYTES)
