"""Fisher information of an object in the photon counts of a scan with a known probe.

Belongs here: the information matrix, as an operator and, for small fields, as an array, and the connected components of
frames, which make it singular. Does not belong here: its inverse (``limit``).

Unknown are the logarithm of the amplitude and the phase of every pixel, O = exp(a + i phi). With the far field
F_jq = (F P O_j)_q, O_j the window of frame j, Poisson counts of the mean |s F_jq|^2 have the expected information

    I = 4 s^2 A^T A,   A d = Re(conj(u) F P (O d)_j),   u = F / |F|,   d = da + i dphi

(the square root of a Poisson count has the information 4 about the square root of its mean; see Wei et al., arXiv
2003.05475, and Godard et al., Opt. Express 20, 25914, 2012). A drops the imaginary part, which no detector measures;
with it the matrix would be diagonal, 4 n_r with n_r photons through pixel r. Detector pixels q that were not measured
are no rows of A. All of this is linear in s^2, so that one matrix, for s = 1, serves all doses.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import scipy
from numpy.typing import NDArray

from fly64_assets.physics.forward import blocks
from fly64_assets.physics.illumination import illumination
from fly64_assets.physics.windows import Scan, add, common_part, corner_weights, read

SHARES: Final = 2
"""Parts into which the frames are divided, one thread each; fixed, so that sums are rounded the same everywhere."""

FRAMES: Final = 16
"""Frames at a time; small enough for the caches."""

Field = NDArray[Any]
"""A complex image in the operator's own precision."""


def cut(array: NDArray[Any], scan: Scan) -> NDArray[Any]:
    """The part of an array on the object's grid that a scan on its own grid covers, zero beyond the object."""
    part = np.zeros(scan.object_shape, dtype=array.dtype)
    whole, own = common_part(scan.origin, scan.object_shape, (array.shape[0], array.shape[1]))
    part[own] = array[whole]
    return part


def paste(part: NDArray[Any], scan: Scan, shape: tuple[int, int]) -> NDArray[Any]:
    """The inverse of :func:`cut`: an array (H, W) that is zero outside the scan's grid."""
    array = np.zeros(shape, dtype=part.dtype)
    whole, own = common_part(scan.origin, scan.object_shape, shape)
    array[whole] = part[own]
    return array


class ObjectInformation:
    """Information matrix of the object for s = 1, as an operator on directions d = da + i dphi.

    Parameters
    ----------
    obj : (h, w) complex
        On the grid of the scan, which holds every frame's window (``Scan.tight``); not zero on unknown pixels.
    probe : (N, N) complex
    scan : Scan
    unknown : (h, w) bool
        Pixels that are to be estimated; all others are taken as known.
    dtype : numpy dtype
        ``complex64`` for speed, ``complex128`` where null spaces matter.
    bad_pixels : (N, N) bool, optional
        Detector pixels that were not measured, DC in the centre; they give no information.

    Attributes
    ----------
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
        bad_pixels: NDArray[np.bool_] | None = None,
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
        good = True if bad_pixels is None else ~scipy.fft.ifftshift(bad_pixels)
        for part, windows in parts:
            exit_waves = probe * read(obj, windows)
            far = scipy.fft.fft2(exit_waves.astype(dtype), norm="ortho")
            modulus = np.abs(far)
            # Where the phase is stored as 0, A projects onto nothing: an unmeasured pixel is no row of A.
            self._phases[part] = np.divide(far, modulus, out=np.zeros_like(far), where=(modulus > 0) & good)

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


def connected_components(
    probe: NDArray[np.complexfloating], scan: Scan, unknown: NDArray[np.bool_], least_intensity: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Component of each frame (n,) and of each pixel (H, W), -1 where no frame illuminates an unknown pixel.

    Two frames are connected if both illuminate an unknown pixel, or through frames between them. The phase of each
    component can be shifted by a constant of its own without a change of any count, so that with more than one
    component the phases of their pixels are undetermined relative to one another.

    Parameters
    ----------
    least_intensity : float
        |P|^2 from which a frame counts as illuminating a pixel.

    Examples
    --------
    Two frames that overlap, and one far away:

    >>> scan = Scan(np.array([4.0, 6.0, 15.0]), np.full(3, 4.0), (8, 20), patch_size=4)
    >>> frame, pixel = connected_components(np.ones((4, 4)), scan, np.ones((8, 20), bool), least_intensity=0.5)
    >>> len(set(frame)), bool(frame[0] == frame[1])
    (2, True)
    """
    height, width = unknown.shape
    rows, columns = np.nonzero(np.abs(probe) ** 2 >= least_intensity)
    # A graph with one node per frame and one per pixel: linear in the probe's pixels, where frames against frames
    # would be quadratic in the frames.
    frames, pixels = [], []
    for j, ((top, left), (fy, fx)) in enumerate(zip(scan.corners.tolist(), scan.fractions.tolist(), strict=True)):
        for dy, dx, weight in corner_weights(fy, fx):
            if not weight:
                continue
            row, column = rows + top + dy, columns + left + dx
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            touched = row[inside] * width + column[inside]
            touched = touched[unknown.ravel()[touched]]
            frames.append(np.full(len(touched), j))
            pixels.append(len(scan) + touched)
    edges = (np.concatenate(frames), np.concatenate(pixels))
    nodes = len(scan) + height * width
    graph = scipy.sparse.coo_array((np.ones(len(edges[0]), dtype=np.int8), edges), shape=(nodes, nodes)).tocsr()
    label = scipy.sparse.csgraph.connected_components(graph, directed=False)[1].astype(np.int64)
    illuminated = np.zeros(nodes, dtype=np.bool_)
    illuminated[edges[1]] = True
    pixel = np.where(illuminated, label, -1)[len(scan) :].reshape(height, width)
    return label[: len(scan)], pixel
