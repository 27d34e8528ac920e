"""The law of an atlas and its intervals, on made-up tables whose law is known."""

import dataclasses
import io
import math

import numpy as np
import pytest
from fixtures.atlas import BANDWIDTH, COARSEST, CURVED, FINEST, KINDS, UNIFORM, B, C, made_up
from scipy.optimize import check_grad

from fly64_assets.evaluation.atlas.cells import read_rows
from fly64_assets.evaluation.atlas.forecast import LEVEL, Forecast, forecast, judge
from fly64_assets.evaluation.atlas.law import Conditions, _Fit, fit_law, found_values


def rows_of(**options):
    return read_rows(io.StringIO(made_up(**options)))


PHOTONS = np.geomspace(1e-2, 1e8, 400)


def along_photons(overlap=0.4, photons=PHOTONS):
    like = np.ones_like(photons)
    return Conditions(photons, overlap * like, UNIFORM * like, 0.1 * like, 0.5 * like, {"curved": like})


def test_a_known_law_is_found():
    law = fit_law(rows_of(noise=0.01, seeds=(1, 2)), "one")
    assert law.photon["log_photons_apart"] == pytest.approx(B, abs=0.02)
    assert law.photon["log_photons_whole"] == pytest.approx(B, abs=0.02)
    assert law.photon["overlap"] == pytest.approx(C, abs=0.15)
    assert law.photon["probe_flat"] == pytest.approx(-CURVED, abs=0.02)
    # Kinds are few: what they say about objects counts for somewhat less than it seems.
    assert 0.6 * BANDWIDTH < law.photon["log_bandwidth"] < BANDWIDTH
    assert law.photon["gradient_sparsity"] == pytest.approx(0, abs=0.1)
    assert law.spread < 0.1


def test_where_the_geometry_limits_more_photons_do_not_help():
    rows = rows_of(noise=0.01, floor=-3.0, seeds=(1, 2))
    law = fit_law(rows, "one")
    assert law.geometry["overlap"] == pytest.approx(-2, abs=0.2)
    bright = along_photons(0.2, photons=np.array([1e7, 1e8]))
    np.testing.assert_allclose(law.log_value(bright)[0], [-3.4, -3.4], atol=0.15)
    # At few photons it is no worse than the uniform object, times a number of the method.
    dark = law.log_value(along_photons(photons=np.array([1e-6])))
    assert dark[0][0] == pytest.approx(math.log(UNIFORM) + law.ceiling, abs=0.01)
    assert dark[1][0] == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("quantity", ["error", "resolution"])
def test_the_derivatives_of_a_fit_are_those_of_its_deviations(quantity):
    rows = [row for row in rows_of(noise=0.1, floor=-3.0) if row.method == "one"]
    found = found_values(rows, quantity)
    unresolved = ~np.isfinite(found)
    fit = _Fit(rows, quantity, np.where(unresolved, 12.0, found), unresolved)
    rng = np.random.default_rng(1)
    for _ in range(3):
        at = rng.normal(-0.5, 0.5, len(fit.names) + 1)
        sums = check_grad(
            lambda x: (fit.residuals(x) ** 2).sum() / 2, lambda x: fit.jacobian(x).T @ fit.residuals(x), at
        )
        assert sums < 1e-4 * np.linalg.norm(fit.jacobian(at).T @ fit.residuals(at))


@pytest.mark.parametrize("half_width", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("quantity", ["error", "resolution"])
def test_more_photons_are_never_worse(quantity, half_width):
    # Also where the table says that they are: with an error that grows with the dose.
    for ratio in (None, lambda _kind, dose: dose**0.6):
        law = fit_law(rows_of(noise=0.2, floor=-3.0, ratio=ratio, kind_deviation=0.3), "two", quantity)
        made = Forecast(law, half_width, ())
        for overlap in (0.0, 0.3, 0.95):
            for values in made.expect(along_photons(overlap)):
                assert (np.diff(np.log(values)) <= 1e-9).all()


def test_a_resolution_stays_between_nyquist_and_the_coarsest_of_the_table():
    rows = rows_of(noise=0.05, seeds=(1, 2))
    found = found_values([row for row in rows if row.method == "one"], "resolution")
    assert found.min() == FINEST
    assert np.isfinite(found[found < COARSEST]).all()
    middle, low, high = forecast(rows, "one", "resolution").expect(along_photons())
    assert low.min() == middle.min() == FINEST
    assert (low <= middle).all()
    assert (middle <= high).all()
    # Between the two the exponent is that of the table.
    two = forecast(rows, "one", "resolution").expect(along_photons(photons=np.array([30.0, 1000.0])))[0]
    assert np.log(two[1] / two[0]) / np.log(1000 / 30) == pytest.approx(-0.15, abs=0.04)


def test_rows_without_a_resolution_count_only_where_the_law_resolves_them():
    rows = [row for row in rows_of(noise=0.05) if row.method == "one"]
    without = [
        dataclasses.replace(row, values={**row.values, "phase_frc_half_bit": ""}) if row.dose == 100 else row
        for row in rows
    ]
    assert np.isinf(found_values(without, "resolution")).sum() == len(rows) / 5
    law = fit_law(without, "one", "resolution")
    assert law.spread < 0.08
    # Were they as fine as the finest, the law would have to bend.
    fine = [
        dataclasses.replace(row, values={**row.values, "phase_frc_half_bit": "2.5"}) if row.dose == 100 else row
        for row in rows
    ]
    assert fit_law(fine, "one", "resolution").spread > 3 * law.spread


def test_intervals_hold_eighty_per_cent_of_kinds_that_are_left_out():
    """Over many atlases whose kinds deviate from the law by chance; the quantiles of all rows hold fewer."""
    judged = [judge(rows_of(noise=0.1, floor=-3.5, seed=seed, kind_deviation=0.3), "one") for seed in range(6)]
    coverage = np.mean([one.coverage for one in judged])
    assert LEVEL - 0.05 < coverage < LEVEL + 0.12
    assert np.mean([one.quantiles for one in judged]) < coverage
    fine = [judge(rows_of(noise=0.1, seed=seed, kind_deviation=0.3), "one", "resolution").coverage for seed in range(3)]
    assert LEVEL - 0.1 < np.mean(fine) < LEVEL + 0.12
    for one in judged:
        assert set(one.kinds) == set(one.covered) == set(KINDS)
        assert one.coverage == pytest.approx(np.mean(list(one.covered.values())))


def test_kinds_that_deviate_more_make_wider_intervals_and_larger_errors():
    close, far = (rows_of(noise=0.05, seed=4, kind_deviation=deviation) for deviation in (0.0, 0.4))
    assert forecast(far, "one").half_width > 2 * forecast(close, "one").half_width
    assert judge(far, "one").error > 2 * judge(close, "one").error


def test_tables_that_are_too_small_are_refused():
    rows = rows_of()
    with pytest.raises(ValueError, match="a law needs at least 12"):
        fit_law(rows[:6], "one")
    with pytest.raises(ValueError, match=r"1 kind\(s\) of objects; an interval needs at least 2"):
        forecast([row for row in rows if row.kind == "cells"], "one")
    with pytest.raises(ValueError, match="leaving one out needs at least 3"):
        judge([row for row in rows if row.kind in ("cells", "edges")], "one")
    with pytest.raises(ValueError, match="lacks the uniform object"):
        fit_law(read_rows(line for line in made_up().splitlines() if ",test,flat," not in line), "one")
