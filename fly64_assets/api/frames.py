"""Frames of a known object, and counts that are kept aside to judge with."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fly64_assets.errors import ContractError
from fly64_assets.physics.counts import frame_generator, poisson_counts, stored_amplitude, thin_counts
from fly64_assets.physics.forward import blocks, exit_wave_energies, intensity_scale, patch_counts
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.windows import Scan

KEPT_ASIDE = 4
"""Stream of a frame's generator that decides which photons :func:`split_counts` keeps aside."""
MOST_PHOTONS = 1e15
"""Photons of a frame up to which counts are exact, as in a study."""


def simulate(
    obj: NDArray[np.complexfloating],
    probe: NDArray[np.complexfloating],
    x: ArrayLike,
    y: ArrayLike,
    dose: float,
    *,
    seed: int = 0,
    bad_pixels: NDArray[np.bool_] | None = None,
) -> Measurement:
    """Diffraction frames of an object, with Poisson noise; what comes back does not hold the object.

    Parameters
    ----------
    obj : (H, W) complex
        The object.
    probe : (N, N) complex
        The probe; its unit is free.
    x, y : (n,) float [px]
        Centres of the windows, x = column and y = row; row y - N/2 is the first of a window.
    dose : float
        Expected photons of a frame, averaged over the frames.
    seed : int
        Of the noise; equal arguments give equal frames.
    bad_pixels : (N, N) bool, optional
        True where the detector measures nothing.

    Returns
    -------
    Measurement
        ``amplitude`` (n, N, N) float32, ``counts()``, the probe, the positions and the size of the object's grid.

    Raises
    ------
    ContractError
        If the arrays do not fit together, or a window leaves the object.

    Examples
    --------
    >>> frames = simulate(np.ones((96, 96), complex), np.ones((32, 32), complex), [40.0, 48.5], [40.0, 52.0], dose=1000)
    >>> frames.counts().shape, bool(abs(frames.counts().sum(axis=(1, 2)).mean() - 1000) < 100)
    ((2, 32, 32), True)
    """
    obj, probe = np.asarray(obj, np.complex64), np.asarray(probe, np.complex64)
    xs, ys = np.asarray(x, np.float64).reshape(-1), np.asarray(y, np.float64).reshape(-1)
    if obj.ndim != 2 or probe.ndim != 2 or probe.shape[0] != probe.shape[1] or len(xs) != len(ys) or not len(xs):
        raise ContractError(
            f"object {obj.shape}, probe {probe.shape}, {len(xs)} x and {len(ys)} y do not make a scan; expected an "
            "object (H, W), a probe (N, N) and as many x as y, at least one"
        )
    for name, values in {"object": obj, "probe": probe, "x": xs, "y": ys}.items():
        if bad := int((~np.isfinite(values)).sum()):
            raise ContractError(f"{name}: {bad} of {values.size} values are NaN or infinite; expected finite ones")
    if not 0 < dose <= MOST_PHOTONS:
        raise ContractError(
            f"dose = {dose}: the frames cannot be simulated; expected photons per frame, above 0, at most "
            f"{MOST_PHOTONS:g}"
        )
    size, (height, width) = len(probe), obj.shape
    half = size // 2
    outside = (np.floor(xs) < half) | (np.ceil(xs) + size - half > width)
    outside |= (np.floor(ys) < half) | (np.ceil(ys) + size - half > height)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise ContractError(
            f"the windows of {np.count_nonzero(outside)} of {len(xs)} positions leave the object of {height} x {width} "
            f"px, the first at x = {xs[first]:g}, y = {ys[first]:g}; expected centres from {half} to "
            f"{width - size + half} and from {half} to {height - size + half}"
        )
    scan = Scan(xs, ys, (height, width), size)
    try:
        scale = intensity_scale(dose, exit_wave_energies(obj, probe, scan))
    except ValueError as problem:
        raise ContractError(f"the frames cannot be simulated: {problem}") from problem
    index = np.arange(len(xs), dtype=np.int64)
    amplitude = np.empty((len(xs), size, size), np.float32)
    for part in blocks(len(xs)):
        counts = poisson_counts(patch_counts(obj, probe, scan[part], scale), index[part], seed, max(1, round(dose)))
        amplitude[part] = stored_amplitude(counts, scale)
    return Measurement(amplitude, scale, probe, xs, ys, (height, width), index, bad_pixels=bad_pixels)


def split_counts(measurement: Measurement, fraction: float = 0.1, *, seed: int = 0) -> tuple[Measurement, Measurement]:
    """Two measurements of the same frames that share no photon: one to reconstruct, one kept aside to judge with.

    Every photon is kept aside with the probability ``fraction`` (binomial thinning): of Poisson counts both parts are
    independent Poisson counts.

    Returns
    -------
    fitted, kept_aside : Measurement
        Their counts add up to those of ``measurement``, pixel by pixel.

    Examples
    --------
    >>> frames = simulate(np.ones((64, 64), complex), np.ones((32, 32), complex), [20.0, 30.0], [20.0, 30.0], dose=500)
    >>> fitted, kept_aside = split_counts(frames, 0.25)
    >>> bool((fitted.counts() + kept_aside.counts() == frames.counts()).all())
    True
    """
    if not 0 < fraction < 1:
        raise ContractError(f"fraction = {fraction}: expected a part of the counts above 0 and below 1")
    from dataclasses import replace

    scales = [measurement.intensity_scale * math.sqrt(part) for part in (1 - fraction, fraction)]
    amplitudes = [np.empty((measurement.frames, *measurement.probe.shape[-2:]), np.float32) for _ in scales]
    for part, counts in measurement.count_blocks():
        for frame, row in zip(measurement.scan_index[part], range(part.start, part.stop), strict=True):
            generator = frame_generator(seed, 0, int(frame), stream=KEPT_ASIDE)
            for amplitude, scale, own in zip(
                amplitudes, scales, thin_counts(counts[row - part.start], fraction, generator), strict=True
            ):
                amplitude[row] = stored_amplitude(own.astype(np.int64), scale / measurement.unit)
    fitted, kept_aside = (
        replace(measurement, amplitude=amplitude, intensity_scale=scale)
        for amplitude, scale in zip(amplitudes, scales, strict=True)
    )
    return fitted, kept_aside
