"""What the noise model asks of the exit waves of a minibatch, in one walk over its frames.

Formulas and constants are the library's (``ptychi.forward_models``, ``ptychi.reconstructors.lsqml``), after
M. Odstrčil, A. Menzel and M. Guizar-Sicairos, Optics Express 26, 3108 (2018), numbers of equations from there. Fields
are (b, N, N). Does not belong here: what the object and the probe make of the changes (``updates``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import torch
from ptychi.metrics import MSELossOfSqrt
from torch import Tensor

BLOCK_BYTES: Final = 2**19
"""Complex frames handled at once take this much for each thread, and so stay in the cores' caches."""


def few_at_a_time(images: Tensor) -> list[slice]:
    """Consecutive frames of complex images (b, N, N), few enough to stay in the cores' caches."""
    count = max(1, BLOCK_BYTES * torch.get_num_threads() // (images[0].numel() * images.element_size()))
    return [slice(first, min(first + count, len(images))) for first in range(0, len(images), count)]


def squared_modulus(field: Tensor) -> Tensor:
    """|field|^2 without the square root of ``torch.abs``."""
    return field.real * field.real + field.imag * field.imag


def square_root(counts: Tensor) -> Tensor:
    """Square root; the same numbers as ``torch.sqrt``, which is eight times slower where there are no photons."""
    return torch.from_numpy(np.sqrt(counts.numpy()))


def gaussian_gradient(root_pred: Tensor, root_true: Tensor, sigma: float, eps: float) -> Tensor:
    """Gradient of the Gaussian likelihood over the far field (12b) from amplitudes, (b, N, N) real.

    The library also sets it to zero on masked pixels through a boolean index; without masked pixels nothing is set.
    """
    return torch.div(root_true, root_pred + eps).neg_().add_(1).mul_(2 / (2 * sigma) ** 2)


def poisson_gradient(y_pred: Tensor, y_true: Tensor, eps: float) -> Tensor:
    """Gradient of the Poisson likelihood over the far field (12b), (b, N, N) real."""
    return torch.div(y_true, y_pred + eps).neg_().add_(1)


def poisson_steps(y_pred: Sequence[Tensor], y_true: Sequence[Tensor], previous: Tensor, eps: float = 1e-5) -> Tensor:
    """Step lengths of the Poisson model in the far field, before they are perturbed.

    Two fixed-point iterations, averaged with the mean step of the minibatch, as in the library. What does not change
    between them is computed once.

    Parameters
    ----------
    y_pred, y_true : blocks of (k, N, N)
        The frames of a minibatch.
    previous : (b,)
        Step lengths of the epoch before.
    """
    xi = [poisson_gradient(pred, true, eps) for pred, true in zip(y_pred, y_true, strict=True)]
    denominator = torch.cat([(x * x).mul_(pred).sum((-2, -1)) for x, pred in zip(xi, y_pred, strict=True)])
    for _ in range(2):
        mean = previous.mean()
        found = torch.cat(
            [
                torch.div(true, (x * -mean).add_(1)).neg_().add_(pred).mul_(x).sum((-2, -1))
                for x, pred, true in zip(xi, y_pred, y_true, strict=True)
            ]
        )
        found = torch.where(denominator > 0, found / denominator, torch.zeros_like(found))
        previous = (0.5 * mean + 0.5 * found).clamp(0, 1)
    return previous


def summed_loss(metric: Any, y_pred: Tensor, y_true: Tensor) -> Tensor:
    """Loss that the library displays, summed over frames and pixels instead of averaged.

    The default, the squared difference of amplitudes, is written out: as a module of torch its checks cost more than
    its arithmetic on a few frames.
    """
    if type(metric) is MSELossOfSqrt:
        eps: float = metric.eps
        return (y_pred + eps).sqrt_().sub_((y_true + eps).sqrt_()).square_().sum()
    loss: Tensor = metric(y_pred, y_true) * y_true.numel()
    return loss


def exit_wave_changes(
    self: Any, windows: tuple[Tensor, Tensor], y_true: Tensor, indices: Tensor
) -> Iterator[tuple[slice, Tensor]]:
    """Frames, a few at a time, and the change chi (k, N, N) of their exit waves (19).

    The far field F becomes F - step gradient F (14) and chi is linear in the change, so the exit waves drop out. The
    library transforms the whole new far field back and subtracts the exit waves from it. Books error and loss.

    Parameters
    ----------
    self : ptychi.reconstructors.lsqml.LSQMLReconstructor
    windows : pair of (b, N, N) complex
        Object and probes on the windows.
    y_true : (b, N, N)
        Counts.
    indices : (b,) int64
    """
    patches, probes = windows
    noise, blocks = self.noise_model, few_at_a_time(patches)
    gaussian = noise.noise_statistics == "gaussian"
    waves = (torch.fft.fft2(patches[frames] * probes[frames]) for frames in blocks)
    fields = ((wave, squared_modulus(wave)) for wave in waves)
    if gaussian:
        lengths = torch.full((len(indices),), 0.5)  # (16)
    else:
        kept = list(fields)
        lengths = _perturbed(self, [pred for _, pred in kept], [y_true[frames] for frames in blocks], indices)
        fields = (field for field in kept)
    ledger = torch.zeros(2)
    for frames, (wave, pred) in zip(blocks, fields, strict=True):
        true = y_true[frames]
        root_pred, root_true = square_root(pred), square_root(true)
        ledger[0] += (root_pred - root_true).square_().sum()
        ledger[1] += summed_loss(self.loss_tracker.metric_function, pred, true)
        if gaussian:
            gradient = gaussian_gradient(root_pred, root_true, noise.sigma, noise.eps)
        else:
            gradient = poisson_gradient(pred, true, noise.eps)
        yield frames, torch.fft.ifft2(wave.mul_(gradient.mul_(-lengths[frames, None, None])))
    error, loss = ledger / y_true[0].numel()
    self.loss_tracker.update_batch_loss_with_value(loss / len(indices))
    self.accumulated_fourier_error = self.accumulated_fourier_error + error


def _perturbed(self: Any, y_pred: list[Tensor], y_true: list[Tensor], indices: Tensor) -> Tensor:
    """Poisson step lengths (b,), perturbed by the same random numbers as the library's, and remembered."""
    lengths = poisson_steps(y_pred, y_true, self.alpha_psi_far_all_pos[indices])
    lengths = lengths + torch.randn(lengths.shape) * 1e-2
    self.alpha_psi_far_all_pos[indices] = lengths
    return lengths
