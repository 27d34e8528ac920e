from __future__ import annotations

from itertools import islice, pairwise

import pytest
import torch

from fly64_assets.errors import EngineError
from fly64_assets.pinn.unrolled import minimiser
from fly64_assets.pinn.unrolled.minimiser import FEWEST_PAIRS, PAIRS, descent

SHAPE = (6, 9)


def noise(seed, shape=SHAPE):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


class Quadratic:
    """sum curvature |O - target|^2, its gradient with respect to O*, and how often it was evaluated."""

    def __init__(self, curvature):
        self.curvature, self.target, self.evaluations = curvature, noise(1), 0

    def __call__(self, obj):
        self.evaluations += 1
        change = obj - self.target
        return float((self.curvature * change.abs().square()).sum()), self.curvature * change


def unequal(condition):
    """Curvatures between 1 and ``condition``."""
    return torch.logspace(0, 1, SHAPE[0] * SHAPE[1], base=condition, dtype=torch.float64).view(SHAPE)


def identity(gradient):
    return gradient


def test_the_inverse_curvature_leads_to_the_minimum_in_one_step():
    function = Quadratic(unequal(1e4))
    obj, value = next(descent(function, lambda gradient: gradient / function.curvature, noise(2)))
    torch.testing.assert_close(obj, function.target)
    assert value < 1e-20
    assert function.evaluations == 2


def test_a_step_evaluates_the_function_once_and_the_value_falls():
    """But for the start, and for the first step, whose length is found by trying."""
    function, start = Quadratic(unequal(100.0)), noise(2)
    before, counts, values = function(start)[0], [], []
    function.evaluations = 0
    for _, value in islice(descent(function, lambda gradient: gradient / 100.0, start), 25):
        counts.append(function.evaluations)
        values.append(value)
    assert counts == list(range(2, 27))
    assert values == sorted(values, reverse=True)
    assert values[0] < before
    assert values[-1] < 1e-5 * before


def test_remembered_pairs_replace_a_preconditioner():
    """Plain gradient steps shrink the distance along the weakest curvature by 1 % each."""
    function = Quadratic(unequal(100.0))
    start = noise(2)
    obj, _ = list(islice(descent(function, identity, start), 60))[-1]
    assert float((obj - function.target).abs().max()) < 1e-4
    plain = start
    for _ in range(60):
        plain = plain - function(plain)[1] / 100.0
    assert float((plain - function.target).abs().max()) > 0.1


@pytest.mark.parametrize("factor", [30.0, 0.01])
def test_a_preconditioner_of_the_wrong_scale_still_descends(factor):
    function = Quadratic(unequal(10.0))
    steps = list(islice(descent(function, lambda gradient: factor * gradient, noise(2)), 50))
    values = [value for _, value in steps]
    assert values == sorted(values, reverse=True)
    assert float((steps[-1][0] - function.target).abs().max()) < 1e-2


def test_it_ends_at_the_minimum():
    function = Quadratic(unequal(10.0))
    assert list(descent(function, identity, function.target)) == []
    assert function.evaluations == 1
    assert len(list(islice(descent(function, identity, noise(2)), 300))) < 300


def test_it_ends_where_no_step_decreases_the_function():
    """With the gradient of the negative, every direction leads up."""
    tried = []

    def function(obj):
        tried.append(float((obj - noise(2)).abs().max()))
        return float(obj.abs().square().sum()), -obj

    assert list(descent(function, identity, noise(2))) == []
    assert 3 < len(tried) < 13
    assert tried[0] == 0
    assert all(later < earlier for earlier, later in pairwise(tried[1:])), "ever shorter"


def test_a_function_that_is_not_quadratic_is_minimised():
    """sum (|O|^2 - 1)^2 has curvatures of both signs on the way to |O| = 1."""

    def function(obj):
        excess = obj.abs().square() - 1.0
        return float(excess.square().sum()), 2.0 * excess * obj

    obj, value = list(islice(descent(function, identity, 0.1 * noise(2)), 60))[-1]
    assert value < 1e-8
    torch.testing.assert_close(obj.abs(), torch.ones(SHAPE, dtype=torch.float64), atol=1e-4, rtol=0)


def test_steps_remember_so_many_pairs_and_repeat():
    function = Quadratic(unequal(1e3))
    one, two = (list(islice(descent(function, identity, noise(2)), PAIRS + 10)) for _ in range(2))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(("rounding", "steps"), [(0.0, 0), (0.4, 0), (0.6, 1)])
def test_an_increase_within_the_rounding_counts_as_none(rounding, steps):
    """A minimum whose gradient is wrong, and whose value is raised by half away from it."""

    def function(obj):
        return (0.0 if torch.equal(obj, noise(2)) else 0.5), 1e-6 * torch.ones_like(obj)

    assert len(list(islice(descent(function, identity, noise(2), rounding), 1))) == steps


def test_large_objects_have_fewer_pairs_which_take_more_steps(monkeypatch):
    def steps():
        function, values = Quadratic(unequal(1e3)), []
        for _, value in islice(descent(function, identity, noise(2)), 200):
            values.append(value)
            if value < 1e-6:
                break
        return values

    usual = steps()
    pair = 2 * 16 * SHAPE[0] * SHAPE[1]
    monkeypatch.setattr(minimiser, "PAIR_BYTES", PAIRS * pair)
    assert steps() == usual
    monkeypatch.setattr(minimiser, "PAIR_BYTES", pair)
    few = steps()
    assert few[: FEWEST_PAIRS + 1] == usual[: FEWEST_PAIRS + 1]
    assert few != usual
    assert few[-1] < 1e-6


def test_a_start_without_a_value_is_an_error():
    with pytest.raises(EngineError, match="the objective is nan at the start"):
        next(descent(lambda obj: (float("nan"), obj), identity, noise(1)))
