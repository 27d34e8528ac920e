"""Overlap views: what is kept, why one is skipped, and the file that is written."""

import dataclasses

import numpy as np
import pytest

from fly64_assets.contract.findings import Expectations
from fly64_assets.contract.npz import load_dataset
from fly64_assets.errors import ContractError
from fly64_assets.physics.probe_overlap import probe_overlap
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.frames import simulate, split_metadata, write_split
from fly64_assets.simulation.recipe import BaseRecipe, ViewRule
from fly64_assets.simulation.views import exposure, split_view, view_metadata, write_view

DENSE = ViewRule(
    "dense", spacing_px=19.2, least_frames=4, needed_for="min_view_frames", gridsize=2, neighbor_count=7, seed=456
)


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    base = make_base(BaseRecipe(amplitude="coins", phase="grass", object_size=160, positions=120), 64)
    scan = simulate(base, dose=1000, scan="uniform", axis="y", seed=42)
    metadata = split_metadata(
        scan, "train", patches=True, base_name="test", base_sha256="0" * 64, parameters_sha256="1" * 64
    )
    path = tmp_path_factory.mktemp("views") / "train.npz"
    with path.open("wb") as file:
        write_split(scan, "train", file, patches=True, metadata=metadata)
    return load_dataset(path)


def test_a_rule_without_spacing_keeps_every_frame(half):
    whole = split_view(half, dataclasses.replace(DENSE, view="baseline", spacing_px=None), 1000, "train")
    np.testing.assert_array_equal(whole.kept, np.arange(half.frames))
    assert not whole.skipped


def test_a_view_keeps_distances_and_becomes_a_data_set(half, tmp_path):
    dense = split_view(half, DENSE, 1000, "train")
    x, y = half.x[dense.kept], half.y[dense.kept]
    distance = np.hypot(x[:, None] - x, y[:, None] - y) + 1e9 * np.eye(len(x))
    assert distance.min() >= 19.2
    metadata = view_metadata(half, dense, DENSE, parameters_sha256="2" * 64)
    path = tmp_path / "dense.npz"
    expected = Expectations("test", 64, (1000,), {"baseline": 1, "dense": 2}, 7, patches=True)
    with path.open("wb") as file:
        write_view(half, dense.kept, file, metadata=metadata, expected=expected)
    kept = load_dataset(path)
    np.testing.assert_array_equal(kept.diffraction, half.diffraction[dense.kept])
    np.testing.assert_array_equal(kept.scan_index, half.scan_index[dense.kept])
    assert kept.metadata["data_transformations"][-1]["parameters"]["n_accepted"] == len(x)
    other = dataclasses.replace(expected, gridsizes={"baseline": 1})
    with path.open("wb") as file, pytest.raises(ContractError, match=r"(?s)view dense: train breaks .* view = 'dense'"):
        write_view(half, dense.kept, file, metadata=metadata, expected=other)


def test_a_view_may_hold_too_few_frames_for_a_group_where_none_is_needed(half, tmp_path):
    few = dataclasses.replace(DENSE, spacing_px=70.0, least_frames=1, neighbor_count=2)
    view = split_view(half, few, 1000, "train")
    assert 1 <= len(view.kept) < 4
    assert "metric_1_group_based_avg" not in view.metrics
    metadata = view_metadata(half, view, few, parameters_sha256="2" * 64)
    assert metadata["physics_parameters"]["gridsize"] is None
    expected = Expectations("test", 64, (1000,), {"baseline": 1, "dense": 2}, 2, patches=True)
    path = tmp_path / "dense.npz"
    with path.open("wb") as file:
        write_view(half, view.kept, file, metadata=metadata, expected=expected)
    assert load_dataset(path).frames == len(view.kept)


def test_a_view_with_too_few_frames_is_skipped_with_the_measured_number(half):
    far = dataclasses.replace(DENSE, spacing_px=1000.0)
    assert split_view(half, far, 1000, "train").reason == (
        f"dose_1000/dense: train: 1 of {half.frames} positions are at least 1000 px apart; 4 are needed for "
        "min_view_frames (view skipped)"
    )


# -- designed by the probe ------------------------------------------------------------------------------------------

BY_PROBE = dataclasses.replace(DENSE, spacing_px=None, probe_overlap=0.4, probe_diameter="energy_90")


def test_a_view_by_the_probe_says_what_it_reached(half):
    view = split_view(half, BY_PROBE, 1000, "train")
    found = probe_overlap(np.c_[half.x, half.y][view.kept], half.modes).of("energy_90")
    assert view.facts["reached_linear_overlap"] == pytest.approx(found.linear.nearest)
    assert view.facts["reached_linear_overlap"] == pytest.approx(0.4, abs=0.05)
    assert (view.facts["target_linear_overlap"], view.facts["probe_diameter"]) == (0.4, "energy_90")
    assert view.metrics["target_diameter_px"] == found.diameter_px
    assert 4 <= len(view.kept) < half.frames
    wider = split_view(half, dataclasses.replace(BY_PROBE, probe_overlap=0.1), 1000, "train")
    assert len(wider.kept) < len(view.kept)


def test_a_view_that_asks_for_more_overlap_than_there_is_is_skipped(half):
    reason = split_view(half, dataclasses.replace(BY_PROBE, probe_overlap=0.99), 1000, "train").reason
    assert reason.startswith(f"dose_1000/dense: train: nearest probes of all {half.frames} positions overlap by ")
    assert reason.endswith("and the view asks for 99%: give the base more positions (view skipped)")
    few = dataclasses.replace(BY_PROBE, least_frames=half.frames)
    assert "positions are left at an overlap of 40%" in split_view(half, few, 1000, "train").reason


def test_fewer_frames_with_more_photons_spend_as_many_on_an_object_pixel(half, tmp_path):
    rule = dataclasses.replace(BY_PROBE, keeps_photons=True)
    view = split_view(half, rule, 1000, "train")
    more = half.frames / len(view.kept)
    exposed = exposure(half, rule, view.kept, dose=1000, seed=42, repeat=1)
    metadata = view_metadata(half, view, rule, parameters_sha256="2" * 64, exposed=exposed)
    expected = Expectations("test", 64, (1000,), {"baseline": 1, "dense": 2}, 7, patches=True)
    written = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.npz"
        with path.open("wb") as file:
            write_view(half, view.kept, file, metadata=metadata, expected=expected, exposed=exposed)
        written.append(path.read_bytes())
    assert written[0] == written[1]
    frames = load_dataset(path)
    physics = frames.metadata["physics_parameters"]
    assert physics["nphotons"] == pytest.approx(1000 * more)
    assert physics["full_scan_nphotons"] == 1000
    assert frames.intensity_scale == pytest.approx(half.intensity_scale * np.sqrt(more))
    counts = (frames.intensity_scale * frames.diffraction.astype(float)) ** 2
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-2)  # whole photons
    # As many photons altogether as in all frames of the half: five standard deviations of a Poisson number.
    everything = half.frames * half.metadata["physics_parameters"]["expected_mean_counts"]
    kept = physics["expected_mean_counts"] * len(view.kept)
    assert counts.sum() == pytest.approx(kept, abs=5 * np.sqrt(kept))
    assert kept == pytest.approx(everything, rel=0.1)  # the kept windows see another part of the object
    # The mean frame is the one before, with more photons.
    before = (half.intensity_scale * half.diffraction[view.kept].astype(float)) ** 2
    assert counts.sum() / before.sum() == pytest.approx(more, rel=0.05)
    assert exposure(half, BY_PROBE, view.kept, dose=1000, seed=42, repeat=1) is None
    everything_kept = dataclasses.replace(rule, probe_overlap=None)
    assert exposure(half, everything_kept, np.arange(half.frames), dose=1000, seed=42, repeat=1) is None
