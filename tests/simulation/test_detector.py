"""A simulated detector: its expected counts, its noise, and that what it hides changes nothing."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.stats import norm, poisson

from fly64_assets.contract.findings import Expectations
from fly64_assets.contract.metadata import encode_metadata
from fly64_assets.contract.npz import load_dataset, open_npz
from fly64_assets.contract.validate import validate, validate_pair
from fly64_assets.errors import ContractError
from fly64_assets.physics.counts import READ_OUT, frame_generator
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.detector import Detector, detector_step, make_detector
from fly64_assets.simulation.frames import simulate, split_metadata, write_split
from fly64_assets.simulation.recipe import BaseRecipe, DetectorSettings, ViewRule
from fly64_assets.simulation.views import split_view, view_metadata, write_view

GEOMETRY = {"pixel_size_m": 5e-8, "wavelength_m": 1.24e-10, "detector_distance_m": 2.1, "energy_eV": 10e3}
EIGER = DetectorSettings(gap_rows=((40, 4),), gap_columns=((18, 2),), beamstop_radius=1.5, beamstop_offset=(1, -1))
DENSE = ViewRule("dense", 19.2, 4, "min_view_frames", gridsize=2, neighbor_count=7, seed=456)
EXPECTED = Expectations("test", 64, (1000,), {"baseline": 1, "dense": 2}, 7, patches=True)


@pytest.fixture(scope="module")
def base():
    made = make_base(BaseRecipe("coins", "grass", object_size=160, positions=120), 64)
    return dataclasses.replace(made, metadata={"physics_parameters": GEOMETRY})


def scan_of(base, settings):
    detector = None if settings is None else make_detector(settings, 64)
    return simulate(base, dose=1000, scan="uniform", axis="y", seed=42, detector=detector)


def written(scan, split, folder):
    metadata = split_metadata(
        scan, split, patches=True, base_name="test", base_sha256="0" * 64, parameters_sha256="1" * 64
    )
    path = folder / f"{split}.npz"
    with path.open("wb") as file:
        write_split(scan, split, file, patches=True, metadata=metadata, expected=EXPECTED)
    return path


def counts_of(scan, split="train"):
    return np.rint((scan.scale * np.concatenate(list(scan.amplitude_blocks(split))).astype(float)) ** 2)


# -- expected counts against sums over the distribution -------------------------------------------------------------


@pytest.mark.parametrize("saturation", [0, 1, 2, 7, 40])
@pytest.mark.parametrize("noise", [0, 0.2, 1.0, 5.0])
def test_expected_counts_are_sums_over_photons_and_noise(saturation, noise):
    rates = np.concatenate([[0, 1e-9], np.geomspace(1e-3, 200, 40)])
    photons, most = np.arange(400), 60
    values = np.arange(-most, most + 1)
    shares = norm.cdf(values + 0.5, scale=noise) - norm.cdf(values - 0.5, scale=noise) if noise else values == 0
    given = np.maximum(photons[:, None] + values, 0)
    given = np.minimum(given, saturation) if saturation else given
    exact = [poisson.pmf(photons, rate) @ given @ shares for rate in rates]
    np.testing.assert_allclose(Detector(None, saturation, noise).expected_counts(rates), exact, rtol=1e-6, atol=2e-6)


def test_expected_counts_far_from_every_limit():
    rates = np.array([1e4, 1e6, 1e12])
    np.testing.assert_array_equal(Detector(None, 0, 3.0).expected_counts(rates), rates)
    np.testing.assert_allclose(Detector(None, 10**6, 3.0).expected_counts(rates)[[0, 2]], [1e4, 1e6], rtol=1e-12)
    # A pixel whose rate is the saturation level loses half of the mean deviation, sqrt(rate / 2 pi).
    lost = 1e6 - Detector(None, 10**6, 0.0).expected_counts(rates)[1]
    assert lost == pytest.approx(np.sqrt(1e6 / (2 * np.pi)), rel=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        EIGER,
        DetectorSettings(saturation=9),
        DetectorSettings(read_noise=0.8),
        dataclasses.replace(EIGER, saturation=5, read_noise=2.0),
    ],
)
def test_files_and_views_obey_the_contract_with_the_counts_that_are_expected(base, tmp_path, settings):
    scan = scan_of(base, settings)
    halves = {split: written(scan, split, tmp_path) for split in ("train", "test")}
    arrays = {split: open_npz(path) for split, path in halves.items()}
    assert validate_pair(arrays["train"], arrays["test"]).ok
    counts = np.concatenate([load_dataset(path).measurement().counts().sum(axis=(1, 2)) for path in halves.values()])
    expected = scan.detector.mean_counts(base.object, base.probe, scan.positions, scan.scale)
    sigma = np.sqrt((expected + scan.detector.noise_variance(64 * 64)) / len(counts))
    assert abs(counts.mean() - expected) < 4 * sigma
    document = load_dataset(halves["train"]).metadata
    assert (GEOMETRY | scan.detector.physics).items() <= document["physics_parameters"].items()
    steps = {step["operation"]: step["parameters"] for step in document["data_transformations"]}
    assert steps["detect"] == detector_step(scan.detector)
    # A wrong expectation is seen through mask, saturation and noise.
    other = json.loads(json.dumps(document))
    other["physics_parameters"]["expected_mean_counts"] += 12 * sigma
    found = validate(arrays["train"] | {"_metadata": encode_metadata(other)}).errors
    assert "DATA-001.counts" in {finding.code for finding in found}
    half = load_dataset(halves["train"])
    view = split_view(half, DENSE, 1000, "train")
    metadata = view_metadata(half, view, DENSE, parameters_sha256="2" * 64)
    path = tmp_path / "dense.npz"
    with path.open("wb") as file:
        write_view(half, view.kept, file, metadata=metadata, expected=EXPECTED)
    kept = load_dataset(path)
    assert (GEOMETRY | scan.detector.physics).items() <= kept.metadata["physics_parameters"].items()
    if scan.detector.bad is None:
        assert kept.bad_pixels is None
    else:
        np.testing.assert_array_equal(kept.bad_pixels, scan.detector.bad)
    own = scan.positions[half.scan_index[view.kept]]
    mean = scan.detector.mean_counts(base.object, base.probe, own, scan.scale)
    assert metadata["physics_parameters"]["expected_mean_counts"] == pytest.approx(mean, rel=1e-6)


# -- what the detector changes, and what it does not ----------------------------------------------------------------


def test_a_mask_changes_no_count_beside_it_and_no_scale(base):
    whole, gaps = scan_of(base, None), scan_of(base, EIGER)
    bad = gaps.detector.bad
    assert gaps.scale == whole.scale
    a, b = counts_of(whole), counts_of(gaps)
    np.testing.assert_array_equal(a[:, ~bad], b[:, ~bad])
    assert a[:, bad].any()
    assert not b[:, bad].any()
    # The dose is what reaches the detector; the expected counts are what it gives.
    lost = a[:, bad].sum(axis=1).mean()
    assert gaps.expected_mean_counts("train") == pytest.approx(whole.expected_mean_counts("train") - lost, abs=5)
    assert lost > 50


def test_saturation_cuts_and_noise_is_added_frame_by_frame(base):
    whole, cut = counts_of(scan_of(base, None)), counts_of(scan_of(base, DetectorSettings(saturation=9)))
    np.testing.assert_array_equal(cut, np.minimum(whole, 9))
    assert (whole > 9).any()
    scan = scan_of(base, DetectorSettings(read_noise=3.0))
    noisy = counts_of(scan)
    lit = whole > 20
    assert np.std((noisy - whole)[lit]) == pytest.approx(3.0, rel=0.1)
    assert abs((noisy - whole)[lit].mean()) < 5 * 3 / np.sqrt(lit.sum())
    assert (noisy >= 0).all()
    for size in (1, 7):
        blocks = np.concatenate(list(scan.amplitude_blocks("train", size)))
        np.testing.assert_array_equal(np.rint((scan.scale * blocks.astype(float)) ** 2), noisy)
    # Frames, doses and repeats have noise of their own, which is not that of the photons.
    photons = np.zeros((2, 64, 64), np.int64)
    detector, frames = Detector(None, 0, 3.0), np.arange(2)
    draws = [
        detector.record(photons, frames + at, *seeds)
        for at, *seeds in ((0, 1, 9), (1, 1, 9), (0, 2, 9), (0, 1, 8), (0, 1, 9, 2))
    ]
    assert all((one != other).any() for i, one in enumerate(draws) for other in draws[:i])
    np.testing.assert_array_equal(draws[0][1], draws[1][0])
    read_out, photons_of_frame = frame_generator(1, 9, 0, stream=READ_OUT), frame_generator(1, 9, 0)
    assert (read_out.random(8) != photons_of_frame.random(8)).all()


def test_values_under_the_mask_change_no_byte_of_a_view(base, tmp_path):
    half = load_dataset(written(scan_of(base, EIGER), "train", tmp_path))
    rng = np.random.default_rng(3)
    files = []
    for under in (0.0, np.nan, -1.0, rng.uniform(0, 1e6, (half.frames, np.count_nonzero(half.bad_pixels)))):
        frames = np.array(half.diffraction)
        frames[:, half.bad_pixels] = under
        own = dataclasses.replace(half, diffraction=frames)
        view = split_view(own, DENSE, 1000, "train")
        path = tmp_path / "view.npz"
        metadata = view_metadata(own, view, DENSE, parameters_sha256="2" * 64)
        with path.open("wb") as file:
            write_view(own, view.kept, file, metadata=metadata, expected=EXPECTED)
        files.append((path.read_bytes(), own.measurement().counts(view.kept).tobytes()))
    assert len(set(files)) == 1
    assert not load_dataset(path).diffraction[:, half.bad_pixels].any()


# -- settings -------------------------------------------------------------------------------------------------------


def test_gaps_beamstop_and_mask_file_add_up():
    bad = EIGER.pattern(64)
    assert bad[40:44].all()
    assert bad[:, 18:20].all()
    rows, columns = np.nonzero(bad[28:36, 28:36])
    assert (rows.mean() + 28, columns.mean() + 28) == (31, 33)
    assert len(rows) == 9
    mask = np.zeros((64, 64), bool)
    mask[0, 0] = True
    detector = make_detector(EIGER, 64, mask)
    np.testing.assert_array_equal(detector.bad, bad | mask)
    assert make_detector(DetectorSettings(saturation=3), 64).bad is None
    with pytest.raises(
        ContractError, match=r"the mask of m\.npy has shape \(64, 63\); the frames of this study have 64"
    ):
        make_detector(DetectorSettings(mask="m.npy"), 64, mask[:, 1:])
    with pytest.raises(ContractError, match="4095 of 4096 pixels would be bad, more than half"):
        make_detector(DetectorSettings(mask="m.npy"), 64, ~mask)


def test_what_counts_every_photon():
    assert DetectorSettings().counts_every_photon
    for given in (
        {"mask": "m.npy"},
        {"gap_rows": ((1, 1),)},
        {"beamstop_radius": 1.0},
        {"saturation": 1},
        {"read_noise": 0.1},
    ):
        assert not DetectorSettings(**given).counts_every_photon
