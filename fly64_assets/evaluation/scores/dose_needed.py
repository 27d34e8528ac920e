"""Photons per frame that a method needs for an error, read between the doses of a study.

Does not belong here: where the errors come from, and how the numbers are written.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping


def photons_for(errors: Mapping[int, float], target: float) -> tuple[str, float]:
    """Photons per frame at which an error falls to a target: how it compares with the number, and the number.

    Between two doses the logarithm of the error is taken as linear in that of the dose. Outside the doses the sign
    says so: ``<`` the lowest, or ``>`` the highest one; between them it is empty.

    Parameters
    ----------
    errors : dose -> error
        Errors above 0 at each dose [photons per frame], in rising order of the doses; at least one.
    target : float
        The error that is wanted, above 0, in the same unit.

    Examples
    --------
    >>> photons_for({100: 0.4, 10_000: 0.04}, 0.04), photons_for({100: 0.4, 10_000: 0.04}, 0.01)
    (('', 10000.0), ('>', 10000.0))
    >>> photons_for({100: 0.4, 10_000: 0.04}, 0.5)
    ('<', 100.0)
    """
    doses = list(errors)
    if errors[doses[0]] <= target:
        return ("" if errors[doses[0]] == target else "<"), float(doses[0])
    for low, high in itertools.pairwise(doses):
        if errors[high] <= target:
            part = math.log(errors[low] / target) / math.log(errors[low] / errors[high])
            return "", low * (high / low) ** part
    return ">", float(doses[-1])


def photon_ratios(errors: Mapping[int, float], other: Mapping[int, float]) -> list[tuple[str, float]]:
    """How many times the photons of one method another one needs for the same error, at each dose of the first.

    Parameters
    ----------
    errors, other : dose -> error
        Errors of both methods, as for :func:`photons_for`.

    Returns
    -------
    list of (sign, float)
        In the order of the doses of ``errors``; the sign is ``<`` or ``>`` where the doses of ``other`` end before.

    Examples
    --------
    >>> [(sign, round(ratio, 3)) for sign, ratio in photon_ratios({100: 0.2, 10_000: 0.02}, {100: 0.4, 10_000: 0.04})]
    [('', 4.0), ('>', 1.0)]
    """
    found = ((dose, photons_for(other, error)) for dose, error in errors.items())
    return [(sign, photons / dose) for dose, (sign, photons) in found]
