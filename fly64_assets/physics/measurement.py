"""What an experiment knows: frames, probe and positions. It holds no truth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fly64_assets.physics.counts import counts_from_amplitude
from fly64_assets.physics.forward import blocks
from fly64_assets.physics.illumination import illumination, in_single
from fly64_assets.physics.pages import release_pages
from fly64_assets.physics.probe_modes import modes_of
from fly64_assets.physics.windows import Scan


@dataclass(frozen=True)
class Measurement:
    """The only view of a data set that a reconstruction gets.

    Attributes
    ----------
    amplitude : (n, N, N) float32
        Stored amplitudes, DC in the centre; may be memory-mapped.
    intensity_scale : float
        s, with (s X)^2 = photon counts.
    probe : (N, N) complex64
        Of several incoherent modes the strongest.
    x, y : (n,) float64 [px]
        Window centres; x = column, y = row.
    object_shape : (H, W)
        Size of the grid on which a reconstruction is to be returned.
    scan_index : (n,) int64
        Index of each frame in the unsplit scan.
    unit : float
        Unit of the probe, in that of the stored amplitudes: 1, or a power of two (:meth:`normalised`). Probe and
        intensity scale belong together, the amplitudes to the intensity scale over the unit.
    bad_pixels : (N, N) bool or None
        True where the detector did not measure, in all frames alike. Amplitudes there mean nothing, and counts are 0.
    further_modes : (M - 1, N, N) complex64 or None
        The other incoherent modes of the probe by falling power, orthogonal to it and to each other.
    """

    amplitude: NDArray[np.float32]
    intensity_scale: float
    probe: NDArray[np.complex64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    object_shape: tuple[int, int]
    scan_index: NDArray[np.int64]
    unit: float = 1.0
    bad_pixels: NDArray[np.bool_] | None = None
    further_modes: NDArray[np.complex64] | None = None

    @property
    def modes(self) -> NDArray[np.complexfloating]:
        """All incoherent modes of the probe (M, N, N), or the probe (N, N) where it is the only one."""
        return modes_of(self.probe, self.further_modes)

    @property
    def frames(self) -> int:
        """Number of frames n."""
        return len(self.x)

    @property
    def scan(self) -> Scan:
        """Positions and the grid on which their windows lie."""
        return Scan(self.x, self.y, self.object_shape, self.patch_size)

    @property
    def patch_size(self) -> int:
        """Frame side N in pixels."""
        return int(self.probe.shape[0])

    def measured(self, part: slice | NDArray[np.integer] = slice(None)) -> NDArray[np.float32]:
        """Stored amplitudes (b, N, N) of the selected frames (all by default), 0 at bad pixels whatever is stored."""
        amplitude = np.asarray(self.amplitude[part])
        return amplitude if self.bad_pixels is None else np.where(self.bad_pixels, np.float32(0), amplitude)

    def counts(self, part: slice | NDArray[np.integer] = slice(None)) -> NDArray[np.float64]:
        """Photon counts (b, N, N), float64 integers, of the selected frames (all by default); 0 at bad pixels."""
        counts = counts_from_amplitude(self.measured(part), self.intensity_scale / self.unit)
        release_pages(self.amplitude)
        return counts

    def count_blocks(self, size: int = 256) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Counts of all frames in blocks of ``size``, with the slice of each block."""
        for part in blocks(self.frames, size):
            yield part, self.counts(part)

    def normalised(self) -> Measurement:
        """The same measurement with a probe whose largest amplitude is in [1, 2), complex64.

        Single precision holds the square of such a probe, and the square of that. The unit of the probe, which is
        arbitrary, becomes a power of two of the old one, so that no digit of the probe and no count changes.

        Examples
        --------
        >>> probe, where = np.full((2, 2), 3e-25, np.complex64), np.array([1.0])
        >>> amplitude = np.full((1, 2, 2), 6e-25, np.float32)
        >>> tiny = Measurement(amplitude, 1e25, probe, where, where, (4, 4), np.array([0]))
        >>> normal = tiny.normalised()
        >>> bool(1 <= abs(normal.probe).max() < 2), bool(np.all(normal.probe * normal.unit == probe))
        (True, True)
        >>> normal.counts().tolist() == tiny.counts().tolist() == [[[36.0, 36.0], [36.0, 36.0]]]
        True
        """
        step = power_of_two(self.modes)
        further = self.further_modes
        return replace(
            self,
            probe=times(self.probe, 1 / step).astype(np.complex64),
            further_modes=None if further is None else times(further, 1 / step).astype(np.complex64),
            intensity_scale=self.intensity_scale * step,
            unit=self.unit * step,
        )

    def in_stored_unit(self, probe: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
        """A probe that was found from this measurement, in the unit of the stored amplitudes."""
        return times(probe, self.unit)

    def coverage(self) -> NDArray[np.floating]:
        """Illumination (H, W) by all frames in the unit of the stored amplitudes, as result files hold it.

        float32, or float64 where single precision does not reach from the brightest pixels to the dim ones.
        """
        return in_single(illumination(self.modes, self.scan) * self.unit**2)


def power_of_two(wave: NDArray[np.complexfloating]) -> float:
    """The power of two with which the largest modulus of a wave, which is not zero, is in [1, 2) times it.

    Examples
    --------
    >>> [power_of_two(np.array([value, 0])) for value in (1.0, 5j, -0.4)]
    [1.0, 4.0, 0.25]
    """
    return math.ldexp(0.5, math.frexp(float(np.abs(wave.astype(np.complex128)).max()))[1])


def times(wave: NDArray[np.complexfloating], power: float) -> NDArray[np.complexfloating]:
    """A wave times a power of two in its own precision: not rounded where that can hold the result."""
    exponent = math.frexp(power)[1] - 1
    wave = np.asarray(wave, np.result_type(wave, np.complex64))
    scaled = np.empty_like(wave)
    scaled.real, scaled.imag = np.ldexp(wave.real, exponent), np.ldexp(wave.imag, exponent)
    return scaled
