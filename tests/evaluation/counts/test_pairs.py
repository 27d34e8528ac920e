"""Ring correlation of two objects from halves of the counts."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures.judged import noisy

from fly64_assets.evaluation.counts.pairs import PAIRS, pair_curves, pair_scores
from fly64_assets.evaluation.scores.region import Rectangle, Region
from fly64_assets.evaluation.scores.resolution import NYQUIST_PERIOD_PX, resolution

MASK = np.ones((96, 96), bool)
REGION = Region(MASK, Rectangle(0, 0, 96, 96), 1.0, 0.1, 20.0, np.ones(MASK.shape), 0)


def objects(truth, sigma):
    return {name: noisy(truth, sigma, seed) for seed, name in enumerate(sum(PAIRS.values(), ()))}


def curves(pair):
    return pair_curves(pair, REGION, max_shift_px=2.0)


def test_what_both_halves_hold_is_resolved_and_noise_is_not(truth):
    """The object has no frequencies above 0.22 per pixel: above it there is noise alone, and no correlation."""
    found = curves(objects(truth, 0.01))
    for pair in PAIRS:
        high = found[pair].frequency > 0.25
        assert abs(found[pair].correlation[high].mean()) < 0.1
        assert found[pair].correlation[1:8].min() > 0.9
    scores = pair_scores(found, 0.5)
    assert set(scores) == {("complex", f"frc_{pair}_{at}") for pair in PAIRS for at in ("half_bit", "05")}
    assert scores["complex", "frc_frames_half_bit"] == resolution(found["frames"])
    assert scores["complex", "frc_frames_05"] == resolution(found["frames"], 0.5)
    worse = pair_scores(curves(objects(truth, 0.2)), 0.5)
    for key, score in scores.items():
        assert NYQUIST_PERIOD_PX < score.value < worse[key].value


def test_a_global_phase_between_the_halves_does_not_matter(truth):
    pair = objects(truth, 0.05)
    turned = pair | {"photons_2": pair["photons_2"] * np.exp(2j)}
    one, two = curves(pair)["photons"], curves(turned)["photons"]
    assert one.correlation == pytest.approx(two.correlation, abs=1e-6)


def test_a_pair_that_is_not_whole_says_so(truth):
    pair = objects(truth, 0.05)
    del pair["frames_2"]
    pair["photons_2"] = np.zeros_like(truth)
    found = curves(pair)
    assert found["frames"] == "no object from frames_2"
    assert found["photons"].startswith("the two objects cannot be aligned: the reconstruction is zero")
    assert {score.reason for score in pair_scores(found, 0.5).values()} == set(found.values())
    assert curves("no pairs") == {"photons": "no pairs", "frames": "no pairs"}
    flat = objects(np.ones_like(truth), 0.0)
    assert curves(flat)["photons"] == "the first object is constant in the rectangle"
