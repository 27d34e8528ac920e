"""Incoherent modes of a probe: how much of the power each holds, and the orthogonal ones that act alike.

A partially coherent beam acts as M mutually incoherent probes P_m, whose far-field intensities add up. Which probes
these are is ambiguous: U P with any unitary U has the same mutual intensity sum_m P_m(r) P_m*(r'), hence the same
counts of every object. The orthogonal ones in order of their power come from a singular value decomposition (Thibault
and Menzel, Nature 494, 68, 2013).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import scipy
from numpy.typing import NDArray

MODES_AXES: Final = 3
"""Axes of a probe of several incoherent modes (M, N, N)."""

ORTHOGONAL: Final = 1e-6
"""Inner product of two modes, over the power of the strongest, that single precision takes for none."""


def orthogonal_modes(modes: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
    """Modes that are orthogonal to each other and give the same counts, the strongest first, (M, N, N) complex128.

    Parameters
    ----------
    modes : (M, N, N) complex
        Finite. The global phase of each result is that with which the largest part of it comes out of one mode, so
        that modes which are orthogonal and in order come out as they went in.

    Examples
    --------
    Two probes that are equal are one, with the power of both:

    >>> probe = np.ones((2, 2)) / 2
    >>> found = orthogonal_modes(np.stack([probe, probe]))
    >>> (np.abs(found) ** 2).sum(axis=(1, 2)).round(12).tolist()
    [2.0, 0.0]
    """
    count = len(modes)
    values = modes.reshape(count, -1).astype(np.complex128)
    left, strengths, right = scipy.linalg.svd(values, full_matrices=False)
    largest = left[np.abs(left).argmax(axis=0), np.arange(left.shape[1])]
    phases = largest / np.abs(largest)
    found = np.zeros_like(values)
    found[: len(strengths)] = (phases * strengths)[:, None] * right
    return found.reshape(modes.shape)


def in_order(modes: NDArray[np.complexfloating]) -> bool:
    """Whether finite modes (M, N, N) are orthogonal and in the order of falling power already.

    Examples
    --------
    >>> modes = np.array([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.5j], [0.0, 0.0]]])
    >>> in_order(modes), in_order(modes[::-1])
    (True, False)
    """
    values = modes.reshape(len(modes), -1).astype(np.complex128)
    values /= np.abs(values).max(initial=0.0) or 1.0
    gram = values @ values.conj().T
    powers, inner = np.diag(gram).real, np.abs(gram - np.diag(np.diag(gram)))
    slack = ORTHOGONAL * powers.max(initial=0.0)
    return bool((inner <= slack).all() and (np.diff(powers) <= slack).all())


def added(intensities: NDArray[Any]) -> NDArray[Any]:
    """Sum (N, N) of the intensities of incoherent modes (M, N, N); an intensity (N, N) is what it is."""
    return intensities.sum(axis=0) if intensities.ndim == MODES_AXES else intensities


def modes_of(
    probe: NDArray[np.complexfloating], further: NDArray[np.complexfloating] | None
) -> NDArray[np.complexfloating]:
    """All modes of a probe (M, N, N), the strongest first, or the probe (N, N) alone where there are no further ones.

    Examples
    --------
    >>> probe = np.ones((4, 4), np.complex64)
    >>> modes_of(probe, None).shape, modes_of(probe, 0.5 * probe[None]).shape
    ((4, 4), (2, 4, 4))
    """
    return probe if further is None else np.concatenate([probe[None], further])


def power_shares(modes: NDArray[np.complexfloating]) -> NDArray[np.float64]:
    """Part of the power that each mode (M, N, N) holds, (M,), with the sum 1.

    Raises ValueError where values are not finite, or no mode has any power.

    Examples
    --------
    >>> power_shares(np.array([[[2.0, 0.0], [0.0, 0.0]], [[0.0, 1j], [0.0, 0.0]]])).tolist()
    [0.8, 0.2]
    """
    modulus = np.abs(modes.astype(np.complex128))
    largest = modulus.max(initial=0.0)
    if not 0 < largest < np.inf:
        raise ValueError("the probe is zero everywhere, or not finite; its modes have no shares of the power")
    power = ((modulus / largest) ** 2).sum(axis=(1, 2))
    shares: NDArray[np.float64] = power / power.sum()
    return shares
