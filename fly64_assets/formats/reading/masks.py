"""Masks of other programs as one mask for all frames, True where a pixel did not measure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.archive import row_blocks
from fly64_assets.contract.metadata import transformation
from fly64_assets.contract.source import Source
from fly64_assets.errors import ContractError


def one_for_all(source: Source, faults: NDArray[Any], name: str) -> NDArray[np.bool_]:
    """One mask of faults (H, W) or (n, H, W) that are not 0 at bad pixels.

    A pixel that is bad in any frame is bad in all, which the history records with how many pixels that concerns.
    Raises :class:`ContractError` where the faults have another number of axes.
    """
    if faults.ndim == 2:
        return np.asarray(faults != 0)
    if faults.ndim != 3 or not len(faults):
        raise ContractError(
            f"{source.path}: '{name}' has shape {faults.shape}; expected one mask (H, W), or one of each frame"
        )
    ever, always = np.zeros(faults.shape[1:], bool), np.ones(faults.shape[1:], bool)
    for _, block in row_blocks(faults):
        bad = block != 0
        ever |= bad.any(axis=0)
        always &= bad.all(axis=0)
    differing = int(np.count_nonzero(ever & ~always))
    if differing:
        source.done.append(transformation("mask_of_any_frame", {"key": name, "pixels_bad_in_some_frames": differing}))
    return ever
