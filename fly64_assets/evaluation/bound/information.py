"""Fisher information of an object in the photon counts of a scan with a known probe.

Belongs here: the information matrix, as an operator and, for small fields, as an array. Does not belong here: its
inverse (``limit``), and where it is singular for reasons that need no matrix (``islands``).

Unknown are the logarithm of the amplitude and the phase of every pixel, O = exp(a + i phi). With the far field
F_jq = (F P O_j)_q, O_j the window of frame j, Poisson counts of the mean |s F_jq|^2 have the expected information

    I = 4 s^2 A^T A,   A d = Re(conj(u) F P (O d)_j),   u = F / |F|,   d = da + i dphi

(the square roots of Poisson counts carry unit-free information 4 about their means' square roots; see Wei et al.,
arXiv 2003.05475, and Godard et al., Opt. Express 20, 25914, 2012). An imaginary part that A drops is what no detector
sees: with it the matrix would be 4 n_r, diagonal, n_r photons through pixel r. All of this is linear in s^2, so that
one matrix, for s = 1, serves all doses.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from fly64_assets.physics.forward import blocks, extract_patches
from fly64_assets.physics.illumination import illumination

SHARES: Final = 2
"""Parts into which the frames are divided, one thread each; fixed, so that sums come out the same everywhere."""

FRAMES: Final = 16
"""Frames at a time; small enough for the caches."""

Field = NDArray[Any]
"""A complex picture in the operator's own precision."""


@dataclass(frozen=True)
class Window:
    """The part of the object's grid that the frames' windows reach, with positions that count from its corner.

    Attributes
    ----------
    top, left : int
        Corner on the object's grid; negative where windows reach beyond the object.
    shape : (h, w)
    x, y : (n,) float64 [px]
        Positions on the window's own grid; every frame lies inside.
    """

    top: int
    left: int
    shape: tuple[int, int]
    x: NDArray[np.float64]
    y: NDArray[np.float64]

    def cut(self, array: NDArray[Any]) -> NDArray[Any]:
        """The window of an array on the object's grid, zero beyond it."""
        cut = np.zeros(self.shape, dtype=array.dtype)
        inside, there = self._overlap((array.shape[0], array.shape[1]))
        cut[inside] = array[there]
        return cut

    def paste(self, cut: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
        """The inverse of :meth:`cut`: an array (H, W) that is zero outside the window."""
        array = np.zeros(shape, dtype=cut.dtype)
        inside, there = self._overlap(shape)
        array[there] = cut[inside]
        return array

    def _overlap(self, shape: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        inside, there = [], []
        for start, size, whole in zip((self.top, self.left), self.shape, shape, strict=True):
            low, high = max(0, start), min(whole, start + size)
            there.append(slice(low, high))
            inside.append(slice(low - start, high - start))
        return (inside[0], inside[1]), (there[0], there[1])


def scan_window(x: NDArray[np.float64], y: NDArray[np.float64], patch_size: int) -> Window:
    """Smallest window that holds every frame with the pixel that interpolation adds."""
    corners, ends = [], []
    for centre in (y, x):
        first = np.floor(centre).astype(np.int64) - patch_size // 2
        corners.append(int(first.min()))
        ends.append(int(first.max()) + patch_size + 1)
    shape = (ends[0] - corners[0], ends[1] - corners[1])
    return Window(corners[0], corners[1], shape, x - corners[1], y - corners[0])


class ObjectInformation:
    """Information matrix of the object for s = 1, as an operator on directions d = da + i dphi.

    Parameters
    ----------
    obj : (h, w) complex
        On a grid that holds every frame's window (see :func:`scan_window`); not zero on unknown pixels.
    probe : (N, N) complex
    x, y : (n,) float64 [px]
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
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        unknown: NDArray[np.bool_],
        dtype: type[np.complex64] | type[np.complex128] = np.complex64,
    ) -> None:
        real = np.float32 if dtype is np.complex64 else np.float64
        size = probe.shape[0]
        self.shape = (obj.shape[0], obj.shape[1])
        self.unknown = unknown
        self.patch_size = size
        self.photons = illumination(probe, x, y, self.shape) * np.abs(obj.astype(np.complex128)) ** 2
        self._object = obj.astype(dtype)
        self._conjugate = np.where(unknown, 4 * obj.conj(), 0).astype(dtype)
        self._probe = probe.astype(dtype)
        self._left = np.floor(x).astype(np.int64) - size // 2
        self._top = np.floor(y).astype(np.int64) - size // 2
        self._fx = (x - np.floor(x)).astype(real)[:, None, None]
        self._fy = (y - np.floor(y)).astype(real)[:, None, None]
        parts = list(blocks(len(x), FRAMES))
        self._shares = [parts[k::SHARES] for k in range(SHARES)]
        self._phases = np.empty((len(x), size, size), dtype=dtype)
        for part in parts:
            exit_waves = probe * extract_patches(obj, x[part], y[part], size)
            far = scipy.fft.fft2(exit_waves.astype(dtype), norm="ortho")
            modulus = np.abs(far)
            self._phases[part] = np.divide(far, modulus, out=np.zeros_like(far), where=modulus > 0)

    def apply(self, direction: Field) -> Field:
        """I d for a direction (h, w); what it says on known pixels does not count, and the result is zero there."""
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

    def _share(self, wave: Field, share: Sequence[slice]) -> Field:
        """Sum over some frames of S_j^T conj(P) F^H u Re(conj(u) F P S_j wave)."""
        total = np.zeros_like(wave)
        for part in share:
            exit_waves: Field = self._probe * self._windows(wave, part)
            far: Field = scipy.fft.fft2(exit_waves, norm="ortho")
            unit = self._phases[part]
            seen = unit * (far.real * unit.real + far.imag * unit.imag)
            self._add(total, self._probe.conj() * scipy.fft.ifft2(seen, norm="ortho"), part)
        return total

    def _windows(self, wave: Field, part: slice) -> Field:
        """Bilinear windows, as ``extract_patches`` but in the operator's own precision."""
        side = self._probe.shape[0] + 1
        corners = np.lib.stride_tricks.sliding_window_view(wave, (side, side))[self._top[part], self._left[part]]
        rows = corners[:, :-1] + self._fy[part] * (corners[:, 1:] - corners[:, :-1])
        windows: Field = rows[:, :, :-1] + self._fx[part] * (rows[:, :, 1:] - rows[:, :, :-1])
        return windows

    def _add(self, total: Field, windows: Field, part: slice) -> None:
        """The adjoint of :meth:`_windows`: add windows onto the grid."""
        frames, size, _ = windows.shape
        fx, fy = self._fx[part], self._fy[part]
        wide = np.zeros((frames, size, size + 1), dtype=windows.dtype)
        wide[:, :, 1:] = fx * windows
        wide[:, :, :-1] += windows - wide[:, :, 1:]
        spread = np.zeros((frames, size + 1, size + 1), dtype=windows.dtype)
        spread[:, 1:] = fy * wide
        spread[:, :-1] += wide - spread[:, 1:]
        for frame, top, left in zip(spread, self._top[part], self._left[part], strict=True):
            total[top : top + size + 1, left : left + size + 1] += frame
