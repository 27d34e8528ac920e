"""What exported files hold, whatever their format: an object and a probe with positions, and the counts of a scan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fly64_assets.formats.units import Optics, centred_metres
from fly64_assets.physics.forward import blocks
from fly64_assets.physics.measurement import Measurement


@dataclass(frozen=True)
class Product:
    """An object with the probe and the positions that belong to it.

    Attributes
    ----------
    object : (H, W) complex64
    probe : (N, N) or (M, N, N) complex64
        One mode or M incoherent ones in square roots of photons: with the unitary Fourier transform F the expected
        counts of a frame are the sum of |F (probe * object window)|^2 over the modes.
    x, y : (n,) float64 [px]
        Window centres; x = column, y = row.
    optics : Optics
    name, comments : str
        What it is, and where it comes from.
    loss : (steps,) float64 or None
        Loss of every step, where it comes from an iterative method.
    """

    object: NDArray[np.complex64]
    probe: NDArray[np.complex64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    optics: Optics
    name: str
    comments: str = ""
    loss: NDArray[np.float64] | None = None

    @property
    def patch_size(self) -> int:
        """Probe side N in pixels."""
        return int(self.probe.shape[-1])

    @property
    def metres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions x and y, (n,) each, about the object's centre [m]."""
        (height, width), size, pixel = self.object.shape, self.patch_size, self.optics.pixel_size_m
        return centred_metres(self.x, size, width, pixel), centred_metres(self.y, size, height, pixel)

    @property
    def photons(self) -> float:
        """Photons in the probe."""
        return float(np.sum(np.abs(self.probe.astype(np.complex128)) ** 2))


def product_of(
    measurement: Measurement,
    optics: Optics,
    obj: NDArray[np.complexfloating] | None = None,
    probe: NDArray[np.complexfloating] | None = None,
    *,
    name: str,
    comments: str = "",
    loss: NDArray[np.floating] | None = None,
) -> Product:
    """The product of a measurement with an object (H, W) on its grid, ones by default.

    ``probe`` is in the unit of the stored amplitudes, (N, N) or (M, N, N); by default it is that of the measurement.
    Raises ``ValueError`` if the object is not on the grid of the measurement, or the probe is of another size.
    """
    if obj is None:
        obj = np.ones(measurement.object_shape, np.complex64)
    if obj.shape != tuple(measurement.object_shape):
        raise ValueError(f"the object has shape {obj.shape}, the grid of the data set is {measurement.object_shape}")
    wave, scale = measurement.modes, measurement.intensity_scale
    if probe is not None:
        wave, scale = probe, measurement.intensity_scale / measurement.unit
    if wave.shape[-2:] != (measurement.patch_size,) * 2:
        raise ValueError(f"the probe has shape {wave.shape}, the frames have {measurement.patch_size} pixels a side")
    return Product(
        obj.astype(np.complex64),
        (scale * wave.astype(np.complex128)).astype(np.complex64),
        measurement.x,
        measurement.y,
        optics,
        name,
        comments,
        None if loss is None else np.asarray(loss, np.float64),
    )


@dataclass(frozen=True)
class Patterns:
    """Counts of all frames of a measurement as whole numbers, in blocks.

    int32, which every reader takes, or int64 where a count does not fit. They are 0 at bad pixels.
    """

    measurement: Measurement

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames n, and N twice."""
        size = self.measurement.patch_size
        return self.measurement.frames, size, size

    @cached_property
    def dtype(self) -> np.dtype[np.signedinteger]:
        """The smaller integer type that holds the largest count."""
        m = self.measurement
        largest = max((float(m.measured(part).max()) for part in blocks(m.frames)), default=0.0)
        fits = round((m.intensity_scale / m.unit * largest) ** 2) <= np.iinfo(np.int32).max
        return np.dtype(np.int32 if fits else np.int64)

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.signedinteger]]]:
        """Frames of each block, and their counts (b, N, N)."""
        for part, counts in self.measurement.count_blocks():
            yield part, counts.astype(self.dtype)
