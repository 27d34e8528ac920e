"""Where the light falls: probe diameter and illumination of the object by a set of frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def probe_diameter_px(probe: NDArray[np.complexfloating]) -> float:
    """Diameter of the disc about the probe's centroid that holds half of its energy [px].

    For a Gaussian this is the full width at half maximum; unlike it, it is also right for a probe with a dark
    centre. Between pixels the energy is interpolated over the disc's area.

    Raises ``ValueError`` for a probe without energy.
    """
    intensity = np.abs(probe.astype(np.complex128)) ** 2
    total = float(intensity.sum())
    if not (np.isfinite(total) and total > 0):
        raise ValueError("the probe has no finite positive energy")
    rows, columns = np.indices(probe.shape)
    centre_y = float((rows * intensity).sum()) / total
    centre_x = float((columns * intensity).sum()) / total
    radius_squared = ((rows - centre_y) ** 2 + (columns - centre_x) ** 2).ravel()
    order = np.argsort(radius_squared, kind="stable")
    energy = np.concatenate([[0.0], np.cumsum(intensity.ravel()[order])]) / total
    # After k pixels the disc has an area of k pixels.
    area = float(np.interp(0.5, energy, np.arange(len(energy))))
    return 2.0 * float(np.sqrt(area / np.pi))


def illumination(
    probe: NDArray[np.complexfloating],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    object_shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Summed probe intensity W(r) = sum_j |P(r - r_j)|^2 on the object's grid, (H, W) float64.

    Sub-pixel positions share each probe pixel bilinearly between its neighbours; light outside is dropped.
    """
    size = probe.shape[0]
    margin = size + 1
    height, width = object_shape
    total = np.zeros((height + 2 * margin, width + 2 * margin))
    intensity = np.abs(probe.astype(np.complex128)) ** 2
    floor_x, floor_y = np.floor(x), np.floor(y)
    left = np.clip(floor_x.astype(np.int64) - size // 2 + margin, 0, width + margin)
    top = np.clip(floor_y.astype(np.int64) - size // 2 + margin, 0, height + margin)
    for j in range(len(x)):
        fx, fy = x[j] - floor_x[j], y[j] - floor_y[j]
        for dy, wy in ((0, 1 - fy), (1, fy)):
            for dx, wx in ((0, 1 - fx), (1, fx)):
                row, column = top[j] + dy, left[j] + dx
                total[row : row + size, column : column + size] += (wy * wx) * intensity
    return total[margin : margin + height, margin : margin + width]


def disc_illumination(probe: NDArray[np.complexfloating], diameter_px: float) -> float:
    """One frame's mean illumination over its disc: the probe's energy over the disc's area."""
    return float((np.abs(probe.astype(np.complex128)) ** 2).sum() / (np.pi * diameter_px**2 / 4))
