"""A comparison on frames of two incoherent modes: methods that used them are scored, the bound says why it has none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fixtures.scan import measure, soft_probe

from fly64_assets.engines.execution import Execution
from fly64_assets.errors import EngineError
from fly64_assets.evaluation.scores.compare import SplitInput, compare_split
from fly64_assets.evaluation.scores.region import scan_box
from fly64_assets.evaluation.settings import EvaluationSettings, MetricsConfig
from fly64_assets.physics.forward import patch_counts
from fly64_assets.physics.probe_modes import orthogonal_modes
from fly64_assets.tv_ml.settings import TvMlSettings
from fly64_assets.tv_ml.solver import reconstruct

N = 64


@pytest.fixture(scope="module")
def two():
    rows, columns = np.mgrid[:120, :120]
    truth = np.exp(0.5j * np.sin(rows / 5) * np.cos(columns / 6)).astype(np.complex64)
    probe = soft_probe(N)
    measured = measure(truth, probe, 30, 1e5)
    other = 0.5 * probe * (np.arange(N) - N // 2) / 10
    modes = orthogonal_modes(np.stack([probe, other])).astype(np.complex64)
    rates = patch_counts(truth, modes, measured.scan, measured.intensity_scale)
    amplitude = (np.sqrt(np.rint(rates)) / measured.intensity_scale).astype(np.float32)
    return replace(measured, probe=modes[0], further_modes=modes[1:], amplitude=amplitude), truth


def test_methods_of_modes_are_compared_and_the_bound_says_why_there_is_none(two):
    measured, truth = two
    refusal = "failed: the probe has 2 incoherent modes"
    data = SplitInput(measured, {"lsqml": truth * np.exp(0.1j), "tv_ml": refusal}, scan_box(measured.scan))

    def never(_problem):
        raise AssertionError("the bound of one mode must not be computed")

    def no_bound(_problem):
        raise ValueError("none")

    found = compare_split("test", truth, data, evaluation=EvaluationSettings(), metrics=MetricsConfig(), limit=never)
    assert found.methods["lsqml"].outcome == "compared"
    assert (found.methods["tv_ml"].outcome, found.methods["tv_ml"].reason) == ("missing", refusal)
    assert "the photon limit knows one: the strongest" in found.limit.reason
    # The likelihood is that of all modes: the truth fits them best.
    assert found.value("flat", "complex", "nll_excess") > 0
    alone = replace(measured, further_modes=None)
    of_one = compare_split(
        "test",
        truth,
        replace(data, measurement=alone),
        evaluation=EvaluationSettings(),
        metrics=MetricsConfig(),
        limit=no_bound,
    )
    assert found.region.illumination.sum() > 1.05 * of_one.region.illumination.sum()


def test_the_regularised_method_refuses_with_the_share_and_the_option(two, tmp_path):
    measured, _ = two
    words = r"2 incoherent modes, and this method knows one: .* holds \d\d\.\d% of the power; --probe-mode 0"
    with pytest.raises(EngineError, match=words):
        reconstruct(measured, TvMlSettings(), Execution(), 1, lambda *_: None, scratch=tmp_path)
