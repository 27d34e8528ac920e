from __future__ import annotations

import math

import pytest

from fly64_assets.lsqml.count_split import Judgement
from fly64_assets.lsqml.stopping import PATIENCE, Watch, held_out_fraction


def follow(rule: str, epochs: int, rows: list[Judgement]) -> tuple[Watch, int]:
    """A run through these judgements: the watch at its end, and the epochs done."""
    watch = Watch(rule, epochs)
    for epoch, row in enumerate(rows, start=1):
        watch.better(epoch, row)
        if watch.reason:
            return watch, epoch
    raise AssertionError("the run did not end")


def held_out(*values: float) -> list[Judgement]:
    return [Judgement(1.0, 2.0, value) for value in values]


def test_the_best_prediction_is_kept_and_patience_ends_the_run():
    watch, done = follow("held_out", 100, held_out(5, 4, 3, *[3.1] * 50))
    assert (watch.kept, done) == (3, 3 + PATIENCE)
    assert watch.reason == "held out: no epoch since 3 predicted the photons kept aside better, 13 done"


def test_a_pause_shorter_than_patience_does_not_end_the_run():
    values = [5, *[5.1] * (PATIENCE - 1), 4, *[4.1] * PATIENCE]
    watch, done = follow("held_out", 100, held_out(*values))
    assert (watch.kept, done) == (PATIENCE + 1, 2 * PATIENCE + 1)


@pytest.mark.parametrize(("values", "kept"), [((3, 2, 1), 3), ((3, 1, 2), 2)])
def test_the_last_epoch_ends_every_run(values, kept):
    watch, done = follow("held_out", 3, held_out(*values))
    assert (watch.kept, done) == (kept, 3)
    assert watch.reason.startswith("all 3 epochs done")
    assert (f"epoch {kept} predicted" in watch.reason) == (kept < 3)


def test_discrepancy_keeps_the_first_epoch_that_fits_as_well_as_the_truth_would():
    rows = [Judgement(d, 2.0, math.nan) for d in (4, 3, 2, 1)]
    watch, done = follow("discrepancy", 100, rows)
    assert (watch.kept, done) == (3, 3)
    assert watch.reason == "discrepancy: deviance 2.0000 per pixel reached its expectation 2.0000 at epoch 3"


def test_epochs_keeps_the_last_whatever_the_deviance():
    watch, done = follow("epochs", 4, [Judgement(0.1, 2.0, math.nan)] * 4)
    assert (watch.kept, done, watch.reason) == (4, 4, "all 4 epochs done")


def test_only_one_rule_keeps_photons_aside():
    assert [held_out_fraction(rule) > 0 for rule in ("held_out", "discrepancy", "epochs")] == [True, False, False]
