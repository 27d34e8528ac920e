"""Thinned counts are Poisson counts, the complement is an independent one, and nothing but the seed decides which."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import stats

from fly64_assets.errors import ContractError
from fly64_assets.measured.thinning import Thinning, complement, rows_of, thinned
from fly64_assets.physics.measurement import Measurement

RATE, FRAMES, N = 20.0, 40, 32
MEASURED = RATE * N * N
DOSES = tuple(round(MEASURED * part) for part in (0.5, 0.3, 0.1))
RULES = ("nested", "independent")
SIGNIFICANCE = 1e-3
INDEX = np.arange(FRAMES)


def thinning(dose, rule="nested", seed=42, repeat=1):
    return Thinning(dose, MEASURED, rule, DOSES, seed, repeat)


@pytest.fixture(scope="module")
def counts():
    """Poisson counts of one rate in all pixels: whatever correlates in them is not the picture."""
    return np.random.default_rng(3).poisson(RATE, (FRAMES, N, N)).astype(float)


def poisson_p_value(counts, rate):
    """Of a chi-square test of the histogram of counts, bins with fewer than 20 expected pixels joined."""
    edges = np.arange(int(counts.max()) + 2)
    expected = stats.poisson.pmf(edges, rate) * counts.size
    expected[-1] = stats.poisson.sf(edges[-2], rate) * counts.size
    found = np.bincount(counts.astype(int).ravel(), minlength=len(edges)).astype(float)
    low, high = np.flatnonzero(expected > 20)[[0, -1]]
    joined = [np.r_[a[:low].sum(), a[low : high + 1], a[high + 1 :].sum()] for a in (found, expected)]
    kept = joined[1] > 0
    return stats.chisquare(joined[0][kept], joined[1][kept] * joined[0][kept].sum() / joined[1][kept].sum()).pvalue


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dose", DOSES)
def test_thinned_counts_and_their_complement_are_poisson_counts_at_the_new_rates(counts, rule, dose):
    part = thinned(counts, INDEX, thinning(dose, rule))
    rate = RATE * dose / MEASURED
    assert poisson_p_value(part, rate) > SIGNIFICANCE
    assert poisson_p_value(counts - part, RATE - rate) > SIGNIFICANCE
    # The test is one: another rate, or counts whose variance is not their mean, do not pass.
    assert poisson_p_value(part, 1.05 * rate) < SIGNIFICANCE
    assert poisson_p_value(np.rint(counts * dose / MEASURED), rate) < SIGNIFICANCE


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dose", DOSES)
def test_thinned_counts_and_their_complement_are_uncorrelated(counts, rule, dose):
    part = thinned(counts, INDEX, thinning(dose, rule))
    assert stats.pearsonr(part.ravel(), (counts - part).ravel()).pvalue > SIGNIFICANCE
    # Counts that are no Poisson numbers would show it: of a constant the two parts make up for each other.
    constant = np.full_like(counts, RATE)
    part = thinned(constant, INDEX, thinning(dose, rule))
    assert stats.pearsonr(part.ravel(), (constant - part).ravel()).statistic < -0.99


def test_a_nested_dose_is_a_part_of_the_next_higher_one(counts):
    parts = [thinned(counts, INDEX, thinning(dose)) for dose in DOSES]
    for lower, higher in zip(parts[1:], parts, strict=False):
        assert (lower <= higher).all()
        assert stats.pearsonr(lower.ravel(), higher.ravel()).statistic > 0.4
    # A lower dose of the design changes no photon of a higher one.
    alone = Thinning(DOSES[0], MEASURED, "nested", DOSES[:1], 42)
    assert (thinned(counts, INDEX, alone) == parts[0]).all()


def test_no_photon_belongs_to_two_independent_doses(counts):
    parts = [thinned(counts, INDEX, thinning(dose, "independent")) for dose in DOSES]
    assert (sum(parts) <= counts).all()
    for left, right in ((0, 1), (0, 2), (1, 2)):
        assert stats.pearsonr(parts[left].ravel(), parts[right].ravel()).pvalue > SIGNIFICANCE
    # One photon in a pixel goes to one dose at most.
    single = np.ones((FRAMES, N, N))
    assert sum(thinned(single, INDEX, thinning(dose, "independent")) for dose in DOSES).max() == 1


@pytest.mark.parametrize("rule", RULES)
def test_neither_blocks_nor_threads_nor_order_change_a_count(counts, rule):
    wanted = thinning(DOSES[-1], rule)
    whole = thinned(counts, INDEX, wanted)
    for size in (1, 7):
        parts = [thinned(counts[i : i + size], INDEX[i : i + size], wanted) for i in range(0, FRAMES, size)]
        assert (np.concatenate(parts) == whole).all()
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda i: thinned(counts[i : i + 1], INDEX[i : i + 1], wanted)[0], range(FRAMES)))
    assert (np.array(rows) == whole).all()
    order = np.random.default_rng(1).permutation(FRAMES)
    assert (thinned(counts[order], INDEX[order], wanted) == whole[order]).all()


@pytest.mark.parametrize("other", [{"seed": 43}, {"repeat": 2}])
def test_seed_and_repeat_choose_other_photons(counts, other):
    part, again = (thinned(counts, INDEX, thinning(DOSES[0], **values)) for values in ({}, other))
    # Beyond what the rate explains, two independent choices of the same photons share no more than chance.
    fluctuations = [chosen - counts * DOSES[0] / MEASURED for chosen in (part, again)]
    assert stats.pearsonr(*(f.ravel() for f in fluctuations)).pvalue > SIGNIFICANCE


def measurement(counts, index=INDEX):
    where = np.full(len(counts), 40.0)
    return Measurement(
        np.sqrt(counts).astype(np.float32), 1.0, np.ones((N, N), np.complex64), where, where, (80, 80), index
    )


@pytest.mark.parametrize("rule", RULES)
def test_the_metadata_alone_give_the_complement_of_any_frames(counts, rule):
    wanted = thinning(DOSES[1], rule)
    metadata = {"data_transformations": [wanted.step(), {"operation": "view", "parameters": {}}]}
    measured = measurement(counts, INDEX[::-1] * 3)
    frames = np.array([9, 0, 117, 60])
    rows = rows_of(measured, frames)
    assert measured.scan_index[rows].tolist() == frames.tolist()
    rest = complement(measured, metadata, frames)
    assert (rest + thinned(counts[rows], frames, wanted) == counts[rows]).all()
    assert Thinning.of(metadata) == wanted


def test_bad_pixels_have_no_complement(counts):
    bad = np.zeros((N, N), bool)
    bad[3] = True
    measured = dataclasses.replace(measurement(counts), bad_pixels=bad)
    rest = complement(measured, {"data_transformations": [thinning(DOSES[1]).step()]}, INDEX[:2])
    assert not rest[:, bad].any()
    assert rest[:, ~bad].any()


def test_what_cannot_be_thinned_is_said_with_numbers():
    reasons = [Thinning(dose, 1000.0, rule, (1000, 600, 500, 300), 1).reason for rule in RULES for dose in (1000, 500)]
    assert reasons[0] == reasons[2]
    assert reasons[0].startswith("the frames hold 1000 photons on average")
    assert reasons[1] == ""
    assert reasons[3] == (
        "of 1000 measured photons per frame 400 are left by the independent doses 600: a dose of 500 is skipped"
    )
    # What was skipped takes no photon from the doses below it.
    assert list(Thinning(300, 1000.0, "independent", (1000, 600, 500, 300), 1).steps()) == [(600, 0.6), (300, 0.75)]
    with pytest.raises(ContractError, match="a dose of 500 is skipped"):
        thinned(np.ones((1, 2, 2)), np.array([0]), Thinning(500, 400.0, "nested", (500,), 1))


def test_frames_that_cannot_be_told_apart_are_refused(counts):
    for index, found in ((np.zeros(FRAMES, int), "scan_index 0 .* 40"), (INDEX - 1, "scan_index -1 .* 1 time")):
        with pytest.raises(ContractError, match=found):
            rows_of(measurement(counts, index), np.array([0]))
    with pytest.raises(ContractError, match=r"2 of 3 frames are not among the 40 measured ones, .* scan_index 40"):
        rows_of(measurement(counts), np.array([1, 40, 99]))
    with pytest.raises(ContractError, match="no such entry"):
        complement(measurement(counts), {"data_transformations": []}, INDEX)
