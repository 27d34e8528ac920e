"""Fisher information of an object in the photon counts of a scan with a known probe.

Belongs here: the information matrix, as an operator and, for small fields, as an array. Does not belong here: its
inverse (``limit``), and where it is singular for reasons that need no matrix (``components``).

Unknown are the logarithm of the amplitude and the phase of every pixel, O = exp(a + i phi). With the far field
F_jq = (F P O_j)_q, O_j the window of frame j, Poisson counts of the mean |s F_jq|^2 have the expected information

    I = 4 s^2 A^T A,   A d = Re(conj(u) F P (O d)_j),   u = F / |F|,   d = da + i dphi

(the square root of a Poisson count has the information 4 about the square root of its mean; see Wei et al., arXiv
2003.05475, and Godard et al., Opt. Express 20, 25914, 2012). A drops the imaginary part, which no detector measures;
with it the matrix would be diagonal, 4 n_r with n_r photons through pixel r. All of this is linear in s^2, so that one
matrix, for s = 1, serves all doses.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from fly64_assets.physics.forward import blocks
from fly64_assets.physics.illumination import illumination
from fly64_assets.physics.windows import Scan, add, common_part, read

SHARES: Final = 2
"""Parts into which the frames are divided, one thread each; fixed, so that sums are rounded the same everywhere."""

FRAMES: Final = 16
"""Frames at a time; small enough for the caches."""

Field = NDArray[Any]
"""A complex image in the operator's own precision."""


@dataclass(frozen=True)
class Part:
    """The smallest part of the object's grid that holds every frame's window; it may reach beyond the object.

    Attributes
    ----------
    scan : Scan
        The positions, on the grid of the part.
    """

    scan: Scan

    @classmethod
    def of(cls, scan: Scan) -> Part:
        """The part of the object's grid that the windows of a scan need."""
        return cls(scan.tight())

    def cut(self, array: NDArray[Any]) -> NDArray[Any]:
        """The part of an array on the object's grid, zero beyond it."""
        cut = np.zeros(self.scan.object_shape, dtype=array.dtype)
        whole, own = common_part(self.scan.origin, self.scan.object_shape, (array.shape[0], array.shape[1]))
        cut[own] = array[whole]
        return cut

    def paste(self, cut: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
        """The inverse of :meth:`cut`: an array (H, W) that is zero outside this part."""
        array = np.zeros(shape, dtype=cut.dtype)
        whole, own = common_part(self.scan.origin, self.scan.object_shape, shape)
        array[whole] = cut[own]
        return array


class ObjectInformation:
    """Information matrix of the object for s = 1, as an operator on directions d = da + i dphi.

    Parameters
    ----------
    obj : (h, w) complex
        On the grid of the scan, which holds every frame's window (see :class:`Part`); not zero on unknown pixels.
    probe : (N, N) complex
    scan : Scan
    unknown : (h, w) bool
        Pixels that are to be estimated; all others are taken as known.
    dtype : numpy dtype
        ``complex64`` for speed, ``complex128`` where null spaces matter.

    Attributes
    ----------
    shape : (h, w)
    unknown : (h, w) bool
    patch_size : int
        N.
    photons : (h, w) float64
        W(r) |O(r)|^2: expected photons through each pixel, and a quarter of the largest information that it can have.

    Notes
    -----
    Keeps one unit phase per detector pixel: N^2 times 8 (``complex64``) or 16 bytes per frame.
    """

    def __init__(
        self,
        obj: Field,
        probe: Field,
        scan: Scan,
        unknown: NDArray[np.bool_],
        dtype: type[np.complex64] | type[np.complex128] = np.complex64,
    ) -> None:
        size = probe.shape[0]
        self.shape = scan.object_shape
        self._dtype = dtype
        self.unknown = unknown
        self.patch_size = size
        self.photons = illumination(probe, scan) * np.abs(obj.astype(np.complex128)) ** 2
        self._object = obj.astype(dtype)
        self._conjugate = np.where(unknown, 4 * obj.conj(), 0).astype(dtype)
        self._probe = probe.astype(dtype)
        parts = [(part, scan[part]) for part in blocks(len(scan), FRAMES)]
        self._shares = [parts[k::SHARES] for k in range(SHARES)]
        self._phases = np.empty((len(scan), size, size), dtype=dtype)
        for part, windows in parts:
            exit_waves = probe * read(obj, windows)
            far = scipy.fft.fft2(exit_waves.astype(dtype), norm="ortho")
            modulus = np.abs(far)
            self._phases[part] = np.divide(far, modulus, out=np.zeros_like(far), where=modulus > 0)

    def apply(self, direction: Field) -> Field:
        """I d for a direction (h, w); its values on known pixels are ignored, and the result is zero there."""
        wave = self._object * np.where(self.unknown, direction, 0).astype(self._object.dtype)
        with ThreadPoolExecutor(SHARES) as pool:
            sums = list(pool.map(lambda share: self._share(wave, share), self._shares))
        result: Field = self._conjugate * sum(sums[1:], sums[0])
        return result

    def dense(self) -> NDArray[np.float64]:
        """The matrix (2u, 2u) over u unknown pixels in row order, all amplitudes first; for small fields."""
        pixels = np.flatnonzero(self.unknown)
        matrix = np.empty((2 * len(pixels), 2 * len(pixels)))
        for column in range(2 * len(pixels)):
            unit = np.zeros(self.shape, dtype=self._object.dtype)
            unit.flat[pixels[column % len(pixels)]] = 1 if column < len(pixels) else 1j
            image = self.apply(unit).flat[pixels]
            matrix[:, column] = np.concatenate([image.real, image.imag])
        return (matrix + matrix.T) / 2

    def _share(self, wave: Field, share: Sequence[tuple[slice, Scan]]) -> Field:
        """Sum over some frames of S_j^T conj(P) F^H u Re(conj(u) F P S_j wave)."""
        total = np.zeros_like(wave)
        for part, windows in share:
            exit_waves: Field = self._probe * read(wave, windows, self._dtype)
            far: Field = scipy.fft.fft2(exit_waves, norm="ortho")
            unit = self._phases[part]
            seen = unit * (far.real * unit.real + far.imag * unit.imag)
            add(total, windows, self._probe.conj() * scipy.fft.ifft2(seen, norm="ortho"))
        return total
