"""Masks of other programs as one mask for all frames, True where a pixel did not measure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.mask_files import as_marks
from fly64_assets.contract.metadata import transformation
from fly64_assets.contract.source import Source


def one_for_all(source: Source, faults: NDArray[Any], name: str) -> NDArray[np.bool_]:
    """One mask of faults (H, W) or (n, H, W) that are not 0 at bad pixels.

    A pixel that is bad in any frame is bad in all, which the history records with how many pixels that concerns.
    Raises :class:`ContractError` where the faults have another number of axes.
    """
    bad, differing = as_marks(faults, f"{source.path}: '{name}'", frames=len(faults) if faults.ndim else None)
    if differing:
        source.done.append(transformation("mask_of_any_frame", {"key": name, "pixels_bad_in_some_frames": differing}))
    return bad
