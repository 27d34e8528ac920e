"""Counts that no method has seen: which they are, and what they say of an object."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fixtures.judged import judged_input, judged_truth, noisy, rows_of, thinned

from fly64_assets.errors import ContractError
from fly64_assets.evaluation.counts import likelihood
from fly64_assets.evaluation.counts.likelihood import COVERED, IndependentCounts, frame_likelihoods
from fly64_assets.physics.forward import exit_wave_energies
from fly64_assets.physics.illumination import illumination
from fly64_assets.physics.windows import read


def counts_of(split="train", view="dense", *, masked=False):
    data = judged_input(split, view, masked=masked)
    return IndependentCounts(data.measurement, data.measured, data.half)


def everywhere():
    return np.ones(judged_truth().object.shape, bool)


def shuffled(m, seed):
    return rows_of(m, np.random.default_rng(seed).permutation(m.frames))


@pytest.fixture(scope="module")
def truth():
    return judged_truth().object


def test_seen_and_complement_add_up_to_what_was_measured():
    counts = counts_of()
    rows = np.arange(counts.seen.frames)
    total = counts.seen.counts(rows) + counts.complement(rows)
    assert np.array_equal(total, counts.measured.counts(counts.rows(counts.seen.scan_index)))
    assert counts.fraction == pytest.approx(0.1)
    assert counts.complement_scale**2 + counts.seen.intensity_scale**2 == pytest.approx(
        counts.measured.intensity_scale**2
    )
    # A tenth was seen, and the rest is independent of it: nine times as much.
    assert counts.complement(rows).sum() / counts.seen.counts(rows).sum() == pytest.approx(9, rel=0.02)


def test_frames_of_another_scan_are_refused():
    counts = counts_of()
    fuller = replace(counts.seen, amplitude=counts.seen.amplitude * 4)
    with pytest.raises(ContractError, match=r"frame \d+ of the view holds more photons than were measured"):
        replace(counts, seen=fuller).complement(np.arange(3))
    strange = replace(counts.seen, scan_index=counts.seen.scan_index + 1000)
    n, first = counts.seen.frames, 1000 + counts.seen.scan_index[0]
    with pytest.raises(
        ContractError, match=f"{n} of {n} frames are not among the .* measured ones, the first with scan_index {first}"
    ):
        replace(counts, seen=strange).complement(np.arange(counts.seen.frames))


def test_too_bright_an_object_costs_what_theory_says(truth):
    """All rates a^2 times too large cost n (a^2 - 1 - log a^2) nats at n photons, and a background cannot help."""
    counts = counts_of(view="baseline")
    found = frame_likelihoods({"true": truth, "bright": 1.1 * truth}, counts, everywhere()).complement
    energies = exit_wave_energies(truth, counts.seen.probe, counts.seen.scan)
    expected = counts.complement_scale**2 * energies * (1.1**2 - 1 - np.log(1.1**2))
    difference = found["bright"] - found["true"]
    assert difference.sum() == pytest.approx(expected.sum(), rel=0.05)


@pytest.mark.parametrize("score", ["complement", "left_out"])
def test_the_truth_is_better_than_anything_else_and_less_noise_than_more(truth, score):
    counts = counts_of()
    fields = {f"{sigma} {seed}": noisy(truth, sigma, seed) for sigma in (0.01, 0.03, 0.1) for seed in range(3)}
    fields |= {"true": truth, "mirrored": truth[::-1], "conjugate": truth.conj(), "none": np.zeros_like(truth)}
    values = getattr(frame_likelihoods(fields, counts, everywhere()), score)
    means = {name: value.mean() for name, value in values.items()}
    assert min(means, key=means.__getitem__) == "true"
    ranks = sorted((name for name in means if name[0] == "0"), key=means.__getitem__)
    assert [name.split()[0] for name in ranks] == ["0.01"] * 3 + ["0.03"] * 3 + ["0.1"] * 3
    assert np.isfinite(list(means.values())).all()


def test_no_order_of_frames_matters(truth):
    counts = counts_of()
    other = IndependentCounts(shuffled(counts.seen, 1), shuffled(counts.measured, 2), counts.half[::-1])
    fields = {"lsqml": noisy(truth, 0.1, 4)}
    one, two = (frame_likelihoods(fields, c, everywhere()) for c in (counts, other))
    places = np.argsort(counts.seen.scan_index), np.argsort(other.seen.scan_index)
    assert np.allclose(one.complement["lsqml"][places[0]], two.complement["lsqml"][places[1]], rtol=1e-9)
    assert np.sort(one.left_out["lsqml"]) == pytest.approx(np.sort(two.left_out["lsqml"]), rel=1e-9)


def test_no_block_size_matters(truth, monkeypatch):
    counts, fields = counts_of(), {"lsqml": noisy(truth, 0.1, 4)}
    whole = frame_likelihoods(fields, counts, everywhere())
    monkeypatch.setattr(likelihood, "FRAMES_AT_ONCE", 7)
    blocks = frame_likelihoods(fields, counts, everywhere())
    assert np.array_equal(whole.complement["lsqml"], blocks.complement["lsqml"])
    assert np.array_equal(whole.left_out["lsqml"], blocks.left_out["lsqml"])


def test_what_lies_under_the_mask_changes_no_byte(truth):
    counts = counts_of(masked=True)
    bad = counts.measured.bad_pixels

    def hidden(m, value):
        return replace(m, amplitude=np.where(bad, np.float32(value), m.amplitude))

    other = replace(counts, seen=hidden(counts.seen, 7e6), measured=hidden(counts.measured, np.nan))
    fields = {"lsqml": noisy(truth, 0.1, 4), "true": truth}
    one, two = (frame_likelihoods(fields, c, everywhere()) for c in (counts, other))
    for name in fields:
        assert np.array_equal(one.complement[name], two.complement[name])
        assert np.array_equal(one.left_out[name], two.left_out[name])
    assert one.complement["true"].mean() < one.complement["lsqml"].mean()


def test_frames_were_left_out_that_the_view_covers():
    counts = counts_of()
    absent = np.setdiff1d(counts.half, counts.seen.scan_index)
    assert np.array_equal(counts.measured.scan_index[counts.left_out(everywhere())], absent)
    assert len(counts.left_out(~everywhere())) == 0
    bright = illumination(counts.seen.probe, counts.seen.scan) >= 0.2
    rows = counts.left_out(bright)
    assert 0 < len(rows) < len(absent)
    power = np.abs(counts.measured.probe) ** 2
    windows = read(bright.astype(float), counts.measured.scan).real
    shares = (windows * power).sum(axis=(1, 2)) / power.sum()
    assert set(rows) == {row for row in counts.rows(absent) if shares[row] >= COVERED}
    assert len(counts_of(view="baseline").left_out(everywhere())) == 0


def test_a_background_is_what_light_the_model_lacks_adds():
    """Counts of a smooth background are found as one, and the likelihood with it is that of the true rates."""
    counts, obj = counts_of(view="baseline"), judged_truth().object
    m = counts.measured
    haze = np.random.default_rng(3).poisson(2.0, m.amplitude.shape)
    amplitude = np.sqrt(m.counts() + haze).astype(np.float32) / np.float32(m.intensity_scale)
    hazy = replace(m, amplitude=amplitude)
    seen = thinned(rows_of(hazy, counts.rows(counts.seen.scan_index)))
    found = frame_likelihoods({"true": obj}, replace(counts, seen=seen, measured=hazy), everywhere())
    assert found.backgrounds["true"].mean() == pytest.approx(0.2, rel=0.05)
    assert found.backgrounds["true"].std() < 0.05
