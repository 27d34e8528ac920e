"""Update directions and step lengths of LSQML for one slice and one probe mode, without the passes that cancel.

Formulas and constants are the library's (``ptychi.reconstructors.lsqml``), after M. Odstrčil, A. Menzel and
M. Guizar-Sicairos, Optics Express 26, 3108 (2018), numbers of equations from there. Arrays of a minibatch are
(b, N, N). Does not belong here: state, and the order of things (``minibatch``).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

SHARED_DIAGONAL: Final = 0.1
"""Part of the mean diagonal added to the equations of the step lengths."""
LEAST_DIAGONAL: Final = 1.2e-7
"""Added to each diagonal element, so that dark patches stay solvable."""


def summed_spectrum(images: Tensor, ramps: tuple[Tensor, Tensor] | None) -> Tensor:
    """Spectrum (N, N) of the sum of images (b, N, N), each shifted back by its sub-pixel offset.

    The library transforms every shifted image back before it sums them. The inverse transform is linear: summed in
    Fourier space, one inverse transform serves the whole minibatch. Without offsets (None) one transform does in all.
    """
    if ramps is None:
        total: Tensor = torch.fft.fft2(images.sum(0))
        return total
    spectra: Tensor = torch.fft.fft2(images).mul_(ramps[0].conj()[:, :, None])
    return spectra.mul_(ramps[1].conj()[:, None, :]).sum(0)


def inner_products(one: Tensor, other: Tensor) -> Tensor:
    """Real parts (b,) of the inner products of complex images (b, N, N)."""
    return (torch.view_as_real(one) * torch.view_as_real(other)).sum((-3, -2, -1))


def step_equations(
    object_step: Tensor,
    probe_step: Tensor,
    windows: tuple[Tensor, Tensor],
    directions: tuple[Tensor, Tensor],
) -> Tensor:
    """Coefficients of the equations of the object and probe step lengths (22), one column per position.

    The right side, Re <u, chi> with u = dO P, is Re <dO, chi P*>, and chi P* is known already; so for the probe.

    Parameters
    ----------
    object_step : (b, N, N) complex
        Object update dO on the windows, preconditioned.
    probe_step : (N, N) complex
        Probe update dP.
    windows : pair of (b, N, N) complex
        Object O on the windows, and probes P shifted to them (or one probe (1, N, N) for all).
    directions : pair of (b, N, N) complex
        chi P* and chi O* of the exit-wave changes chi.

    Returns
    -------
    (6, b) real
        a11, a22, Re a12, Im a12, b1, b2.
    """
    patches, probes = windows
    by_object, by_probe = object_step * probes, probe_step * patches
    mixed = torch.linalg.vecdot(by_probe.flatten(1), by_object.flatten(1))
    b2 = torch.view_as_real(directions[1]).flatten(1) @ torch.view_as_real(probe_step).flatten()
    return torch.stack(
        (
            inner_products(by_object, by_object),
            inner_products(by_probe, by_probe),
            mixed.real,
            mixed.imag,
            inner_products(object_step, directions[0]),
            b2,
        )
    )


def step_lengths(equations: Tensor) -> tuple[Tensor, Tensor]:
    """Object and probe step lengths (b,), not negative, that together best explain the change of the exit waves (22).

    The library solves the complex 2 x 2 equations of each position by LU and keeps the real parts. Their right side is
    real, so by Cramer's rule the real parts need only Re a12 and |a12|^2.
    """
    a11, a22, real, imaginary, b1, b2 = equations
    a11, a22 = (part + SHARED_DIAGONAL * part.mean() for part in (a11 + LEAST_DIAGONAL, a22 + LEAST_DIAGONAL))
    determinant = a11 * a22 - real * real - imaginary * imaginary
    object_lengths = (a22 * b1 - real * b2) / determinant
    probe_lengths = (a11 * b2 - real * b1) / determinant
    return object_lengths.clamp(min=0), probe_lengths.clamp(min=0)
