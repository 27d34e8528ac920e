"""Each piece of the faster minibatch against the library's own method for it, on a real reconstructor."""

from __future__ import annotations

import pytest
import torch
from numpy.testing import assert_allclose

from fly64_assets.lsqml.overrides import scan as scan_module
from fly64_assets.lsqml.overrides.scan import FixedScan


def close(found: torch.Tensor, expected: torch.Tensor, rtol: float = 2e-5) -> None:
    """Equal to ``rtol`` of the greatest value."""
    assert_allclose(found.numpy(), expected.numpy(), rtol=0, atol=rtol * float(expected.abs().max()))


def stock_probes(reconstructor, indices):
    model = reconstructor.forward_model
    return model.shift_unique_probes(indices, model.get_unique_probes(indices), first_mode_only=True)[:, 0]


@pytest.mark.parametrize("kept", [True, False])
def test_probes_are_shifted_like_the_librarys(started, monkeypatch, kept):
    if not kept:
        monkeypatch.setattr(scan_module, "KEPT_PROBES_BYTES", 0)
    reconstructor, indices, _ = started()
    scan, probe = FixedScan.of(reconstructor.forward_model), reconstructor.parameter_group.probe.data[0, 0].detach()
    scan.keep(probe)
    assert (scan.probes is not None) == kept
    close(scan.probes_at(indices, probe), stock_probes(reconstructor, indices))
    scan.keep(2 * probe)
    close(scan.probes_at(indices, 2 * probe), 2 * stock_probes(reconstructor, indices))
    scan.keep(None)
    assert scan.probes is None


@pytest.mark.parametrize("read", ["fourier", "bilinear"])
def test_windows_lie_where_the_librarys_patches_lie(started, read):
    reconstructor, indices, _ = started(windows=read)
    scan = FixedScan.of(reconstructor.forward_model)
    obj = reconstructor.parameter_group.object.data[0].detach()
    rows, columns = scan.windows[indices].rectangle
    found = scan.windows[indices].within(rows.start, columns.start).read(obj[rows, columns])
    assert torch.equal(found, reconstructor.forward_model.extract_object_patches(indices)[:, 0].detach())
    assert scan.windows.inside(tuple(obj.shape))
    assert not scan.windows.inside((obj.shape[0] // 2, obj.shape[1]))


@pytest.mark.parametrize("noise", ["GAUSSIAN", "POISSON"])
def test_the_exit_waves_change_like_the_librarys(started, noise):
    from fly64_assets.lsqml.overrides.likelihood import exit_wave_changes

    reconstructor, indices, counts = started(noise)
    model = reconstructor.forward_model
    y_pred = model(indices)
    before = reconstructor.alpha_psi_far_all_pos.clone()
    torch.manual_seed(5)
    expected = (reconstructor.run_reciprocal_space_step(y_pred, counts, indices) - model.intermediate_variables["psi"])[
        :, 0
    ]
    steps = reconstructor.alpha_psi_far_all_pos.clone()
    reconstructor.alpha_psi_far_all_pos[:] = before
    torch.manual_seed(5)
    patches, probes = model.extract_object_patches(indices)[:, 0].detach(), stock_probes(reconstructor, indices)
    found = torch.cat([chi for _, chi in exit_wave_changes(reconstructor, (patches, probes), counts, indices)])
    close(found, expected, rtol=1e-4)
    close(reconstructor.alpha_psi_far_all_pos, steps, rtol=1e-4)
    assert (noise == "POISSON") == bool((steps != before).any())
    tracker = reconstructor.loss_tracker
    assert tracker.epoch_loss == pytest.approx(float(tracker.metric_function(y_pred, counts)), rel=1e-5)
    error = ((y_pred.sqrt() - counts.sqrt()) ** 2).mean((-2, -1)).sum()
    assert float(reconstructor.accumulated_fourier_error) == pytest.approx(float(error), rel=1e-5)


def fields(indices, seed: int = 6) -> torch.Tensor:
    shape = (len(indices), 64, 64)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex64)


def test_the_adjoint_shifts_are_summed_like_the_librarys(started):
    from fly64_assets.lsqml.overrides.updates import summed_spectrum

    reconstructor, indices, _ = started()
    direction = fields(indices)
    shifted = reconstructor.adjoint_shift_probe_update_direction(indices, direction[:, None], first_mode_only=True)
    expected = reconstructor._precondition_probe_update_direction(shifted)[0]
    ramps = FixedScan.of(reconstructor.forward_model).ramps_of(indices)
    assert ramps is not None
    close(torch.fft.ifft2(summed_spectrum(direction, ramps)) / len(indices), expected)
    close(torch.fft.ifft2(summed_spectrum(direction, None)) / len(indices), direction.mean(0))


def test_the_step_lengths_are_the_librarys(started):
    from fly64_assets.lsqml.overrides.updates import step_equations, step_lengths

    reconstructor, indices, _ = started()
    patches, probes, chi = fields(indices, 1), fields(indices, 2), fields(indices, 3)
    object_step, probe_step = fields(indices, 4) + chi * probes.conj(), fields(indices, 5)[0] + chi[0]
    expected = reconstructor.calculate_object_and_probe_update_step_sizes(
        chi[:, None], patches[:, None], object_step[:, None], probe_step[None], probe=probes[:, None]
    )
    directions = chi * probes.conj(), chi * patches.conj()
    found = step_lengths(step_equations(object_step, probe_step, (patches, probes), directions))
    scalers = [getattr(reconstructor.parameter_group, name).options for name in ("object", "probe")]
    for lengths, reference, options in zip(found, expected, scalers, strict=True):
        assert (reference > 0).any()
        close(lengths * options.optimal_step_size_scaler, reference, rtol=1e-4)
