"""How many photons pass through a pixel of the object, and the least phase error that so many allow.

Belongs here: closed forms. Does not belong here: the Cramer-Rao bound of a whole scan, which needs the information
matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.evaluation.scores.bands import masked_bands

FLOOR_LABEL: Final = "photon floor: root mean of 1 / (4 n_r), the closed form that only a prior can beat"


@dataclass(frozen=True)
class PhotonBudget:
    """Photons of one split on its evaluated pixels.

    Attributes
    ----------
    frames : int
    photons_per_pixel : float or None
        Mean over the region of n_r = s^2 W(r) |O(r)|^2.
    phase_floor_rad : float or None
        Root of the region's mean of 1 / (4 n_r).
    reason : str or None
        Why a figure is missing.
    """

    frames: int
    photons_per_pixel: float | None
    phase_floor_rad: float | None
    reason: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types with the label of the floor."""
        return {
            "frames": self.frames,
            "photons_per_pixel": self.photons_per_pixel,
            "phase_floor_rad": self.phase_floor_rad,
            "phase_floor_label": FLOOR_LABEL,
            "reason": self.reason,
        }


def expected_photons(
    illumination: NDArray[np.float64], truth: NDArray[np.complexfloating], intensity_scale: float
) -> NDArray[np.float64]:
    """Photons n_r = s^2 W(r) |O(r)|^2 expected through every pixel of the object, (H, W)."""
    photons: NDArray[np.float64] = intensity_scale**2 * illumination * np.abs(truth.astype(np.complex128)) ** 2
    return photons


def phase_variance_floor(photons: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least variance [rad^2] of a phase that is measured with ``photons`` coherent photons, 1 / (4 n).

    The quantum limit of a coherent state (see Wei et al., arXiv 2003.05475, for ptychography); the same number
    bounds the variance of the logarithm of the amplitude.

    Examples
    --------
    >>> float(phase_variance_floor(np.array(2500.0)) ** 0.5)
    0.01
    """
    floor: NDArray[np.float64] = 1 / (4 * photons)
    return floor


def photon_budget(
    illumination: NDArray[np.float64],
    truth: NDArray[np.complexfloating],
    mask: NDArray[np.bool_],
    intensity_scale: float,
    frames: int,
) -> PhotonBudget:
    """Budget of a split over its evaluated pixels; figures that do not exist come with the reason."""
    if not mask.any():
        return PhotonBudget(frames, None, None, "the evaluated region is empty")
    total, inverse, pixels, dark = 0.0, 0.0, 0, 0
    for part in masked_bands(mask):
        photons = expected_photons(illumination[part], truth[part], intensity_scale)[mask[part]]
        bright = photons[photons > 0]
        total += float(photons.sum())
        inverse += float(phase_variance_floor(bright).sum())
        pixels, dark = pixels + len(photons), dark + len(photons) - len(bright)
    if dark:
        reason = f"{dark} evaluated pixels of the truth transmit no light: their phase is not defined"
        return PhotonBudget(frames, total / pixels, None, reason)
    return PhotonBudget(frames, total / pixels, float(np.sqrt(inverse / pixels)), None)
