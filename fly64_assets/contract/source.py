"""What a reader of another container than NPZ gives to the canonical steps: arrays, and what the format itself says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fly64_assets.contract.findings import Finding


@dataclass
class Source:
    """The content of a file of another program, under names of the contract where the format says what it means.

    Attributes
    ----------
    path : Path
        The file, or the first of several that belong together.
    kind : str
        The format, as a word for messages.
    arrays : dict of str to array
        Arrays; large ones memory-mapped and read-only.
    members : dict of str to str
        Every member of the file, and what became of it: ``read as probeGuess``, or why it was not read.
    physics : dict
        Values for ``physics_parameters``: ``pixel_size_m``, ``wavelength_m``, ``detector_distance_m``, ``energy_eV``.
    says : dict
        Parameters of the conversion that the format fixes: ``{"counts": True}``.
    grid : tuple of int, optional
        Rows and columns of the frames for which positions were turned from metres into object pixels.
    lacking : str
        Why positions are still in metres: what the file does not say of its geometry; empty where they are not.
    findings : list of Finding
        What a reader warns of.
    done : list of ``{tool, operation, parameters}``
        What the reader did to the arrays, for the history of the data.
    """

    path: Path
    kind: str
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    members: dict[str, str] = field(default_factory=dict)
    physics: dict[str, float] = field(default_factory=dict)
    says: dict[str, Any] = field(default_factory=dict)
    grid: tuple[int, int] | None = None
    done: list[dict[str, Any]] = field(default_factory=list)
    lacking: str = ""
    findings: list[Finding] = field(default_factory=list)

    def form(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters of the conversion: what a user gives comes before what the format says."""
        return {**given, **{name: value for name, value in self.says.items() if given.get(name) in (None, False)}}
