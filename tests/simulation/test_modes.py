"""Frames of a base whose probe has several incoherent modes: against a direct sum, and what goes into the files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fly64_assets.contract.npz import load_dataset, load_measurement
from fly64_assets.physics.counts import frame_generator, stored_amplitude
from fly64_assets.physics.illumination import illumination, probe_diameter_px
from fly64_assets.physics.windows import read
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.detector import Detector
from fly64_assets.simulation.frames import simulate, split_metadata, write_split
from fly64_assets.simulation.recipe import BaseRecipe
from fly64_assets.simulation.views import write_view

DOSE, SEED = 3000, 11


@pytest.fixture(scope="module")
def base():
    made = make_base(BaseRecipe("coins", "grass", object_size=110, positions=24), patch_size=64)
    x = np.arange(64) - 32
    second = made.probe * x
    second -= made.probe * np.vdot(made.probe, second) / np.vdot(made.probe, made.probe)
    second *= 0.5 * np.linalg.norm(made.probe) / np.linalg.norm(second)
    return replace(made, further_modes=second[None].astype(np.complex64))


@pytest.fixture(scope="module")
def scan(base):
    return simulate(base, dose=DOSE, scan="base", axis="y", seed=SEED)


def direct(base, scan, index):
    """Expected counts of frames by plain sums over the modes."""
    windows = read(base.object, scan.positions[index])
    fields = [np.fft.fft2(mode * windows, norm="ortho") for mode in (base.probe, base.further_modes[0])]
    return scan.scale**2 * np.fft.fftshift(sum(np.abs(field) ** 2 for field in fields), axes=(1, 2))


def test_the_dose_counts_all_modes_and_counts_are_drawn_from_their_sum(base, scan):
    whole = direct(base, scan, np.arange(24))
    assert whole.sum(axis=(1, 2)).mean() == pytest.approx(DOSE)
    index = scan.halves["train"]
    rates = whole[index]
    assert scan.expected_mean_counts("train") == pytest.approx(rates.sum(axis=(1, 2)).mean())
    assert scan.expected_mean_counts("train") > 1.1 * scan.scale**2 * (np.abs(base.probe) ** 2).sum() * 0.3
    drawn = [frame_generator(SEED, DOSE, int(j)).poisson(rate) for j, rate in zip(index, rates, strict=True)]
    found = np.concatenate(list(scan.amplitude_blocks("train")))
    np.testing.assert_array_equal(found, stored_amplitude(np.stack(drawn), scan.scale))


def test_a_detector_sees_the_sum(base, scan):
    seen = replace(scan, detector=Detector(None, 4, 0.0))
    rates = direct(base, scan, scan.halves["test"])
    assert seen.expected_mean_counts("test") < rates.sum(axis=(1, 2)).mean()
    draws = np.random.default_rng(1).poisson(rates, (40, *rates.shape))
    assert seen.expected_mean_counts("test") == pytest.approx(np.minimum(draws, 4).sum(axis=(2, 3)).mean(), rel=0.01)


def test_illumination_and_diameter_are_of_all_modes(base):
    power = (np.abs(base.modes.astype(np.complex128)) ** 2).sum(axis=0)
    np.testing.assert_allclose(illumination(base.modes, base.scan), illumination(np.sqrt(power), base.scan), rtol=1e-5)
    assert probe_diameter_px(base.modes) == pytest.approx(probe_diameter_px(np.sqrt(power)), rel=1e-5)


def test_halves_and_views_carry_the_modes(base, scan, tmp_path):
    metadata = split_metadata(
        scan, "train", patches=True, base_name="b", base_sha256="ab" * 32, parameters_sha256="cd" * 32
    )
    with (tmp_path / "train.npz").open("wb") as file:
        report = write_split(scan, "train", file, patches=True, metadata=metadata)
    assert not report.warnings, report.warnings
    dataset = load_dataset(tmp_path / "train.npz")
    np.testing.assert_array_equal(dataset.modes, base.modes)
    # The half as a view of itself, with the same description.
    with (tmp_path / "view.npz").open("wb") as file:
        write_view(dataset, np.arange(dataset.frames), file, metadata=dataset.metadata)
    np.testing.assert_array_equal(load_measurement(tmp_path / "view.npz").modes, base.modes)


def test_a_second_mode_without_light_changes_no_count(base, scan):
    plain = simulate(replace(base, further_modes=None), dose=DOSE, scan="base", axis="y", seed=SEED)
    dark = simulate(replace(base, further_modes=0 * base.further_modes), dose=DOSE, scan="base", axis="y", seed=SEED)
    for one, other in zip(plain.amplitude_blocks("train"), dark.amplitude_blocks("train"), strict=True):
        np.testing.assert_array_equal(one, other)
