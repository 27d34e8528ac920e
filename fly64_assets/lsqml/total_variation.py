"""Total variation of a complex object, after every epoch of a task.

Belongs here: the projection and where it enters the library. Does not belong here: how strong it is (``settings``).
Imported by engine processes only.

The library's own (pty-chi 2.2.0, ``image_proc.total_variation_2d_chambolle``) takes the root of a sum of complex
squares where the squared moduli belong: for a complex object the result jumps where that root does, and rounding grows.
"""

from __future__ import annotations

from types import MethodType
from typing import Any, Final

import torch

ITERATIONS: Final = 2
STEP: Final = 0.125
"""Of the dual variable; the projection converges up to this."""


def use_total_variation(task: Any) -> None:
    """Give the object of a task :func:`smoothed` in place of the library's total variation; its options stay."""

    def constrain(self: Any) -> None:
        planes = [smoothed(plane, self.options.total_variation.weight) for plane in self.data]
        self.set_data(torch.stack(planes))

    obj = task.reconstructor.parameter_group.object
    obj.constrain_total_variation = MethodType(constrain, obj)


def smoothed(plane: torch.Tensor, weight: float, iterations: int = ITERATIONS) -> torch.Tensor:
    """Steps from a plane (H, W) complex64 towards the least of 0.5 |u - plane|^2 + weight sum |grad u|.

    Projection of the dual variable (Chambolle, J. Math. Imaging Vis. 20, 89, 2004), begun at zero: a few iterations
    smooth differences between neighbours that are small against ``weight`` and leave large ones.
    """
    down, right = torch.zeros_like(plane), torch.zeros_like(plane)
    for _ in range(iterations):
        ahead = _divergence(down, right) - plane / weight
        step_down = STEP * torch.diff(ahead, dim=0, append=ahead[-1:])
        step_right = STEP * torch.diff(ahead, dim=1, append=ahead[:, -1:])
        length = 1.0 + torch.sqrt(step_down.abs().square() + step_right.abs().square())
        down, right = (down + step_down) / length, (right + step_right) / length
    return plane - weight * _divergence(down, right)


def _divergence(down: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Minus the adjoint of the forward differences."""
    found = down + right
    found[1:] -= down[:-1]
    found[:, 1:] -= right[:, :-1]
    return found
