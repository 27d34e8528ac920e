"""Frames simulated of a known object: their counts, their dose on the good pixels, and the file."""

from __future__ import annotations

import numpy as np
import pytest
from fixtures.measured import FRAMES, PHOTONS, SEED, gap_and_beamstop, measured_truth

from fly64_assets.contract.canonical import canonicalize
from fly64_assets.contract.metadata import decode_metadata, has_stand_in_object
from fly64_assets.contract.npz import load_dataset, validate_file
from fly64_assets.errors import ContractError
from fly64_assets.measured.twin import SimulatedMeasurement, simulated_measurement, write_simulated_measurement
from fly64_assets.simulation.frames import simulate


def counts_of(arrays):
    scale = decode_metadata(arrays["_metadata"])["physics_parameters"]["intensity_scale"]
    return (scale * arrays["diffraction"].astype(np.float64)) ** 2


def test_counts_are_whole_and_their_mean_is_the_dose():
    counts = counts_of(simulated_measurement(measured_truth(), PHOTONS, SEED))
    assert np.allclose(counts, np.rint(counts), atol=1e-3)
    # Standard error of the mean over frames of Poisson totals.
    assert abs(counts.sum(axis=(1, 2)).mean() - PHOTONS) < 5 * np.sqrt(PHOTONS / FRAMES)


def test_the_dose_is_that_of_the_good_pixels():
    bad = gap_and_beamstop()
    masked, whole = (simulated_measurement(measured_truth(), PHOTONS, SEED, mask) for mask in (bad, None))
    counts = counts_of(masked)
    assert not counts[:, bad].any()
    assert abs(counts.sum(axis=(1, 2)).mean() - PHOTONS) < 5 * np.sqrt(PHOTONS / FRAMES)
    # The pixels that count see more light than without the mask.
    assert counts[:, ~bad].sum() > 1.01 * counts_of(whole)[:, ~bad].sum()


def test_rates_are_those_of_the_simulated_study():
    truth = measured_truth()
    scan = simulate(truth, dose=int(PHOTONS), scan="base", axis="y", seed=SEED)
    frames = SimulatedMeasurement.of(truth, PHOTONS, SEED)
    assert frames.scale == scan.scale
    expected = np.empty((FRAMES, 64, 64), np.float32)
    for split, index in scan.halves.items():
        expected[index] = np.concatenate(list(scan.amplitude_blocks(split)))
    assert np.array_equal(np.concatenate(list(frames.amplitude_blocks(7))), expected)


def test_noise_belongs_to_the_number_of_the_frame():
    truth = measured_truth()
    numbered = simulated_measurement(truth, PHOTONS, SEED, scan_index=np.arange(FRAMES) + 5)
    plain = simulated_measurement(truth, PHOTONS, SEED)
    assert numbered["scan_index"].tolist() == list(range(5, FRAMES + 5))
    assert not np.array_equal(numbered["diffraction"], plain["diffraction"])


def test_file_is_what_the_arrays_are(tmp_path):
    truth, bad = measured_truth(), gap_and_beamstop()
    arrays = simulated_measurement(truth, PHOTONS, SEED, bad)
    with (tmp_path / "frames.npz").open("wb") as file:
        write_simulated_measurement(SimulatedMeasurement.of(truth, PHOTONS, SEED, bad), file)
    dataset = load_dataset(tmp_path / "frames.npz")
    assert np.array_equal(dataset.diffraction, arrays["diffraction"])
    assert np.array_equal(dataset.object, truth.object)
    assert np.array_equal(dataset.bad_pixels, bad)
    assert dataset.metadata["physics_parameters"]["nphotons"] == PHOTONS


def test_history_of_a_stand_in_object_is_not_carried_over():
    truth = measured_truth()
    measured = {"tool": "fly64_assets", "operation": "stand_in_object", "parameters": {}}
    shifted = {"tool": "fly64_assets", "operation": "shift_dc_to_centre", "parameters": {}}
    base = type(truth)(truth.object, truth.probe, truth.x, truth.y, {"data_transformations": [measured, shifted]})
    metadata = decode_metadata(simulated_measurement(base, PHOTONS, SEED)["_metadata"])
    assert [step["operation"] for step in metadata["data_transformations"]] == [
        "shift_dc_to_centre",
        "simulate_measurement",
    ]
    assert not has_stand_in_object(metadata)


def test_no_light_is_refused():
    truth = measured_truth()
    dark = type(truth)(np.zeros_like(truth.object), truth.probe, truth.x, truth.y, {})
    with pytest.raises(ContractError, match="no light reaches the detector"):
        simulated_measurement(dark, PHOTONS, SEED)


def test_fixture_is_a_measured_file(measured_file, masked_file):
    assert validate_file(measured_file.path).ok
    arrays, _ = canonicalize(masked_file.path)
    assert has_stand_in_object(decode_metadata(arrays["_metadata"]))
    assert np.array_equal(arrays["bad_pixels"], masked_file.bad_pixels)
    # Positions are those of the truth up to the place of the grid.
    moved = np.ptp(arrays["xcoords"] - masked_file.truth.x), np.ptp(arrays["ycoords"] - masked_file.truth.y)
    assert max(moved) < 1e-9
