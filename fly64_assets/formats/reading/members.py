"""Members of files of other programs that are not taken as they are: frames, objects of ones, probes that vary."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.metadata import transformation
from fly64_assets.contract.source import Source

FRAME_AXES: Final = 3


def may_be_frames(dataset: Any) -> bool:
    """Whether a data set of an HDF5 file could be a stack of frames: real numbers on three axes or more."""
    return dataset.dtype.kind in "iuf" and len(dataset.shape or ()) >= FRAME_AXES


def leave_ones(source: Source, name: str) -> None:
    """Leave an object of ones, member ``name``: writers put it where the object is unknown."""
    obj = source.arrays.get(schema.OBJECT)
    if obj is not None and np.all(np.asarray(obj) == 1):
        del source.arrays[schema.OBJECT]
        source.members[name] = "ones, in place of an object that is not known: not read"


def first_of_varying(source: Source, probe: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
    """The first (M, N, N) of the modes (K, M, N, N) by which a probe varies along the scan.

    The history says how much of the power stored is in the others, which have weights of their own for each frame.
    """
    powers = (np.abs(np.asarray(probe, np.complex128)) ** 2).sum(axis=tuple(range(1, probe.ndim)))
    left_out = float(powers[1:].sum()) / (float(powers.sum()) or 1.0)
    facts = {"key": schema.PROBE, "shape": list(probe.shape), "power_left_out": left_out}
    source.done.append(transformation("drop_varying_modes", facts))
    first: NDArray[np.complexfloating] = probe[0]
    return first
