"""A small picture of the object that an engine has so far, shown in its run in the UI while it works.

It lies in the engine's scratch folder, is taken from there by the process that started the engine, and is part of no
result.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.engines.figures import percentile_limits, rectangle, relative_phase

FILE: Final = "object_so_far.png"
SIDE_PX: Final = 128
"""Longer side of amplitude and of phase in the picture."""
GAP_PX: Final = 4
GREYS: Final = 16
"""Levels of grey, which keep the noise of an early object from making a large file."""


def further_tenth(before: int, done: int, total: int) -> bool:
    """Whether one more tenth of ``total`` is done than when ``before`` was."""
    return bool(total) and 10 * done // total > 10 * before // total


class Preview:
    """Draws the object at every tenth of an engine's work, into a folder; nothing of it stays after the block."""

    def __init__(self, folder: Path) -> None:
        self._path, self._before = folder / FILE, 0

    def __enter__(self) -> Preview:
        return self

    def __exit__(self, *_error: object) -> None:
        self._path.unlink(missing_ok=True)

    def update(self, done: int, total: int, obj: Callable[[], NDArray[np.complexfloating] | None]) -> None:
        """Draw the object (H, W) that ``obj`` returns if a further tenth is done; call it before progress is reported.

        Pixels that are exactly 1 were not illuminated and are white.
        """
        if further_tenth(self._before, done, total) and (present := obj()) is not None:
            part = self._path.with_suffix(".part")
            with suppress(OSError):  # a picture that cannot be written ends no reconstruction
                part.write_bytes(object_picture(present))
                part.replace(self._path)
        self._before = done


def object_picture(obj: NDArray[np.complexfloating]) -> bytes:
    """PNG of amplitude (left) and phase (right) of an object (H, W), cropped to where it is not exactly 1."""
    from PIL import Image

    seen = obj != 1
    if not seen.any():
        seen = np.ones_like(seen)
    part = rectangle(seen)
    obj, seen = obj[part], seen[part]
    scale = SIDE_PX / max(obj.shape)
    size = max(1, round(obj.shape[1] * scale)), max(1, round(obj.shape[0] * scale))
    canvas = Image.new("L", (2 * size[0] + GAP_PX, size[1]), 255)
    for number, picture in enumerate((np.abs(obj), relative_phase(obj, seen))):
        low, high = percentile_limits(picture[seen])
        grey = np.clip((picture - low) / ((high - low) or 1), 0, 1) * (GREYS - 1)
        levels = np.where(seen, np.rint(grey) * (255 // (GREYS - 1)), 255).astype(np.uint8)
        image = Image.fromarray(levels).resize(size, Image.Resampling.NEAREST)
        canvas.paste(image, (number * (size[0] + GAP_PX), 0))
    content = io.BytesIO()
    canvas.save(content, "PNG", optimize=True)
    return content.getvalue()
