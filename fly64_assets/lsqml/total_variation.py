"""Total variation of a complex object, as a part of every step of LSQML.

A step that LSQML takes from the counts is followed by the proximal step of total variation, and the library's momentum
accelerates both together. Where the steps end, the object minimises twice the squared misfit of the amplitudes, which
for bright pixels is the negative log-likelihood, plus 2 level sqrt(n) times the total variation, n being the photons
per object pixel; the illumination of neighbouring pixels is taken as equal. Where detector pixels are not measured, the
misfit lacks them, and n is the photons of the illumination times the part of the pixels that are. The level has the
unit of :class:`fly64_assets.pinn.unrolled.regularisation_path.RegularisedLikelihood`.

Not used is the library's own total variation (pty-chi 2.2.0, ``image_proc.total_variation_2d_chambolle``). It takes
the root of a sum of complex squares instead of squared moduli, a root that is discontinuous, so that rounding errors
grow; its two iterations limit how much an epoch smooths, whatever the weight; and the momentum knows nothing of it, so
that the balance of counts and smoothness changes whenever the library switches the momentum on or off.
"""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor

ACCURACY: Final = 0.1
"""Bound of the root mean square distance between a smoothed image and the exact one, in units of the mean weight."""
CHECK_EVERY: Final = 5
"""Iterations between two evaluations of the duality gap."""
ITERATIONS: Final = 1000
"""Largest number of iterations for one image; the first of a reconstruction takes about 40, the later ones 5 to 20."""
STEP: Final = 0.125
"""Step of the dual variable: one over 8, a bound of the eigenvalues of the negative Laplacian."""
LEAST_LENGTH: Final = 1e-6
"""Step length of LSQML below which an object does not change."""


def use_total_variation(task: Any, level: float) -> None:
    """Let an LSQML task of the library smooth its object with every step.

    ``level`` is the weight in units of the square root of the photons per object pixel.
    """
    reconstructor = task.reconstructor
    obj = reconstructor.parameter_group.object
    update, planes = reconstructor._apply_object_update, [TotalVariation() for _ in obj.data]

    def update_and_smooth(lengths: Tensor, direction: Tensor | None = None) -> None:
        update(lengths, direction)
        weight = level * weights(reconstructor)
        if direction is None:  # the step of one of several batches
            weight /= len(reconstructor.dataloader)
        steps = lengths.clamp(min=LEAST_LENGTH)
        stepped = obj.data.detach()
        smooth = torch.stack(
            [plane.smoothed(o, s * weight) for plane, o, s in zip(planes, stepped, steps, strict=True)]
        )
        if direction is not None:  # the momentum, which comes next, sees the whole step
            direction += (smooth - stepped) / steps[:, None, None]
        obj.set_data(smooth)

    reconstructor._apply_object_update = update_and_smooth


def weights(reconstructor: Any) -> Tensor:
    """Weight (H, W) of total variation at level 1 [transmission x px], for a step of length 1.

    LSQML divides the gradient of half the squared misfit by the illumination, damped where it is weak. So is this.
    """
    illumination = reconstructor.forward_model.get_probe_grid_preconditioner()
    photons = illumination * reconstructor.parameter_group.probe.get_spatial_shape()[0] ** 2
    damping = reconstructor.options.preconditioning_damping_factor * photons.max()
    mean = photons.square().sum() / photons.sum() * reconstructor.dataset.valid_pixel_mask.to(photons.dtype).mean()
    weight: Tensor = 0.5 * mean.sqrt() / torch.sqrt(photons.square() + damping**2)
    return weight


class TotalVariation:
    """Smooths complex images, each from the dual variable of the one before: consecutive steps differ little.

    The smoothed image minimises sum (0.5 |u - image|^2 + weight |grad u|). It is found by accelerated projected
    gradient steps on the dual problem (Beck and Teboulle, IEEE Trans. Image Process. 18, 2419, 2009), restarted where
    the momentum points uphill (O'Donoghue and Candès, Found. Comput. Math. 15, 715, 2015). A dual variable p,
    (2, H, W) with |p| <= weight in every pixel, gives u = image - grad* p. Its duality gap, sum (weight |grad u| -
    Re <p, grad u>), is at least half the squared distance of u from the minimum; where it is small enough, the
    iteration ends.

    Attributes
    ----------
    gap : float
        Duality gap of the last image.
    iterations : int
        That the last image took.
    """

    def __init__(self, accuracy: float = ACCURACY) -> None:
        self._accuracy = accuracy
        self.gap, self.iterations = math.inf, 0
        self._dual: Tensor | None = None

    def smoothed(self, image: Tensor, weight: Tensor) -> Tensor:
        """The smoothed image (H, W); ``weight`` (H, W) or () is positive."""
        dual = self._dual if self._dual is not None else torch.zeros_like(image.expand(2, *image.shape))
        ahead, momentum = dual, 1.0
        enough = 0.5 * image.numel() * (self._accuracy * float(weight.mean())) ** 2
        for self.iterations in range(1, ITERATIONS + 1):
            found = ahead + STEP * _gradient(image - _adjoint(ahead))
            found *= weight / torch.maximum(_length(found), weight)
            change, faster = found - dual, 0.5 * (1 + math.sqrt(1 + 4 * momentum**2))
            if torch.vdot((ahead - found).flatten(), change.flatten()).real > 0:
                momentum = faster = 1.0
            ahead, dual, momentum = torch.add(found, change, alpha=(momentum - 1) / faster), found, faster
            if self.iterations % CHECK_EVERY == 0:
                self.gap = _gap(image - _adjoint(dual), dual, weight)
                if self.gap <= enough:
                    break
        self._dual = dual
        return image - _adjoint(dual)


def _gap(smooth: Tensor, dual: Tensor, weight: Tensor) -> float:
    slope = _gradient(smooth)
    along = (dual.real * slope.real + dual.imag * slope.imag).sum(0)
    return float((weight * _length(slope) - along).sum(dtype=torch.float64))


def _gradient(image: Tensor) -> Tensor:
    """Differences (2, H, W) to the pixel below and to the pixel on the right; zero at the edge."""
    gradient = torch.zeros_like(image.expand(2, *image.shape))
    torch.sub(image[1:], image[:-1], out=gradient[0, :-1])
    torch.sub(image[:, 1:], image[:, :-1], out=gradient[1, :, :-1])
    return gradient


def _adjoint(dual: Tensor) -> Tensor:
    """The adjoint (H, W) of :func:`_gradient`: minus the divergence."""
    image = torch.zeros_like(dual[0])
    image[:-1] -= dual[0, :-1]
    image[1:] += dual[0, :-1]
    image[:, :-1] -= dual[1, :, :-1]
    image[:, 1:] += dual[1, :, :-1]
    return image


def _length(dual: Tensor) -> Tensor:
    """Length (H, W) of the two complex components; a norm over the first dimension takes torch thirty times as long."""
    return torch.sqrt(dual.real.square().sum(0) + dual.imag.square().sum(0))
