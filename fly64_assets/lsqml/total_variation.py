"""Total variation of a complex object, after every epoch of a task.

The library's own (pty-chi 2.2.0, ``image_proc.total_variation_2d_chambolle``) takes the root of a sum of complex
squares instead of squared moduli: that root is discontinuous, so that rounding errors of a complex object grow. Its two
iterations also limit how much an epoch smooths, whatever the weight.
"""

from __future__ import annotations

import math
from types import MethodType
from typing import Any, Final

import torch

ACCURACY: Final = 0.1
"""Bound of the root mean square distance between a smoothed image and the exact one, in units of the weight."""
CHECK_EVERY: Final = 5
"""Iterations between two evaluations of the duality gap."""
ITERATIONS: Final = 1000
"""Largest number of iterations for one image; the first of a reconstruction takes about 40, the later ones 5 to 20."""
STEP: Final = 0.125
"""Step of the dual variable: one over 8, a bound of the eigenvalues of the negative Laplacian."""


def use_total_variation(task: Any) -> None:
    """Let a task smooth its object by :class:`TotalVariation` where its options select the library's own."""
    obj = task.reconstructor.parameter_group.object
    layers = [TotalVariation(obj.options.total_variation.weight) for _ in obj.data]

    def constrain(self: Any) -> None:
        self.set_data(torch.stack([layer.smoothed(image) for layer, image in zip(layers, self.data, strict=True)]))

    obj.constrain_total_variation = MethodType(constrain, obj)


class TotalVariation:
    """Smooths complex images, each from the dual variable of the one before: consecutive epochs differ little.

    The smoothed image minimises 0.5 |u - image|^2 + weight sum |grad u|. It is found by accelerated projected gradient
    steps on the dual problem (Beck and Teboulle, IEEE Trans. Image Process. 18, 2419, 2009), restarted where the
    momentum points uphill (O'Donoghue and Candès, Found. Comput. Math. 15, 715, 2015). A dual variable p, (2, H, W)
    with |p| <= 1 in every pixel, gives u = image - weight grad* p. Its duality gap, weight sum (|grad u| - Re <p, grad
    u>), is at least half the squared distance of u from the minimum: iteration ends where that bound is small enough.

    Attributes
    ----------
    gap : float
        Duality gap of the last image.
    iterations : int
        That the last image took.
    """

    def __init__(self, weight: float, accuracy: float = ACCURACY) -> None:
        self._weight, self._accuracy = weight, accuracy
        self.gap, self.iterations = math.inf, 0
        self._dual: torch.Tensor | None = None

    def smoothed(self, image: torch.Tensor) -> torch.Tensor:
        """The smoothed image (H, W)."""
        dual = self._dual if self._dual is not None else torch.zeros_like(image.expand(2, *image.shape))
        ahead, momentum = dual, 1.0
        enough = 0.5 * image.numel() * (self._accuracy * self._weight) ** 2
        for self.iterations in range(1, ITERATIONS + 1):
            found = ahead + (STEP / self._weight) * _gradient(self._primal(image, ahead))
            found *= 1 / _length(found).clamp_(min=1)
            change, faster = found - dual, 0.5 * (1 + math.sqrt(1 + 4 * momentum**2))
            if torch.vdot((ahead - found).flatten(), change.flatten()).real > 0:
                momentum = faster = 1.0
            ahead, dual, momentum = torch.add(found, change, alpha=(momentum - 1) / faster), found, faster
            if self.iterations % CHECK_EVERY == 0:
                self.gap = self._gap(self._primal(image, dual), dual)
                if self.gap <= enough:
                    break
        self._dual = dual
        return self._primal(image, dual)

    def _primal(self, image: torch.Tensor, dual: torch.Tensor) -> torch.Tensor:
        return torch.sub(image, _adjoint(dual), alpha=self._weight)

    def _gap(self, smooth: torch.Tensor, dual: torch.Tensor) -> float:
        slope = _gradient(smooth)
        along = (dual.real * slope.real + dual.imag * slope.imag).sum(0)
        return self._weight * float((_length(slope) - along).sum(dtype=torch.float64))


def _gradient(image: torch.Tensor) -> torch.Tensor:
    """Differences (2, H, W) to the pixel below and to the pixel on the right; zero at the edge."""
    gradient = torch.zeros_like(image.expand(2, *image.shape))
    torch.sub(image[1:], image[:-1], out=gradient[0, :-1])
    torch.sub(image[:, 1:], image[:, :-1], out=gradient[1, :, :-1])
    return gradient


def _adjoint(dual: torch.Tensor) -> torch.Tensor:
    """The adjoint (H, W) of :func:`_gradient`: minus the divergence."""
    image = torch.zeros_like(dual[0])
    image[:-1] -= dual[0, :-1]
    image[1:] += dual[0, :-1]
    image[:, :-1] -= dual[1, :, :-1]
    image[:, 1:] += dual[1, :, :-1]
    return image


def _length(dual: torch.Tensor) -> torch.Tensor:
    """Length (H, W) of the two complex components; a norm over the first dimension takes torch thirty times as long."""
    return torch.sqrt(dual.real.square().sum(0) + dual.imag.square().sum(0))
