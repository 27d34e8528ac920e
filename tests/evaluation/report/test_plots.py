"""Figures of the whole study: every method drawn, and studies with little or nothing to draw."""

import io

import numpy as np
import pytest

from fly64_assets.evaluation.report.figures import method_style
from fly64_assets.evaluation.report.page import render_report
from fly64_assets.evaluation.report.plots import correlation_figure, dose_figure, photon_figure


def test_study_figures_are_small_pngs_with_ink_of_every_method(summary):
    from matplotlib import colors, image

    for figure in (dose_figure, photon_figure, correlation_figure):
        content = figure(summary, "test")
        assert len(content) < 200_000
        pixels = image.imread(io.BytesIO(content))[..., :3]
        for method in ("pinn", "lsqml"):
            ink = np.array(colors.to_rgb(method_style(summary["arms"], method)["color"]))
            assert np.any(np.abs(pixels - ink).max(axis=-1) < 0.02)


@pytest.mark.parametrize("dose", [1000, 10_000, 100_000])
def test_a_study_with_a_single_result_can_be_drawn(summary, dose):
    """One point in one panel: no axis may shrink to a number (warnings are errors here)."""
    cells = [cell | {"dose": dose} for cell in summary["cells"] if cell["splits"]]
    assert len(cells) == 1
    assert dose_figure(summary | {"cells": cells}, "test").startswith(b"\x89PNG")


def test_study_figures_exist_before_anything_was_compared(summary):
    empty = summary | {"cells": [cell | {"splits": {}} for cell in summary["cells"]], "arms": []}
    for figure in (dose_figure, photon_figure, correlation_figure):
        assert figure(empty, "test").startswith(b"\x89PNG")
    assert "No result." in render_report(empty, {})["index.html"]
