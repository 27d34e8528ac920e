"""Advice from a made-up atlas whose law is known: the recommended scan, goals, sentences, and what is refused."""

import io
import itertools
import json
import math
import re

import numpy as np
import pytest
from fixtures.atlas import KINDS, VIEWS, made_up
from fixtures.scan import soft_probe

from fly64_assets.errors import AdviceError, ProbeError
from fly64_assets.evaluation.advice.advising import advise, atlas_of
from fly64_assets.evaluation.advice.known import ObjectNumbers, illumination_of, probe_spots, specimen, spread_of
from fly64_assets.evaluation.advice.question import Question
from fly64_assets.evaluation.atlas.cells import read_rows
from fly64_assets.simulation.objects.making import make_object, make_probe

FIELD = (160.0, 200.0)


@pytest.fixture(scope="module")
def atlas():
    return atlas_of(tuple(read_rows(io.StringIO(made_up(noise=0.05, floor=-4.0, kind_deviation=0.1)))))


def asked(atlas, ask="photons_per_pixel", value=100.0, obj="cells", probe="curved", **more):
    field = more.pop("field_px", FIELD)
    diameter = more.pop("probe_diameter_px", None)
    known = specimen(obj, atlas.rows), illumination_of(probe, atlas.rows, diameter)
    return advise(atlas, Question(ask, value, field, **more), *known)


def test_a_dose_becomes_a_scan_with_the_better_method(atlas):
    advice = asked(atlas)
    best = advice.best
    # In the made-up atlas `one` is better by a fifth, and more overlap helps at the same dose per pixel.
    assert best.method == "one"
    assert best.overlap in (0.75, 0.8)
    assert best.step_px == pytest.approx((1 - best.overlap) * 21.3)
    assert (best.rows, best.columns) == tuple(math.ceil(side / best.step_px) for side in FIELD)
    assert best.photons_per_frame == pytest.approx(100 * best.step_px**2)
    assert best.phase_error_rad.low < best.phase_error_rad.expected < best.phase_error_rad.high
    assert advice.photon_floor_rad == pytest.approx(0.05)
    assert advice.kinds == tuple(sorted(KINDS))
    assert advice.outside == ()
    # The others: the other method with the same scan, then other overlaps.
    assert (advice.others[0].method, advice.others[0].overlap) == ("two", best.overlap)
    assert len({option.overlap for option in advice.others[1:]}) == 3
    assert all(option.photons_per_pixel == pytest.approx(100) for option in advice.others)
    for option in advice.others:
        assert option.phase_error_rad.expected * 1.05 >= best.phase_error_rad.expected


def test_the_coarsest_step_is_preferred_among_equals(atlas):
    """Where the dose is so high that all scans are as good, and where the overlap is given."""
    # The bright scan is limited by geometry, which overlap helps; a given overlap is kept.
    assert asked(atlas, overlap=0.35).best.overlap == 0.35
    assert asked(atlas, overlap=0.35, methods=("two",)).best.method == "two"
    costs = {overlap: asked(atlas, overlap=overlap).best.phase_error_rad.expected for overlap in (0.6, 0.7, 0.8)}
    chosen = asked(atlas).best
    assert chosen.phase_error_rad.expected <= 1.05 * min(costs.values())
    coarser = asked(atlas, overlap=round(chosen.overlap - 0.05, 2)).best
    assert coarser.phase_error_rad.expected > 1.05 * min(costs.values())


@pytest.mark.parametrize(("ask", "least", "most"), [("photons_per_pixel", 1e-1, 1e9), ("total_photons", 1e3, 1e12)])
def test_more_photons_never_promise_less(atlas, ask, least, most):
    values = np.geomspace(least, most, 12)
    answers = [asked(atlas, ask, value).best for value in values]
    for field in ("expected", "low", "high"):
        errors = [getattr(option.phase_error_rad, field) for option in answers]
        assert all(b <= 1.05 * a for a, b in itertools.pairwise(errors))
    for value in values:
        advice = asked(atlas, ask, value)
        assert advice.twice.phase_error_rad.expected <= advice.best.phase_error_rad.expected


def test_the_doses_mean_the_same(atlas):
    by_pixel = asked(atlas, overlap=0.5)
    total = by_pixel.best.photons_per_frame * by_pixel.best.frames
    by_area = asked(atlas, "photons_per_nm2", 100 / 64, pixel_size_nm=8.0, overlap=0.5)
    for other in (asked(atlas, "total_photons", total, overlap=0.5), by_area):
        assert other.best.photons_per_pixel == pytest.approx(100)
        assert other.best.phase_error_rad.expected == pytest.approx(by_pixel.best.phase_error_rad.expected)
    document = by_area.to_dict()
    assert document["best"]["step_m"] == pytest.approx(by_area.best.step_px * 8e-9)
    assert document["best"]["photons_per_nm2"] == pytest.approx(100 / 64)
    assert document["best"]["total_photons"] == pytest.approx(total)
    assert json.loads(json.dumps(document)) == json.loads(json.dumps(by_area.to_dict()))


@pytest.mark.parametrize(("ask", "goal"), [("phase_error_rad", 0.05), ("resolution_px", 4.0)])
def test_a_goal_is_reached_by_the_dose_that_is_named(atlas, ask, goal):
    advice = asked(atlas, ask, goal)
    best = advice.best
    value = best.phase_error_rad if ask == "phase_error_rad" else best.resolution_px
    assert value.expected == pytest.approx(goal, rel=0.01)
    # The same dose as a budget promises the same; nine in ten need more.
    again = asked(atlas, value=best.photons_per_pixel, overlap=best.overlap, methods=(best.method,)).best
    assert again.phase_error_rad.expected == pytest.approx(best.phase_error_rad.expected)
    assert advice.photons_to_be_sure > best.photons_per_pixel
    sure = asked(atlas, value=advice.photons_to_be_sure, overlap=best.overlap, methods=(best.method,)).best
    value = sure.phase_error_rad if ask == "phase_error_rad" else sure.resolution_px
    assert value.high == pytest.approx(goal, rel=0.01)
    assert "For nine cases in ten" in str(advice)


def test_where_no_dose_is_enough_for_nine_in_ten_the_most_that_was_tried_is_named(atlas):
    """The search goes on beyond the atlas, to ten times its most photons."""
    most = 10 * max(row.photons for row in atlas.rows)
    least = asked(atlas, value=most).best.phase_error_rad
    # Between the expected error and the upper end at the highest dose of the search.
    advice = asked(atlas, "phase_error_rad", math.sqrt(least.expected * least.high))
    assert advice.photons_to_be_sure is None
    assert advice.most_photons == pytest.approx(most)
    dose = re.search(r"For nine cases in ten no dose up to ([\d,e+.]+) photons per pixel does, ten times", str(advice))
    assert float(dose[1].replace(",", "")) == pytest.approx(most, rel=0.05)


def test_what_lies_outside_of_the_atlas_is_said(atlas):
    assert asked(atlas).outside == ()
    assert "the dose is 0.1 photons per pixel; those of the atlas are 25" in asked(atlas, value=0.1).outside[0]
    assert "the dose is 1e+09 photons per pixel" in asked(atlas, value=1e9).outside[0]
    assert "the overlap is 5 %; those of the atlas are 20 % to 80 %" in asked(atlas, overlap=0.05).outside[0]
    assert asked(atlas, overlap=min(VIEWS.values())).outside == ()
    assert "the probe is 60.0 px wide" in asked(atlas, probe_diameter_px=60.0).outside[0]
    assert "the probe is more structured than those of the atlas" in asked(atlas, probe="structured").outside[0]
    wide = asked(atlas, obj=ObjectNumbers(1.0, bandwidth=0.6, gradient_sparsity=0.5, spread=0.5))
    assert "the object's bandwidth is 0.6 cycles/px; those of the atlas are 0.014 to 0.31" in wide.outside[0]
    for advice in (wide, asked(atlas, value=0.1)):
        assert f"Extrapolated: {advice.outside[0]}." in str(advice)
    assert "Extrapolated" not in str(asked(atlas))


def test_what_was_assumed_is_said(atlas):
    advice = asked(atlas, obj=ObjectNumbers(1.0))
    assert [note.partition(" is unknown")[0] for note in advice.notes] == [
        "the phase's spread", "the bandwidth", "the gradient's sparsity",
    ]  # fmt: skip
    assert "The bandwidth is unknown: 0.078 cycles/px, the middle of the atlas, was taken." in str(advice)
    # A kind of the atlas: what was measured nearby.
    assert "the atlas itself has for `cells`, probe `curved` and one" in asked(atlas).notes[0]
    # Where a scan of the table was better by far than the law's choice, that is said too; never of a method left out.
    other = asked(atlas, overlap=0.2, methods=("two", "one"))
    assert re.search(r"smallest error for this object and probe is .* of one at an overlap of 80 %", other.notes[1])
    assert "of two at an overlap of 80 %" in asked(atlas, overlap=0.2, methods=("two",)).notes[1]
    assert len(asked(atlas, overlap=0.8).notes) == 1


def test_a_dose_that_shows_hardly_anything_is_named(atlas):
    sentence = "The expected error is hardly smaller than that"
    assert sentence in str(asked(atlas, value=1e-3))
    assert sentence not in str(asked(atlas, value=100.0))


def test_an_object_is_known_by_its_kind_or_by_an_array(atlas):
    made = make_object("foam", 160, seed=1)
    by_kind, by_array = specimen("foam", atlas.rows), specimen(made, atlas.rows)
    assert (by_kind.spread, by_kind.bandwidth) == (by_array.spread, by_array.bandwidth)
    assert by_array.spread == pytest.approx(spread_of(made))
    # Twice as bright, and turned by a global phase, it is the same object.
    assert specimen(2 * np.exp(1.3j) * made, atlas.rows).spread == pytest.approx(by_array.spread)
    assert specimen("cells", atlas.rows).bandwidth == pytest.approx(KINDS["cells"][0])


def test_a_probe_is_placed_between_those_of_the_atlas(atlas):
    spots = {kind: probe_spots(make_probe(kind, 64, 0.25, 0.04, 1)) for kind in ("flat", "curved", "structured")}
    assert spots["flat"] < spots["curved"] < spots["structured"]
    # A defocus between those of the flat and the curved probe.
    flat = make_probe("flat", 64, 0.25, 0.04, 1)
    radius = np.hypot(*np.mgrid[-32:32, -32:32]) / 16
    between = illumination_of(flat * np.exp(2j * radius**2), atlas.rows, None)
    assert 0 < between.shares["flat"] < 1
    assert sum(between.shares.values()) == pytest.approx(1)
    assert between.diameter_px == pytest.approx(21.3, abs=0.1)
    assert illumination_of("flat", atlas.rows, 30.0).diameter_px == 30.0
    errors = [
        advise(atlas, Question("photons_per_pixel", 100, FIELD, overlap=0.5), specimen("cells", atlas.rows), probe)
        for probe in (illumination_of("curved", atlas.rows, None), between, illumination_of("flat", atlas.rows, None))
    ]
    expected = [advice.best.phase_error_rad.expected for advice in errors]
    assert expected == sorted(expected)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"value": 0.0}, "photons per pixel = 0.0: must be a positive number"),
        ({"value": math.nan}, "must be a positive number"),
        ({"value": math.inf}, "must be a positive number"),
        ({"ask": "photons_per_nm2"}, "needs the pixel size"),
        ({"ask": "resolution_px", "value": 1.5}, "no pixel grid resolves less than 2 px"),
        ({"ask": "phase_error_rad", "value": 0.6}, "a uniform object has 0.500 rad without a photon"),
        ({"ask": "phase_error_rad", "value": 1e-5}, "^phase error = 1e-05 rad: out of reach; the least expected is"),
        ({"field_px": (0.0, 100.0)}, r"field = 0 x 100 px: both sides must be in \[1, 1,000,000\]"),
        ({"field_px": (15.0, 100.0)}, "is smaller than the probe, which is 21.3 px wide"),
        ({"field_px": (math.nan, 100.0)}, "both sides must be in"),
        ({"ask": "photons_per_nm2", "pixel_size_nm": 1e300}, "that is inf photons per object pixel; must be in"),
        ({"ask": "photons_per_nm2", "pixel_size_nm": 1e-300}, "that is 0 photons per object pixel; must be in"),
        ({"value": 1e300}, r"photons per pixel = 1e\+300: that is 1e\+300 photons per object pixel; must be in"),
        ({"ask": "total_photons", "value": 1e-3}, "photons per object pixel; must be in"),
        ({"pixel_size_nm": -8.0}, "pixel size = -8.0 nm: must be a positive number"),
        ({"overlap": 1.0}, r"overlap = 1.0: must be in \[0, 0.95\]"),
        ({"overlap": math.nan}, "overlap = nan: must be in"),
        ({"methods": ("epie",)}, r"method = epie: is not in the atlas \(one, two\)"),
        ({"obj": "cheese"}, "object = 'cheese': is no kind"),
        ({"probe": "round"}, "probe = 'round': is no kind"),
        ({"obj": ObjectNumbers(-1.0)}, r"phase range = -1.0: must be in \(0, 1000\]"),
        ({"obj": ObjectNumbers(1.0, 0.9, 1.0, 2.0)}, "bandwidth = 0.9.*sparsity = 1.0.*spread = 2.0"),
        ({"obj": np.ones((64, 64))}, "the object is float64"),
        ({"obj": np.ones((64, 64), complex)}, "the object is constant"),
        ({"probe": np.ones((64, 32), complex)}, "expected complex"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(atlas, more, says):
    with pytest.raises(AdviceError, match=says):
        asked(atlas, **more)


def test_a_probe_in_fft_order_is_refused(atlas):
    with pytest.raises(ProbeError, match="FFT order"):
        illumination_of(np.fft.fftshift(soft_probe(64)), atlas.rows, None)


def test_a_table_of_one_kind_gives_no_answer(atlas):
    with pytest.raises(AdviceError, match=r"the table is too small for an answer; one: 1 kind\(s\) of objects"):
        atlas_of(tuple(row for row in atlas.rows if row.kind == "cells"))
