"""Total variation of a complex object, after every epoch of a task.

The library's own (pty-chi 2.2.0, ``image_proc.total_variation_2d_chambolle``) takes the root of a sum of complex
squares instead of squared moduli: that root is discontinuous, so that rounding errors of a complex object grow.
"""

from __future__ import annotations

from types import MethodType
from typing import Any, Final

import torch

ITERATIONS: Final = 2
"""Few, because the step is repeated after every epoch."""
STEP: Final = 0.125
"""Step of the dual variable: the largest with which the iteration is known to converge."""


def use_total_variation(task: Any) -> None:
    """Let a task smooth its object with :func:`smoothed` where its options select the library's total variation."""

    def constrain(self: Any) -> None:
        self.set_data(torch.stack([smoothed(layer, self.options.total_variation.weight) for layer in self.data]))

    obj = task.reconstructor.parameter_group.object
    obj.constrain_total_variation = MethodType(constrain, obj)


def smoothed(image: torch.Tensor, weight: float, iterations: int = ITERATIONS) -> torch.Tensor:
    """Image u (H, W) that approaches the minimum of 0.5 |u - image|^2 + weight sum |grad u|.

    Fixed-point iteration of the dual variable (Chambolle, J. Math. Imaging Vis. 20, 89, 2004, eq. 9) from zero: a
    few iterations smooth differences between neighbours that are small against ``weight`` and leave large ones.
    """
    down, right = torch.zeros_like(image), torch.zeros_like(image)
    for _ in range(iterations):
        ahead = _divergence(down, right) - image / weight
        step_down = STEP * torch.diff(ahead, dim=0, append=ahead[-1:])
        step_right = STEP * torch.diff(ahead, dim=1, append=ahead[:, -1:])
        length = 1.0 + torch.sqrt(step_down.abs().square() + step_right.abs().square())
        down, right = (down + step_down) / length, (right + step_right) / length
    return image - weight * _divergence(down, right)


def _divergence(down: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Minus the adjoint of the forward differences."""
    divergence = down + right
    divergence[1:] -= down[:-1]
    divergence[:, 1:] -= right[:, :-1]
    return divergence
