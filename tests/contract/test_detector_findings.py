"""Findings about detectors: none on data of our own, whatever the dose, and the statistics behind them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from fly64_assets.contract import schema
from fly64_assets.contract.frames import Frames
from fly64_assets.contract.metadata import build_metadata, encode_metadata
from fly64_assets.contract.places import number_list, parse_number_list
from fly64_assets.contract.statistics import frame_statistics
from fly64_assets.contract.validate import validate
from fly64_assets.physics.counts import poisson_counts, stored_amplitude
from fly64_assets.physics.forward import exact_mean, exit_wave_energies, intensity_scale, patch_counts
from fly64_assets.physics.windows import Scan
from fly64_assets.simulation.bases import make_base
from fly64_assets.simulation.recipe import BaseRecipe

SMALL = BaseRecipe(object_size=130, positions=80)
RECIPES = {
    "demo": SMALL,
    "in focus and narrow": replace(SMALL, probe_radius=0.08, probe_curvature=0.0),
    "in focus and wide": replace(SMALL, probe_radius=0.45, probe_curvature=0.0),
    "far from focus": replace(SMALL, probe_radius=0.3, probe_curvature=12.0),
    "raster": replace(SMALL, pattern="raster", positions=81),
    "opaque and strong": replace(SMALL, amplitude="text", amplitude_range=(0.0, 1.0), phase_range=(-3.0, 3.0)),
}


def simulated(recipe, dose, frames=slice(None)):
    base = make_base(recipe, 64)
    scan = Scan(base.x, base.y, base.object.shape, 64)
    energies = exit_wave_energies(base.object, base.probe, scan)
    scale = intensity_scale(dose, energies)
    number = np.arange(len(base.x))[frames]
    counts = poisson_counts(patch_counts(base.object, base.probe, scan[number], scale), number, 3, int(dose))
    physics = {"nphotons": dose, "intensity_scale": scale}
    physics["expected_mean_counts"] = scale**2 * exact_mean(energies[number])
    document = build_metadata(64, physics=physics, fields={"view": "part"})
    arrays = schema.small_arrays(base.object, base.probe, base.x[number], base.y[number], number, document)
    return {"diffraction": stored_amplitude(counts, scale)} | arrays


def told(arrays):
    return [f.message for f in validate(arrays).findings if "001." in f.code and f.severity != "info"]


@pytest.mark.parametrize("dose", [1e2, 1e3, 1e4, 1e5])
@pytest.mark.parametrize("name", RECIPES)
def test_simulated_frames_have_no_finding(name, dose):
    """Few counts, dark corners, the bright beam and opaque places are none of a detector's faults."""
    assert told(simulated(RECIPES[name], dose)) == []
    assert told(simulated(RECIPES[name], dose, slice(None, None, 7))) == []


@pytest.mark.parametrize("scale", [None, 0.7])
def test_the_pass_counts_what_a_plain_computation_does(scale, monkeypatch):
    rng = np.random.default_rng(4)
    counts = rng.poisson(rng.gamma(1.0, 5.0, (16, 12)), (37, 16, 12))
    amplitude = (np.sqrt(counts) / (scale or 1.0)).astype(np.float32)
    amplitude[5, 3, 2] = amplitude.max() * 3 + 0.1
    bad = np.zeros((16, 12), bool)
    bad[2, 5] = True
    masked = np.where(bad, 0, amplitude).astype(float)
    for elements in (1, 400, 2**15):
        monkeypatch.setattr("fly64_assets.contract.statistics.CACHED_ELEMENTS", elements)
        found = frame_statistics(Frames("diffraction", amplitude, False), scale, bad)
        np.testing.assert_allclose(found.intensity, (masked**2).sum(axis=0), rtol=1e-12)
        factor = 1.0 if scale is None else scale**2
        np.testing.assert_allclose(found.detector.light, (masked**2).sum(axis=0) * factor, rtol=1e-12)
        if scale is None:
            np.testing.assert_allclose(found.detector.totals, (masked**2).sum(axis=(1, 2)), rtol=1e-12)
            assert found.detector.least == masked[masked > 0].min()
        else:
            assert found.totals == np.rint((scale * masked) ** 2).sum(axis=(1, 2)).tolist()
            assert (found.uncounted.number, found.uncounted.first) == (1, "5, 3, 2")
        assert (found.detector.top, found.detector.top_frames, found.detector.top_in_one) == (amplitude.max(), 1, 1)
        assert np.argwhere(found.detector.top_seen).tolist() == [[3, 2]]


def test_missing_negative_and_largest_values_are_counted_by_pixel():
    frames = np.random.default_rng(5).poisson(3.0, (20, 8, 8)).astype(np.float32)
    frames[:, 1] = np.nan
    frames[:, 2, 3] = -1
    frames[4:9, 6, 6] = frames[8, 5, 5] = 99
    found = frame_statistics(Frames("diffraction", frames, False), None).detector
    assert np.unique(np.argwhere(found.missing == 20)[:, 0]).tolist() == [1]
    assert np.argwhere(found.negative == 20).tolist() == [[2, 3]]
    assert found.negative_values == [-1.0]
    assert (found.top, found.top_frames, found.top_in_one) == (99.0, 5, 2)
    assert (found.top_seen[6, 6], found.top_seen[5, 5]) == (5, 1)


def test_a_cluster_of_hot_pixels_and_a_dead_line_are_named():
    arrays = simulated(SMALL, 1e4)
    frames = arrays["diffraction"].copy()
    scale = 1 / frames[frames > 0].min()
    for row, column in ((9, 9), (9, 10), (10, 9)):
        frames[:, row, column] = np.sqrt(900 + row) / scale
    frames[:, 33] = 0
    said = " | ".join(told(arrays | {"diffraction": frames}))
    assert "3 hot pixels" in said
    assert "(9, 9), (9, 10), (10, 9)" in said
    assert "dead pixels, 0 in all 80 frames" in said


def test_a_recorded_saturation_is_information():
    arrays = simulated(SMALL, 1e5)
    document = json.loads(str(arrays["_metadata"]))
    scale = document["physics_parameters"]["intensity_scale"]
    counts = np.minimum(np.rint((scale * arrays["diffraction"].astype(float)) ** 2), 200)
    arrays["diffraction"] = stored_amplitude(counts.astype(np.int64), scale)
    del document["physics_parameters"]["expected_mean_counts"]
    for recorded, severity in ((None, "warning"), (200, "info"), (400, "warning")):
        document["physics_parameters"]["saturation_counts"] = recorded
        report = validate(arrays | {"_metadata": encode_metadata(document)})
        found = [finding for finding in report.findings if finding.code == "DETECTOR-001.saturated"]
        assert [finding.severity for finding in found] == [severity]
        assert "(200 counts)" in found[0].message


def test_lists_of_numbers_are_read_as_they_are_written():
    numbers = [0, 1, 2, 7, 9, 10]
    assert number_list(numbers) == "0-2, 7, 9-10"
    assert parse_number_list(number_list(numbers)) == numbers
    for wrong in ("", "x", "3-", "5-4", "-1"):
        with pytest.raises(ValueError, match="expected numbers"):
            parse_number_list(wrong)
