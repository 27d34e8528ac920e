"""The one scale that object and probe share: an object of mean intensity one where light fell, a probe in counts."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fly64_assets.physics.forward import blocks, exact_mean, exit_wave_energies, patch_counts
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.probe_modes import MODES_AXES


def with_probe(measurement: Measurement, probe: NDArray[np.complexfloating]) -> Measurement:
    """The measurement with another probe (N, N), or with all modes (M, N, N) of one."""
    single = probe.astype(np.complex64)
    if single.ndim != MODES_AXES:
        return replace(measurement, probe=single, further_modes=None)
    return replace(measurement, probe=single[0], further_modes=single[1:] if len(single) > 1 else None)


def in_counts_scale(measurement: Measurement) -> tuple[Measurement, float]:
    """The measurement with a probe that lets expect as many counts of a uniform object as were measured.

    Compared are the measured pixels. Returns the factor of the probe, too.
    """
    probe = measurement.modes.astype(np.complex128)
    intensity = np.abs(np.fft.fftshift(np.fft.fft2(probe, norm="ortho"), axes=(-2, -1))) ** 2
    far_field = intensity.reshape(-1, *probe.shape[-2:]).sum(axis=0)
    bad = measurement.bad_pixels
    expected = measurement.intensity_scale**2 * float((far_field if bad is None else far_field[~bad]).sum())
    factor = math.sqrt(mean_counts(measurement) / expected)
    return with_probe(measurement, probe * factor), factor


def normalised(obj: NDArray[np.complexfloating], measurement: Measurement) -> tuple[NDArray[np.complex64], Measurement]:
    """Object (H, W) and measurement in the scale in which s^2 sum |P|^2 is the mean number of counts of a frame.

    The root mean square of the object's amplitude in the windows, weighted with |P|^2, becomes one, and the probe is
    scaled so that the counts which both let expect add up to the measured ones: the maximum of the Poisson likelihood
    over the scale. Where pixels are bad, s^2 sum |P|^2 counts the light on them too.
    """
    energies = exit_wave_energies(obj, measurement.modes, measurement.scan)
    amplitude = math.sqrt(exact_mean(energies) / float((np.abs(measurement.modes.astype(np.complex128)) ** 2).sum()))
    factor = amplitude * math.sqrt(mean_counts(measurement) / expected_mean_counts(obj, measurement))
    found = with_probe(measurement, measurement.modes.astype(np.complex128) * factor)
    return (obj / amplitude).astype(np.complex64), found


def fitted_object(obj: NDArray[np.complexfloating], measurement: Measurement) -> NDArray[np.complex64]:
    """An object (H, W) in the scale in which it and the probe, which stays, let expect the measured counts."""
    factor = math.sqrt(mean_counts(measurement) / expected_mean_counts(obj, measurement))
    return (obj * factor).astype(np.complex64)


def mean_counts(measurement: Measurement) -> float:
    """Counts of the measured pixels of a frame, averaged over all frames."""
    return sum(float(counts.sum()) for _, counts in measurement.count_blocks()) / measurement.frames


def expected_mean_counts(obj: NDArray[np.complexfloating], measurement: Measurement) -> float:
    """The same of the counts that an object (H, W) and the probe let expect."""
    bad, total = measurement.bad_pixels, 0.0
    for part in blocks(measurement.frames):
        rates = patch_counts(obj, measurement.modes, measurement.scan[part], measurement.intensity_scale)
        total += float((rates if bad is None else rates[:, ~bad]).sum())
    return total / measurement.frames
