"""Bases made from a recipe: an object from two pictures, a soft curved disc as probe, scan positions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy
from numpy.typing import NDArray

from fly64_assets.contract.schema import Base
from fly64_assets.physics.scan import SCANS
from fly64_assets.simulation.recipe import BaseRecipe


def make_base(recipe: BaseRecipe, patch_size: int) -> Base:
    """Build a base from its recipe; equal recipes give equal arrays.

    Parameters
    ----------
    recipe : BaseRecipe
    patch_size : int
        Side N of the probe in pixels.

    Returns
    -------
    Base
        Object (S, S) complex64 with the recipe's amplitude and phase ranges, probe (N, N) complex64, positions
        (n,) float64 whose windows lie inside the object.

    Examples
    --------
    >>> base = make_base(BaseRecipe("coins", "grass", object_size=100, positions=20), patch_size=64)
    >>> base.object.shape, base.probe.shape, base.object.dtype, len(base.x)
    ((100, 100), (64, 64), dtype('complex64'), 20)
    """
    size = recipe.object_size
    amplitude = _into_range(picture(recipe.amplitude, size), recipe.amplitude_range)
    phase = _into_range(picture(recipe.phase, size), recipe.phase_range)
    scan = SCANS[recipe.pattern](recipe.seed, recipe.positions, (size, size), patch_size)
    return Base(
        object=(amplitude * np.exp(1j * phase)).astype(np.complex64),
        probe=soft_disc_probe(patch_size, recipe.probe_radius, recipe.probe_edge, recipe.probe_curvature),
        x=scan.x,
        y=scan.y,
        metadata={},
    )


def picture(name: str, size: int) -> NDArray[np.float64]:
    """Grey picture of the scikit-image wheel, cropped to its central square and resampled to (size, size).

    Values lie in [0, 1]: the 1st and 99th percentile of the picture are its black and white.
    """
    import skimage
    from skimage.color import rgb2gray
    from skimage.io import imread
    from skimage.transform import resize

    folder = Path(skimage.__file__).parent / "data"
    (path,) = (p for p in sorted(folder.glob(f"{name}.*")) if p.suffix in (".png", ".jpg"))
    image = imread(path).astype(np.float64)
    grey = rgb2gray(image[..., :3]) if image.ndim == 3 else image
    side = min(grey.shape)
    top, left = (grey.shape[0] - side) // 2, (grey.shape[1] - side) // 2
    square = grey[top : top + side, left : left + side]
    resampled = resize(square, (size, size), order=3, anti_aliasing=side > size)
    black, white = np.percentile(resampled, (1, 99))
    levels: NDArray[np.float64] = np.clip((resampled - black) / (white - black), 0, 1)
    return levels


def soft_disc_probe(patch_size: int, radius: float, edge: float, curvature: float) -> NDArray[np.complex64]:
    """Disc with error-function edges and a quadratic phase, centred on pixel (N/2, N/2).

    ``radius`` and ``edge`` are fractions of N; the phase at the rim is ``curvature`` radians. Peak amplitude 1.
    """
    axis = np.arange(patch_size) - patch_size / 2
    distance = np.hypot(axis[:, None], axis[None, :])
    rim = radius * patch_size
    amplitude = 0.5 * scipy.special.erfc((distance - rim) / (edge * patch_size))
    wave = amplitude * np.exp(1j * curvature * (distance / rim) ** 2)
    probe: NDArray[np.complex64] = wave.astype(np.complex64)
    return probe


def _into_range(levels: NDArray[np.float64], limits: tuple[float, float]) -> NDArray[np.float64]:
    return limits[0] + (limits[1] - limits[0]) * levels
