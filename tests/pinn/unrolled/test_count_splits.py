from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from fly64_assets.pinn.unrolled import count_splits
from fly64_assets.pinn.unrolled.count_splits import CountSplits

PARTS = 5
ORDER = np.random.default_rng(0).permutation(64)[:50]


@pytest.fixture
def divide(measurement, tmp_path):
    def build(parts=PARTS, kept=PARTS, seed=1, measurement=measurement, order=ORDER):
        return CountSplits.of(measurement, order, splits=parts, kept=kept, seed=seed, scratch=tmp_path)

    return build


def corner(measurement, frames):
    return np.fft.ifftshift(measurement.counts(frames), axes=(-2, -1))


def standardised(part, total, parts):
    """Distance from the mean of a binomial draw in standard deviations, where there are photons."""
    return (part - total / parts) / np.sqrt(np.maximum(total, 1) / parts * (1 - 1 / parts))


def every_part(photons, kept=PARTS):
    return np.stack([photons.split(which, np.arange(photons.frames)) for which in range(kept)])


def test_parts_sum_to_the_frames_in_the_order_asked_for(divide, measurement):
    photons = divide()
    total = corner(measurement, ORDER)
    np.testing.assert_array_equal(every_part(photons).sum(axis=0), total)
    np.testing.assert_array_equal(photons.without((), slice(0, 50)), total)
    assert every_part(photons).min() >= 0
    assert photons.photons == pytest.approx(total.sum() / 50, rel=1e-12)
    assert total.mean(axis=0)[:2, :2].max() > 100 * total.mean(axis=0)[14:18, 14:18].max(), "DC is in the corner"


@pytest.mark.parametrize(("parts", "kept"), [(5, 5), (8, 3)])
def test_every_part_is_a_binomial_draw_of_the_photons(divide, measurement, parts, kept):
    total, found = corner(measurement, ORDER), every_part(divide(parts, kept), kept)
    assert not any((found[0] == other).all() for other in found[1:])
    lit, variance = total > 0, (1 / parts) * (1 - 1 / parts)
    for part in found:
        assert abs(part.sum() - total.sum() / parts) < 5 * np.sqrt(total.sum() * variance)
        # Pixel by pixel, of about 40 000: the squared distance from the mean is that of a binomial draw.
        assert standardised(part, total, parts)[lit].var() == pytest.approx(1.0, abs=0.05)


def test_different_parts_are_as_correlated_as_multinomial_ones(divide, measurement):
    total, found = corner(measurement, ORDER), every_part(divide())
    products = standardised(found[1], total, PARTS) * standardised(found[3], total, PARTS)
    assert products[total > 0].mean() == pytest.approx(-1 / (PARTS - 1), abs=0.03)


def test_equal_seeds_give_equal_counts(divide):
    one, again, other = (every_part(divide(seed=seed)) for seed in (1, 1, 2))
    assert one.tobytes() == again.tobytes()
    assert not np.array_equal(one, other)


def test_all_but_some_parts(divide, measurement):
    photons, rows = divide(kept=3), slice(7, 23)
    kept = every_part(photons, 3)[:, rows]
    rest = corner(measurement, ORDER[rows]) - kept[0] - kept[2]
    np.testing.assert_array_equal(photons.without((0, 2), rows), rest)
    assert photons.without((0, 2), rows).dtype == np.float32


def test_a_file_holds_what_memory_would(divide, monkeypatch, tmp_path):
    memory = divide(kept=3)
    monkeypatch.setattr(count_splits, "IN_MEMORY_BYTES", 0)
    file = divide(kept=3)
    assert (memory._memory is None, file._memory is None) == (False, True)
    assert list(tmp_path.iterdir()) == [], "the file has no name"
    frames = np.array([40, 3, 3, 11])
    with closing(file._file):
        for which in range(3):
            np.testing.assert_array_equal(file.split(which, frames), memory.split(which, frames))
        np.testing.assert_array_equal(file.without((1,), slice(30, 50)), memory.without((1,), slice(30, 50)))


def test_counts_beyond_one_byte_are_kept_whole(divide, measured):
    bright = measured(n=8, dose=1e8)
    assert bright.counts().max() > 2**16
    photons = divide(measurement=bright, order=np.arange(8))
    np.testing.assert_array_equal(every_part(photons).sum(axis=0), corner(bright, np.arange(8)))
