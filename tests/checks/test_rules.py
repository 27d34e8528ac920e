"""A check blames a record only for what the record says; its own faults are not a finding about the data."""

import pytest

from fly64_assets.checks.factory import judge
from fly64_assets.checks.rules import RULES, Rule
from fly64_assets.store.keys import Cell, StageKey
from fly64_assets.store.records import StageRecord
from fly64_assets.study.design import StudyDesign

DESIGN = StudyDesign()
KEY = StageKey("view", Cell(1000, "dense"))


class Store:
    """One record and its folder, whatever they say."""

    def __init__(self, values):
        self.found = StageRecord(KEY, "succeeded", "", {}, {}, "", "1", 1.0, "", "", values=values)

    def required(self, _layout, _key):
        return self.found


@pytest.fixture
def judged(monkeypatch):
    monkeypatch.setattr("fly64_assets.checks.factory.active_layout", lambda _store: None)
    return lambda values, rule: judge(Store(values), DESIGN, [KEY], rule)


GOOD = {"outcome": "succeeded", "n_accepted": 4}
LEARNED = {"final_loss": 1.0, "collapsed": False, "finding": ""}


@pytest.mark.parametrize("splits", [None, [], {}, {"train": GOOD}, {"train": GOOD, "test": {"outcome": "succeeded"}}])
def test_a_malformed_record_is_a_finding_about_it(judged, splits):
    passed, text = judged({"splits": splits}, RULES["oversampling_001"])
    assert not passed
    assert text.startswith("dose_1000/dense: view: the record is not of the form that this check expects (splits.t")


def test_sound_records_are_judged(judged):
    assert judged({"splits": {"train": GOOD, "test": GOOD}}, RULES["oversampling_001"]) == (True, "all is well")
    few = judged({"splits": {"train": GOOD, "test": {**GOOD, "n_accepted": 3}}}, RULES["oversampling_001"])
    assert few == (False, "OVERSAMPLING-001: test holds 3 frames; 4 are needed")
    assert judged(LEARNED, RULES["learned"]) == (True, "all is well")
    collapsed = {"final_loss": float("inf"), "collapsed": True, "finding": "PINN.collapsed: flat"}
    assert judged(collapsed, RULES["learned"]) == (False, "the final loss is inf\nPINN.collapsed: flat")
    assert "final_loss = '1'" in judged({**LEARNED, "final_loss": "1"}, RULES["learned"])[1]


def test_a_fault_of_the_check_is_not_blamed_on_the_record(judged):
    with pytest.raises(KeyError, match="a fault"):
        judged(LEARNED, Rule("A check with a fault.", lambda _context: {}["a fault"]))
