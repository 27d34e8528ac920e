"""Minimisation of a function of a complex object with limited memory (L-BFGS) and a preconditioner.

Belongs here: the search direction and the step length. Does not belong here: what is minimised
(:mod:`fly64_assets.pinn.unrolled.regularisation_path`). Imported by engine processes only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

import torch

from fly64_assets.errors import EngineError

Function = Callable[[torch.Tensor], tuple[float, torch.Tensor]]
"""The value at an object (H, W) complex64 and the gradient g with respect to its conjugate: df = 2 Re sum(g* dO)."""
Preconditioner = Callable[[torch.Tensor], torch.Tensor]
"""An approximate inverse of the curvature, linear, symmetric and positive, applied to a gradient."""

PAIRS: Final = 10
"""Remembered pairs of steps and changes of the gradient, at most."""
FEWEST_PAIRS: Final = 3
"""As many are remembered of any object, however large."""
PAIR_BYTES: Final = 2**30
"""Memory of all pairs together, beyond :data:`FEWEST_PAIRS`."""
SCALED_STEPS: Final = 4
"""Steps after which the scale of the preconditioner is no longer adapted."""
SUFFICIENT: Final = 1e-4
"""Part of the decrease that the gradient promises with which a step is content (Armijo)."""
SHORTEST: Final = 1e-3
"""Step length, relative to the search direction, below which the search is given up."""


def descent(
    function: Function, precondition: Preconditioner, start: torch.Tensor, rounding: float = 0.0
) -> Iterator[tuple[torch.Tensor, float]]:
    """The object and the value after every step from ``start``; ends where no step along the direction decreases it.

    An increase of the value by ``rounding`` counts as none: values are no more accurate than that. Raises
    :class:`EngineError` if the value at the start is not finite.

    The two-loop recursion of Nocedal (Math. Comp. 35, 773, 1980), started from the preconditioner instead of a
    multiple of one, so that few pairs suffice. Nearly every step has length one and evaluates the function once.

    Examples
    --------
    >>> target = torch.tensor([[1 + 2j, -3j]], dtype=torch.complex64)
    >>> curvature = torch.tensor([[4.0, 1.0]])
    >>> def function(obj):
    ...     change = obj - target
    ...     return float((curvature * change.abs().square()).sum()), curvature * change
    >>> steps = list(zip(range(8), descent(function, lambda gradient: gradient, torch.zeros_like(target))))
    >>> bool((steps[-1][1][0] - target).abs().max() < 1e-4)
    True
    """
    obj = start
    most = max(FEWEST_PAIRS, min(PAIRS, PAIR_BYTES // (2 * obj.numel() * obj.element_size())))
    value, gradient = function(obj)
    if not math.isfinite(value):
        raise EngineError(f"the objective is {value} at the start of its minimisation; no result is kept")
    pairs: list[tuple[torch.Tensor, torch.Tensor, float]] = []
    scale, steps = 1.0, 0
    while True:
        direction, factors = gradient.clone(), []
        for change, bend, inverse in reversed(pairs):
            factors.append(inverse * dot(change, direction))
            direction -= factors[-1] * bend
        direction = precondition(direction)
        if pairs and steps <= SCALED_STEPS:
            _, bend, inverse = pairs[-1]
            scale = min(10.0, max(0.1, 1.0 / (inverse * dot(bend, precondition(bend)))))
        direction *= scale
        for (change, bend, inverse), factor in zip(pairs, reversed(factors), strict=True):
            direction += change * (factor - inverse * dot(bend, direction))
        slope = -2.0 * dot(gradient, direction)
        found = _along(function, obj, value, direction, slope, rounding) if slope < 0 else None
        if found is None:
            if not pairs:
                return
            pairs.clear()
            continue
        after, value_after, gradient_after = found
        change, bend = after - obj, gradient_after - gradient
        curvature = dot(change, bend)
        if curvature > 0:
            pairs = [*pairs[1 - most :], (change, bend, 1.0 / curvature)]
        obj, value, gradient = after, value_after, gradient_after
        steps += 1
        yield obj, value


def _along(
    function: Function, obj: torch.Tensor, value: float, direction: torch.Tensor, slope: float, rounding: float
) -> tuple[torch.Tensor, float, torch.Tensor] | None:
    """Object, value and gradient after a step against the direction that decreases the value; None if none does."""
    length = 1.0
    while length >= SHORTEST:
        after = obj - length * direction
        found, gradient = function(after)
        if found <= value + SUFFICIENT * length * slope + rounding:
            return after, found, gradient
        # The least value of the parabola through both values and the slope, kept within a tenth and a half.
        least = -slope * length**2 / (2.0 * (found - value - slope * length))
        length = max(0.1 * length, min(0.5 * length, least))
    return None


def dot(first: torch.Tensor, second: torch.Tensor) -> float:
    """Real inner product of two complex fields, Re sum(a* b)."""
    return float((torch.view_as_real(first) * torch.view_as_real(second)).sum(dtype=torch.float64))
