"""What a user states about files of other programs, because the files do not show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

from fly64_assets.contract.corrections import NONE, Corrections

Order = Literal["xy", "yx"]
ORDERS: Final[tuple[Order, ...]] = get_args(Order)
"""Which coordinate is first where positions come as pairs; also the values of ``--pairs``."""


@dataclass(frozen=True)
class ReadingOptions:
    """What a file of another program does not show.

    Attributes
    ----------
    beside : tuple of Path
        Further files that belong to it, as frames beside a reconstruction.
    pairs : mapping of str to ``xy`` or ``yx``
        Members that hold positions (n, 2), and which coordinate is first.
    max_bytes : int, optional
        Largest size that a file may declare.
    corrections : Corrections
        What the canonical steps will do. Readers look at the geometry, which comes before that of the file, and at the
        unit of positions: where it is given, positions are handed on as the file has them.
    """

    beside: tuple[Path, ...] = ()
    pairs: Mapping[str, Order] = field(default_factory=dict)
    max_bytes: int | None = None
    corrections: Corrections = NONE
