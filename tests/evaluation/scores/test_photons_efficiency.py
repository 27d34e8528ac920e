"""Efficiency: bound over squared error, at every dose from one bound, and the words where it does not apply."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from fly64_assets.evaluation.bound.limit import Bound, UnitLimit
from fly64_assets.evaluation.scores.compare import TRUTH, UNIFORM, compare_split
from fly64_assets.evaluation.scores.metrics import Score
from fly64_assets.evaluation.scores.photons import BELOW, LEARNED, SCOPE, DoseLimit, efficiency
from fly64_assets.evaluation.settings import EvaluationSettings, MetricsConfig


def unit_limit(**changes):
    found = UnitLimit(Bound(4.0, 0.02, 0.005), Bound(1.0, 0.02, 0.005), (), None, None, "conjugate gradients", 10, 100)
    return dataclasses.replace(found, **changes)


SINGULAR = unit_limit(phase=None, amplitude=None, singular=("28 groups without common light",), method="structure")


@pytest.mark.parametrize(("scale", "error"), [(10.0, 0.2), (100.0, 0.02)])
def test_the_bound_scales_with_the_dose(scale, error):
    """s^2 is proportional to the dose: 100 times the photons, a tenth of the error."""
    limit = DoseLimit(unit_limit(), scale, 0.01)
    assert limit.error("phase") == pytest.approx(error)
    assert limit.error("amplitude") == pytest.approx(error / 2)
    assert limit.state == "regular"


def test_efficiency_is_bound_over_squared_error():
    limit = DoseLimit(unit_limit(), 10.0, 0.01)
    assert efficiency(limit, "phase", Score(0.4), learned=False) == Score(pytest.approx(0.25), None)
    assert efficiency(limit, "amplitude", Score(0.4), learned=False).value == pytest.approx(0.0625)


def test_an_error_below_the_bound_is_said_to_be_knowledge_and_not_photons():
    limit = DoseLimit(unit_limit(), 10.0, 0.01)
    below = efficiency(limit, "phase", Score(0.1), learned=False)
    assert below == Score(pytest.approx(4.0), BELOW)
    assert "biased" in BELOW
    assert "unbiased" in SCOPE


@pytest.mark.parametrize("error", [0.1, 0.4])
def test_a_learned_prior_is_always_said(error):
    assert efficiency(DoseLimit(unit_limit(), 10.0, 0.01), "phase", Score(error), learned=True).reason == LEARNED


def test_what_has_no_efficiency_says_why():
    limit = DoseLimit(SINGULAR, 10.0, 0.0123)
    assert limit.state == "singular"
    phase = efficiency(limit, "phase", Score(0.1), learned=False)
    assert phase.value is None
    assert phase.reason == "singular: 28 groups without common light; 1 / (4 n) gives 0.0123 rad"
    assert "1 / (4 n)" not in efficiency(limit, "amplitude", Score(0.1), learned=False).reason
    none = DoseLimit("the evaluated region is empty", 10.0, None)
    assert none.state == "none"
    assert efficiency(none, "phase", Score(0.1), learned=False) == Score(None, "the evaluated region is empty")
    regular = DoseLimit(unit_limit(), 10.0, 0.01)
    assert efficiency(regular, "phase", Score(None, "damaged"), learned=False) == Score(None, "damaged")
    assert efficiency(regular, "phase", Score(0.0), learned=False) == Score(None, "there is no error")
    for one in (limit, none, regular):
        json.dumps(one.to_dict(), allow_nan=False)


def test_the_comparison_reports_limit_and_efficiency_of_every_method(truth, train_split, limit):
    """With noise of the bound's own size in every pixel, the efficiency of an method is 1."""
    settings = {"evaluation": EvaluationSettings(), "metrics": MetricsConfig(), "limit": limit}
    split = train_split({})
    found = compare_split("train", truth, split, **settings)
    random = np.random.default_rng(40)
    noise = random.normal(size=truth.shape) * found.limit.error_map("phase")
    methods = {
        "iterative": truth * np.exp(1j * noise),
        "network": truth * np.exp(0.5j * noise),
        "lost": "failed: memory",
    }
    compared = compare_split(
        "train", truth, dataclasses.replace(split, methods=methods, learned=frozenset({"network"})), **settings
    )
    # The map is a local mean of few probes, and the mean of the bound has an error of its own.
    allowed = 4 * found.limit.unit.phase.standard_error + 0.1
    assert compared.value("iterative", "phase", "efficiency") == pytest.approx(1, rel=allowed)
    assert compared.value("network", "phase", "efficiency") == pytest.approx(4, rel=allowed)
    reasons = {(r.method, r.metric): r.reason for r in compared.rows if (r.part, r.metric) == ("phase", "efficiency")}
    assert reasons["network", "efficiency"] == LEARNED
    assert reasons["lost", "efficiency"] == "failed: memory"
    assert reasons[UNIFORM, "efficiency"] == reasons[TRUTH, "efficiency"] == "no estimate from these counts"
    document = json.loads(json.dumps(compared.to_dict(), allow_nan=False))["limit"]
    assert document["state"] == "regular"
    assert document["phase_rad"] > document["photon_floor_rad"]
    assert document["unit"]["phase"]["standard_error"] < 0.2
    assert document["scope"] == SCOPE
