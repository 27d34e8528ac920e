"""A minibatch of LSQML in place of pty-chi's own, for the case that the study runs: the same numbers in less time.

The case: one object plane and one probe mode, bilinear windows, COMPACT batches, the Gaussian noise model, the far
field. The library's minibatch is general: it loops over planes and modes, keeps every intermediate array, and in
COMPACT mode copies, divides and sums the whole object. Here a minibatch works on the rectangle of the object that its
windows cover, on a CPU in two loops over a few frames at a time; on a GPU it launches fewer kernels. What it leaves
behind (object gradient, step lengths, momentum, losses) is the library's up to rounding; what happens once per epoch is
the library's own code.

Formulas and constants are those of ``ptychi.reconstructors.lsqml``, after M. Odstrčil, A. Menzel and M.
Guizar-Sicairos, Optics Express 26, 3108 (2018); numbers in parentheses are equations there. Does not belong here: other
cases, which run the library's minibatch. Imported by engine processes only.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import numpy as np
import ptychi
import torch
from torch import Tensor

from fly64_assets.lsqml.bilinear import BilinearWindows

PINNED_VERSION: Final = "2.2.0"
"""Version of pty-chi whose internal methods are called here."""
BLOCK_BYTES: Final = 2**19
"""Complex frames handled at once take this much memory for each thread: they stay in the caches of the cores."""
SHARED_DIAGONAL: Final = 0.1
"""Part of the mean diagonal that is added to the diagonals of the equations of the step lengths."""
LEAST_DIAGONAL: Final = 1.2e-7
"""Added to each diagonal element, so that the equations of dark patches can be solved."""

logger = logging.getLogger(__name__)


def use_fast_minibatches(task: Any) -> None:
    """Give a task of the library, which must be the case of this module, the minibatches of this module.

    Another version of the library keeps its own minibatches, and the log says so.
    """
    if ptychi.__version__.split("+")[0] != PINNED_VERSION:
        logger.warning("pty-chi %s is not %s: its own minibatches run", ptychi.__version__, PINNED_VERSION)
        return
    task.reconstructor.run_minibatch = FastMinibatches(task.reconstructor).run


class FastMinibatches:
    """What the minibatches of one epoch share, and one minibatch after the other.

    Attributes
    ----------
    reconstructor : ptychi.reconstructors.lsqml.LSQMLReconstructor
    windows : Windows
        Of all positions.
    object : (H, W) complex64
        In COMPACT mode the object changes only when the epoch ends.
    update : (H, W) complex64
        Object update direction, summed over the minibatches so far.
    weight : (H, W) float32
        Preconditioner (25b).
    bad_pixels : (N, N) bool or None
        Detector pixels that were not measured, DC in the corner; None if all were.
    """

    def __init__(self, reconstructor: Any) -> None:
        self.reconstructor = reconstructor
        bad = ~reconstructor.dataset.valid_pixel_mask
        self.bad_pixels = bad if bool(bad.any()) else None

    def run(self, input_data: Any, y_true: Tensor) -> None:
        """One minibatch: ``input_data`` begins with the indices (b,) of its frames, ``y_true`` are counts (b, N, N)."""
        if self.reconstructor.current_minibatch == 0:
            self._begin_epoch()
        (indices, *_), probe = input_data, self.reconstructor.parameter_group.probe.data[0, 0].detach()
        windows = self.windows[indices]
        rows, columns = windows.rectangle
        windows = windows.within(rows.start, columns.start)
        patches = windows.read(self.object[rows, columns])
        update = self.update[rows, columns].contiguous()
        blocks = few_at_a_time(patches)
        for_object, for_probe = torch.empty_like(patches), torch.empty_like(patches)
        spectrum, sums = torch.zeros_like(probe), torch.zeros(2, device=patches.device)
        for frames in blocks:
            change, added = self._exit_wave_change(patches[frames] * probe, y_true[frames])
            sums += added
            torch.mul(change, probe.conj(), out=for_object[frames])  # (24b)
            torch.mul(change, patches[frames].conj(), out=for_probe[frames])  # (24a)
            windows[frames].add(update, for_object[frames])
            spectrum += torch.fft.fft2(for_probe[frames].sum(0))
        self.update[rows, columns] = update
        probe_step = torch.fft.ifft2(spectrum) / len(indices)

        weighted = update * self.weight[rows, columns]
        equations = [
            step_equations(
                windows[frames].read(weighted),
                probe_step,
                (patches[frames], probe),
                (for_object[frames], for_probe[frames]),
            )
            for frames in blocks
        ]
        self._record(indices, step_lengths(torch.cat(equations, dim=1)), probe_step, sums / y_true[0].numel())

    def _begin_epoch(self) -> None:
        group, model = self.reconstructor.parameter_group, self.reconstructor.forward_model
        group.object.initialize_grad()
        self.windows = BilinearWindows(model).at(model.probe_positions.data, model.probe.get_spatial_shape()[0])
        self.object = group.object.data[0].detach().contiguous()
        self.update = torch.zeros_like(self.object)
        if self.bad_pixels is not None:
            self.bad_pixels = self.bad_pixels.to(self.object.device)
        illumination = model.get_probe_grid_preconditioner()
        damping = illumination.max() * self.reconstructor.options.preconditioning_damping_factor
        self.weight = 1 / torch.sqrt(illumination**2 + damping**2)

    def _exit_wave_change(self, waves: Tensor, y_true: Tensor) -> tuple[Tensor, Tensor]:
        """Change chi (b, N, N) of exit waves (19), and the sums of the error in the far field and of the loss.

        The step of the Gaussian model (12b, 14, 16) gives the far field F the measured modulus: it changes by
        F (sqrt(counts) / |F| - 1), and where nothing was measured not at all. The transform is linear, so the change
        alone is transformed back.
        """
        fields = torch.fft.fft2(waves)
        # Without the square root of torch.abs.
        y_pred = fields.real * fields.real + fields.imag * fields.imag
        root_pred, root_true = square_root(y_pred), square_root(y_true)
        loss = self.reconstructor.loss_tracker.metric_function(y_pred, y_true) * y_true.numel()
        if self.bad_pixels is not None:
            root_pred = root_pred.masked_fill_(self.bad_pixels, 0.0)
            fields = fields.masked_fill_(self.bad_pixels, 0.0)
        error = (root_pred - root_true).square_().sum()
        ratio = torch.div(root_true, root_pred + self.reconstructor.noise_model.eps)
        return torch.fft.ifft2(fields.mul_(ratio.sub_(1))), torch.stack((error, loss))

    def _record(self, indices: Tensor, lengths: tuple[Tensor, Tensor], probe_step: Tensor, sums: Tensor) -> None:
        """Set the attributes that the library reads at the end of a minibatch and of an epoch."""
        reconstructor, buffers = self.reconstructor, self.reconstructor.reconstructor_buffers
        group = reconstructor.parameter_group
        reconstructor.indices.append(indices)
        reconstructor._initialize_object_step_size_buffer()
        reconstructor._initialize_probe_step_size_buffer()
        reconstructor._initialize_momentum_buffers()
        object_lengths, probe_lengths = (
            length * parameter.options.optimal_step_size_scaler
            for length, parameter in zip(lengths, (group.object, group.probe), strict=True)
        )
        buffers.alpha_object_all_pos_all_slices[indices, 0] = object_lengths
        buffers.alpha_probe_all_pos[indices] = probe_lengths
        reconstructor._update_momentum_buffers(probe_step[None])
        if group.probe.optimization_enabled(reconstructor.current_epoch):
            group.probe.initialize_grad()
            reconstructor._apply_probe_update(probe_lengths, probe_step[None])
        reconstructor.loss_tracker.update_batch_loss_with_value(sums[1] / len(indices))
        reconstructor.accumulated_fourier_error = reconstructor.accumulated_fourier_error + sums[0]
        if reconstructor.current_minibatch == len(reconstructor.dataloader) - 1:
            group.object.set_grad(-self.update, slicer=0)
            error = reconstructor.accumulated_fourier_error / group.probe_positions.shape[0]
            buffers.fourier_errors.append(error.item())
            reconstructor.accumulated_fourier_error = 0.0


def few_at_a_time(images: Tensor) -> list[slice]:
    """Consecutive frames of complex images (b, N, N), few enough to stay in the caches of the cores; all on a GPU."""
    if images.is_cuda:
        return [slice(0, len(images))]
    count = max(1, BLOCK_BYTES * torch.get_num_threads() // (images[0].numel() * images.element_size()))
    return [slice(first, min(first + count, len(images))) for first in range(0, len(images), count)]


def square_root(counts: Tensor) -> Tensor:
    """Square root; numpy's is rounded correctly, and eight times faster than torch's where there are no photons."""
    if counts.is_cuda:
        return counts.sqrt()
    return torch.from_numpy(np.sqrt(counts.numpy()))


def step_equations(
    object_step: Tensor, probe_step: Tensor, model: tuple[Tensor, Tensor], directions: tuple[Tensor, Tensor]
) -> Tensor:
    """Coefficients of the equations of the object and probe step lengths (22), one column per position.

    The right side, Re <u, chi> with u = dO P, is Re <dO, chi P*>, and chi P* is known already; so for the probe.

    Parameters
    ----------
    object_step : (b, N, N) complex
        Object update dO on the windows, preconditioned.
    probe_step : (N, N) complex
        Probe update dP.
    model : (b, N, N) complex and (N, N) complex
        Object O on the windows, and probe P.
    directions : pair of (b, N, N) complex
        chi P* and chi O* of the exit-wave changes chi.

    Returns
    -------
    (6, b) real
        a11, a22, Re a12, Im a12, b1, b2.
    """
    patches, probe = model
    by_object, by_probe = object_step * probe, probe_step * patches
    mixed = torch.linalg.vecdot(by_probe.flatten(1), by_object.flatten(1))
    b2 = torch.view_as_real(directions[1]).flatten(1) @ torch.view_as_real(probe_step).flatten()
    return torch.stack(
        (
            _inner_products(by_object, by_object),
            _inner_products(by_probe, by_probe),
            mixed.real,
            mixed.imag,
            _inner_products(object_step, directions[0]),
            b2,
        )
    )


def _inner_products(one: Tensor, other: Tensor) -> Tensor:
    """Real parts (b,) of the inner products of complex images (b, N, N)."""
    return (torch.view_as_real(one) * torch.view_as_real(other)).sum((-3, -2, -1))


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
