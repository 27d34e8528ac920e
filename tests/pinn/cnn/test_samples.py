from __future__ import annotations

import numpy as np
import pytest

from fly64_assets.pinn.cnn.samples import Samples
from fly64_assets.pinn.settings import CnnSettings

SETTINGS = CnnSettings(batch_size=16, validation_fraction=0.1, thinning_fraction=0.2)


def test_few_frames_are_thinned_and_none_held_out(measurement):
    samples = Samples.of(measurement, SETTINGS, gridsize=2, neighbor_count=7, seed=4)
    counts = measurement.counts()
    np.testing.assert_array_equal(samples.learned + samples.validated, counts)
    np.testing.assert_array_equal(samples.validated_row, np.arange(64))
    assert samples.validated.sum() == pytest.approx(0.2 * counts.sum(), rel=0.01)
    assert (samples.validated[counts == 0] == 0).all()
    assert len(samples.training) == 64
    assert samples.learned_scale == pytest.approx(measurement.intensity_scale * np.sqrt(0.8))
    assert samples.validated_scale == pytest.approx(measurement.intensity_scale * np.sqrt(0.2))


def test_of_many_frames_a_fraction_is_held_out(measured):
    measurement = measured(n=240, dose=1e3)
    samples = Samples.of(measurement, SETTINGS, gridsize=1, neighbor_count=7, seed=4)
    held_out = np.unique(samples.validation)
    assert len(held_out) == 24
    shown = {index for batch in samples.epoch(0) for index in batch.frames.ravel().tolist()}
    assert shown == set(samples.training.tolist()) == set(range(240)) - set(held_out.tolist())
    np.testing.assert_array_equal(samples.learned[samples.training], measurement.counts(samples.training))
    rows = samples.validated_row[held_out]
    assert sorted(rows) == list(range(24)) == list(range(len(samples.validated)))
    taken = samples.validated[rows]
    np.testing.assert_array_equal(samples.learned[held_out] + taken, measurement.counts(held_out))
    assert taken.sum() == pytest.approx(0.2 * measurement.counts(held_out).sum(), rel=0.05)


def test_epochs_differ_and_repeat_by_number(measurement):
    samples = Samples.of(measurement, SETTINGS, gridsize=2, neighbor_count=7, seed=4)
    one, again, two = ([b.frames.tolist() for b in samples.epoch(k)] for k in (0, 0, 1))
    assert one == again
    assert one != two
    assert {np.shape(frames) for frames in one} == {(4, 4)}
    assert len(one) == samples.batches_per_epoch == 16
