from __future__ import annotations

import math

import pytest

from fly64_assets.lsqml.count_split import Deviances
from fly64_assets.lsqml.stopping import PATIENCE, StoppingCriterion, held_out_fraction


def follow(rule: str, epochs: int, rows: list[Deviances]) -> tuple[StoppingCriterion, int]:
    """A run with these deviances: the criterion at its end, and the epochs done."""
    criterion = StoppingCriterion(rule, epochs)
    for epoch, row in enumerate(rows, start=1):
        criterion.update(epoch, row)
        if criterion.reason:
            return criterion, epoch
    raise AssertionError("the run did not end")


def held_out(*values: float) -> list[Deviances]:
    return [Deviances(1.0, 2.0, value) for value in values]


def test_the_best_prediction_is_kept_and_patience_ends_the_run():
    criterion, done = follow("held_out", 100, held_out(5, 4, 3, *[3.1] * 50))
    assert (criterion.kept_epoch, done) == (3, 3 + PATIENCE)
    assert criterion.reason == "held out: no epoch after 3 predicted the held-out counts better; ended after epoch 13"


def test_a_pause_shorter_than_patience_does_not_end_the_run():
    values = [5, *[5.1] * (PATIENCE - 1), 4, *[4.1] * PATIENCE]
    criterion, done = follow("held_out", 100, held_out(*values))
    assert (criterion.kept_epoch, done) == (PATIENCE + 1, 2 * PATIENCE + 1)


@pytest.mark.parametrize(("values", "kept"), [((3, 2, 1), 3), ((3, 1, 2), 2)])
def test_the_last_epoch_ends_every_run(values, kept):
    criterion, done = follow("held_out", 3, held_out(*values))
    assert (criterion.kept_epoch, done) == (kept, 3)
    assert criterion.reason.startswith("all 3 epochs done")
    assert (f"epoch {kept} predicted" in criterion.reason) == (kept < 3)


def test_discrepancy_keeps_the_first_epoch_that_fits_as_well_as_the_truth_would():
    rows = [Deviances(d, 2.0, math.nan) for d in (4, 3, 2, 1)]
    criterion, done = follow("discrepancy", 100, rows)
    assert (criterion.kept_epoch, done) == (3, 3)
    assert criterion.reason == "discrepancy: deviance 2.0000 per pixel reached its expectation 2.0000 at epoch 3"


def test_epochs_keeps_the_last_whatever_the_deviance():
    criterion, done = follow("epochs", 4, [Deviances(0.1, 2.0, math.nan)] * 4)
    assert (criterion.kept_epoch, done, criterion.reason) == (4, 4, "all 4 epochs done")


def test_only_one_rule_holds_counts_out():
    assert [held_out_fraction(rule) > 0 for rule in ("held_out", "discrepancy", "epochs")] == [True, False, False]
