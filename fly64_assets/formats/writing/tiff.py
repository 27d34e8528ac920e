"""TIFF pictures of an object, for ImageJ and everything else."""

from __future__ import annotations

import io
from typing import BinaryIO, Final

import numpy as np
import tifffile
from numpy.typing import NDArray

MICROMETRE: Final = 1e-6
PAGES: Final = ("amplitude", "phase [rad]")


def write_tiff(file: BinaryIO, obj: NDArray[np.complexfloating], pixel_size_m: float | None) -> None:
    """Write amplitude and phase (H, W) float32 as the two channels of an ImageJ TIFF.

    The phase is wrapped, in (-pi, pi] rad. The resolution is in pixels per micrometre; without a pixel size the
    file says nothing of one.
    """
    pages = np.stack([np.abs(obj), np.angle(obj)]).astype(np.float32)
    about: dict[str, object] = {"axes": "CYX", "Labels": list(PAGES), "mode": "grayscale"}
    resolution = None
    if pixel_size_m is not None:
        about["unit"] = "um"
        resolution = (MICROMETRE / pixel_size_m,) * 2
    content = io.BytesIO()  # the library's own error on a full disk does not say that it is one
    tifffile.imwrite(content, pages, imagej=True, metadata=about, resolution=resolution)
    file.write(content.getbuffer())
