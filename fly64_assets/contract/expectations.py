"""What a study expects of its data sets, as plain values, so that the contract knows no study.

Belongs here: the values that rules compare a file with. Does not belong here: the rules (``structure``, ``documents``)
and where the values come from (``StudyDesign.expectations``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Expectations:
    """Values that a data set is compared with, besides the rules that hold for every data set.

    Attributes
    ----------
    study : str
        Name of the study, for messages.
    patch_size : int
        Side N of a frame [px].
    doses : tuple of int
        Doses of the study [photons per frame].
    gridsizes : mapping of str to int
        Gridsize g of each view, ``baseline`` among them.
    neighbor_count : int
        K, where a file records none.
    patches : bool
        Whether the supervised patches ``Y`` are required.
    """

    study: str
    patch_size: int
    doses: tuple[int, ...]
    gridsizes: Mapping[str, int]
    neighbor_count: int
    patches: bool
