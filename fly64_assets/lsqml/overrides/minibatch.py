"""One minibatch of LSQML, for the case that this study runs: one slice, one probe mode, COMPACT, far field, CPU.

The library's minibatch is general: it walks slices, modes and eigenmodes, keeps every intermediate, and in COMPACT mode
copies, divides and sums the whole object for every minibatch. Here a minibatch touches only the rectangle it lights.
What an epoch leaves behind (object gradient, step lengths, momentum, losses) is the library's to rounding, and all that
happens once per epoch is the library's own. Everything else than the case above goes to the library, with the reason
in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from ptychi.api import enums
from ptychi.data_structures.object import PlanarObject
from ptychi.data_structures.probe import Probe
from ptychi.maths import get_use_double_precision_for_fft
from ptychi.propagate import FourierPropagator
from ptychi.reconstructors.lsqml import LSQMLReconstructor
from torch import Tensor
from torch.utils import deterministic

from fly64_assets.lsqml.overrides.likelihood import exit_wave_changes, few_at_a_time
from fly64_assets.lsqml.overrides.scan import FixedScan, bilinear_windows
from fly64_assets.lsqml.overrides.updates import step_equations, step_lengths, summed_spectrum

logger = logging.getLogger(__name__)


@dataclass
class Epoch:
    """What the minibatches of one epoch share.

    Attributes
    ----------
    scan : FixedScan
    object : (H, W) complex
        In COMPACT mode the object changes only when the epoch ends.
    update : (H, W) complex
        Object update direction, summed over the minibatches so far.
    weight : (H, W) real
        Preconditioner (25b), one division per epoch.
    """

    scan: FixedScan
    object: Tensor
    update: Tensor
    weight: Tensor


def run_minibatch(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Patch of ``LSQMLReconstructor.run_minibatch``."""

    @wraps(stock)
    def run(self: Any, input_data: Any, y_true: Tensor, *args: Any, **kwargs: Any) -> None:
        if self.current_minibatch == 0:
            begin_epoch(self)
        if self.fast_epoch is None:
            stock(self, input_data, y_true, *args, **kwargs)
        else:
            with unfilled_memory():
                _minibatch(self, input_data[0], y_true)

    return run


@contextmanager
def unfilled_memory() -> Iterator[None]:
    """In deterministic mode torch fills fresh memory, so that reads before writes are equal at least; not in the block.

    A minibatch writes all its memory before it reads it. What the library does once per epoch may not: its momentum
    calls ``torch.linalg.lstsq``, which starts from pivots never written.
    """
    filled = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


def begin_epoch(reconstructor: Any) -> None:
    """Set ``fast_epoch`` of the reconstructor: what its minibatches share, or None where the library's own ones run."""
    reason = obstacle(reconstructor)
    if reason is not None:
        if reason != getattr(reconstructor, "fast_obstacle", None):
            logger.warning("%s; the library's own minibatches run", reason)
        reconstructor.fast_epoch, reconstructor.fast_obstacle = None, reason
        return
    group = reconstructor.parameter_group
    group.object.initialize_grad()
    obj = group.object.data[0].detach().contiguous()
    preconditioner = reconstructor.forward_model.get_probe_grid_preconditioner()
    damping = preconditioner.max() * reconstructor.options.preconditioning_damping_factor
    weight = 1 / torch.sqrt(preconditioner**2 + damping**2)
    reconstructor.fast_epoch = Epoch(_scan(reconstructor), obj, torch.zeros_like(obj), weight)


def _scan(reconstructor: Any) -> FixedScan:
    """Geometry of the scan, kept on the reconstructor until the positions or the probe change."""
    group = reconstructor.parameter_group
    scan: FixedScan | None = getattr(reconstructor, "fast_scan", None)
    if scan is None or not torch.equal(scan.positions, group.probe_positions.tensor):
        scan = reconstructor.fast_scan = FixedScan.of(reconstructor.forward_model)
    changing = group.probe.optimization_enabled(reconstructor.current_epoch)
    scan.keep(None if changing else group.probe.data[0, 0].detach())
    return scan


def obstacle(reconstructor: Any) -> str | None:
    """Why the minibatches of this epoch must be the library's own; None if they need not."""
    group, forward = reconstructor.parameter_group, reconstructor.forward_model
    epoch, options = reconstructor.current_epoch, reconstructor.options
    mask = reconstructor.dataset.valid_pixel_mask
    checks = {
        "the reconstructor is not plain LSQML": type(reconstructor) is LSQMLReconstructor,
        "the device is not the CPU": group.object.tensor.data.device.type == "cpu",
        "batches are not COMPACT": options.batching_mode == enums.BatchingModes.COMPACT,
        "the object is not one plane of pixels": type(group.object) is PlanarObject and group.object.n_slices == 1,
        "the probe has several modes": type(group.probe) is Probe
        and group.probe.n_modes * group.probe.n_opr_modes == 1,
        "positions are refined": not group.probe_positions.optimization_enabled(epoch),
        "mode weights are refined": not group.opr_mode_weights.optimization_enabled(epoch),
        "object and probe have different pixels": not forward.resampling_enabled,
        "shifts are not plain Fourier shifts of the probe": bilinear_windows(forward) is not None
        or (
            group.object.options.patch_interpolation_method == "fourier"
            and forward.apply_subpixel_shifts_on_probe
            and not forward.pad_for_shift
        ),
        "the detector is not in the far field of the whole probe": type(forward.free_space_propagator)
        is FourierPropagator
        and forward.free_space_propagator.norm is None
        and tuple(forward.detector_size) == tuple(group.probe.get_spatial_shape()),
        "patterns are blurred": forward.diffraction_pattern_blur_sigma is None,
        "detector pixels are masked": bool(mask.all()) and options.exclude_measured_pixels_below is None,
        "transforms are in double precision": not get_use_double_precision_for_fft(),
        "step lengths are not solved jointly": options.single_slice_solve_obj_prb_step_size_jointly,
        "the first epoch rescales the probe": epoch > 0 or not options.rescale_probe_intensity_in_first_epoch,
    }
    reasons = [reason for reason, fulfilled in checks.items() if not fulfilled]
    if not reasons and not _scan(reconstructor).windows.inside(group.object.lateral_shape):
        return "windows reach out of the object"
    return reasons[0] if reasons else None


def _minibatch(self: Any, indices: Tensor, y_true: Tensor) -> None:
    """One minibatch in two walks over its frames: to the detector and back, and to the step lengths."""
    epoch: Epoch = self.fast_epoch
    self.indices.append(indices)
    self._initialize_object_step_size_buffer()
    self._initialize_probe_step_size_buffer()
    self._initialize_momentum_buffers()

    lit = epoch.scan.windows[indices].rectangle
    windows = epoch.scan.windows[indices].within(lit[0].start, lit[1].start)
    patches = windows.read(epoch.object[lit])
    probe = self.parameter_group.probe.data[0, 0].detach()
    probes = epoch.scan.probes_at(indices, probe).expand_as(patches)
    update = epoch.update[lit].contiguous()
    directions = torch.empty_like(patches), torch.empty_like(patches)
    ramps, spectrum = epoch.scan.ramps_of(indices), torch.zeros_like(probe)
    for frames, chi in exit_wave_changes(self, (patches, probes), y_true, indices):
        torch.mul(chi, probes[frames].conj(), out=directions[0][frames])  # (24b)
        torch.mul(chi, patches[frames].conj(), out=directions[1][frames])  # (24a)
        windows[frames].add(update, directions[0][frames])
        spectrum += summed_spectrum(directions[1][frames], ramps and (ramps[0][frames], ramps[1][frames]))
    epoch.update[lit] = update
    probe_step = torch.fft.ifft2(spectrum) / len(indices)

    weighted = update * epoch.weight[lit]
    equations = [
        step_equations(
            windows[frames].read(weighted),
            probe_step,
            (patches[frames], probes[frames]),
            (directions[0][frames], directions[1][frames]),
        )
        for frames in few_at_a_time(patches)
    ]
    _record(self, indices, step_lengths(torch.cat(equations, dim=1)), probe_step)


def _record(self: Any, indices: Tensor, lengths: tuple[Tensor, Tensor], probe_step: Tensor) -> None:
    """Leave what the library's own end of the minibatch and of the epoch look for."""
    group, buffers = self.parameter_group, self.reconstructor_buffers
    object_lengths, probe_lengths = lengths
    buffers.alpha_object_all_pos_all_slices[indices, 0] = object_lengths * group.object.options.optimal_step_size_scaler
    probe_lengths = probe_lengths * group.probe.options.optimal_step_size_scaler
    buffers.alpha_probe_all_pos[indices] = probe_lengths
    self._update_momentum_buffers(probe_step[None])
    if group.probe.optimization_enabled(self.current_epoch):
        group.probe.initialize_grad()
        self._apply_probe_update(probe_lengths, probe_step[None])
    if self.current_minibatch == len(self.dataloader) - 1:
        group.object.set_grad(-self.fast_epoch.update, slicer=0)
        error = self.accumulated_fourier_error / group.probe_positions.shape[0]
        buffers.fourier_errors.append(error.item())
        self.accumulated_fourier_error = 0.0
