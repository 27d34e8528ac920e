"""Overlap of a scan as the field states it: of the illuminating probes, beside that of the windows.

Linear overlap of two probes of diameter D at distance d: 1 - d / D (Bunk et al., Ultramicroscopy 108, 481, 2008). It is
negative where they do not touch: -0.2 is a gap of a fifth of the diameter. Area overlap: the area that the two discs
share, as a fraction of one. Both depend on what is called the diameter of a probe, hence :data:`DIAMETERS`. Nearest
neighbours come from a tree: a million positions take seconds.

Belongs here: what is measured on positions and a probe, and selections that aim at it. How positions are thinned to a
least distance is in ``physics.overlap``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy
from numpy.typing import NDArray

from fly64_assets.physics.illumination import probe_diameter_px, probe_fwhm_px
from fly64_assets.physics.overlap import Selection, disc_overlap, select_spaced

DIAMETERS: Final[Mapping[str, str]] = {
    "half_energy": "the disc that holds half of the probe's energy",
    "energy_90": "the disc that holds 90 % of the probe's energy",
    "fwhm": "the full width at half maximum of the probe's intensity",
}
"""What is called the diameter of a probe, by the name of the setting ``probe_diameter``."""

NEIGHBOURS: Final = 6
"""Nearest neighbours of a position; on a hexagonal grid all of them are equally far."""
BISECTIONS: Final = 16
"""Steps in the search for a spacing; one part in 65,000."""
SHORT: Final = 0.02
"""Excess of the mean distance of all positions over the wanted one from which on there are too few of them."""
LOW: Final = 0.1
"""Quantile that says how little a tenth of the positions overlap at most."""


@dataclass(frozen=True)
class NeighbourMeans:
    """An overlap with the nearest neighbour, and with the six nearest, over all positions.

    ``nearest`` and ``six`` are means over the positions; ``nearest_low`` and ``six_low`` are the 10 % quantiles of the
    same numbers: a tenth of the positions overlap by less.
    """

    nearest: float
    nearest_low: float
    six: float
    six_low: float


@dataclass(frozen=True)
class DiscOverlap:
    """Overlap of neighbouring probes for one meaning of their diameter, by its name in :data:`DIAMETERS`."""

    diameter: str
    diameter_px: float
    linear: NeighbourMeans
    area: NeighbourMeans


@dataclass(frozen=True)
class ProbeOverlap:
    """Overlap of a scan: of the probes, for each meaning of their diameter, and of the windows.

    Attributes
    ----------
    positions : int
        Distinct positions; equal ones count once.
    neighbours : int
        Nearest neighbours that count, 6, or as many as there are.
    nearest_px, six_px : float [px]
        Mean distance to the nearest neighbour, and to these neighbours.
    window_px : int or None
        Width N of the windows; None where it is unknown.
    windows : NeighbourMeans or None
        1 - d / N, the overlap by which views are named.
    discs : tuple of DiscOverlap
        One for each meaning of the diameter.

    Examples
    --------
    A square grid with steps of a quarter of the diameter of a disc:

    >>> import numpy as np
    >>> grid = np.stack(np.meshgrid(np.arange(50.0), np.arange(50.0)), axis=-1).reshape(-1, 2)
    >>> found = overlap_of_discs(grid, {"half_energy": 4.0}, window_px=8)
    >>> round(found.of("half_energy").linear.nearest, 3), round(found.windows.nearest, 3)
    (0.75, 0.875)
    >>> found.sentence()
    'nearest probes overlap by 75 % of their diameter of 4.0 px (half of the energy), windows by 88 %'
    """

    positions: int
    neighbours: int
    nearest_px: float
    six_px: float
    window_px: int | None
    windows: NeighbourMeans | None
    discs: tuple[DiscOverlap, ...]

    def of(self, diameter: str) -> DiscOverlap:
        """The overlap for one meaning of the diameter. Raises ``KeyError`` for one that was not measured."""
        for disc in self.discs:
            if disc.diameter == diameter:
                return disc
        raise KeyError(diameter)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; ``discs`` is a mapping from the name of the diameter."""
        document = dataclasses.asdict(self)
        discs = {disc.pop("diameter"): disc for disc in document.pop("discs")}
        return document | {"discs": discs}

    def sentence(self, diameter: str = "half_energy") -> str:
        """The overlap with the nearest neighbour in words, of probes and of windows."""
        disc = self.of(diameter)
        short = {"half_energy": "half of the energy", "energy_90": "90 % of the energy", "fwhm": "FWHM"}
        named = f"{disc.diameter_px:.1f} px ({short.get(diameter, diameter)})"
        linear = 100 * disc.linear.nearest
        if linear > 0:
            said = f"nearest probes overlap by {linear:.0f} % of their diameter of {named}"
        else:
            said = f"nearest probes are {-linear:.0f} % of their diameter of {named} apart from edge to edge"
        if self.windows is None:
            return said
        windows = 100 * self.windows.nearest
        return f"{said}, windows {f'by {windows:.0f} %' if windows > 0 else 'not at all'}"


def probe_diameters(probe: NDArray[np.complexfloating]) -> dict[str, float]:
    """Diameter of a probe (N, N), or of its incoherent modes (M, N, N), for each meaning in :data:`DIAMETERS` [px].

    Raises :class:`~fly64_assets.errors.ProbeError` for a probe without energy, or one that its window's edges cut.
    """
    return {
        "half_energy": probe_diameter_px(probe),
        "energy_90": probe_diameter_px(probe, 0.9),
        "fwhm": probe_fwhm_px(probe),
    }


def probe_overlap(positions: NDArray[np.float64], probe: NDArray[np.complexfloating]) -> ProbeOverlap | None:
    """Overlap of a scan with a probe, for every meaning of the probe's diameter; None without two distinct positions.

    For tables, pages and commands: it reads positions and probe of any data set, so that nothing on disk needs to hold
    it. ``probe_overlap(np.c_[data.x, data.y], data.modes).to_dict()`` is the document that the report gets.

    Parameters
    ----------
    positions : (n, 2) float64 [px]
        Columns x, y.
    probe : (N, N) or (M, N, N) complex
        With its centre in the middle.

    Raises
    ------
    ProbeError
        For a probe without energy, or one that the edges of its window cut (FFT order).
    """
    return overlap_of_discs(positions, probe_diameters(probe), window_px=probe.shape[-1])


def overlap_of_discs(
    positions: NDArray[np.float64], diameters: Mapping[str, float], *, window_px: int | None
) -> ProbeOverlap | None:
    """As :func:`probe_overlap`, with given diameters [px] by name and the width N of the windows [px], if known."""
    distances = neighbour_distances(positions)
    if distances is None:
        return None
    return ProbeOverlap(
        positions=len(distances),
        neighbours=distances.shape[1],
        nearest_px=float(distances[:, 0].mean()),
        six_px=float(distances.mean()),
        window_px=window_px,
        windows=None if window_px is None else _means(1 - distances / window_px),
        discs=tuple(
            DiscOverlap(name, width, _means(1 - distances / width), _means(disc_overlap(distances, width)))
            for name, width in diameters.items()
        ),
    )


def neighbour_distances(positions: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Distances [px] (m, k) of m distinct positions to their k = 6 nearest others, ascending; None if m < 2.

    Fewer than seven distinct positions have as many neighbours as there are others.
    """
    unique = np.unique(np.asarray(positions, dtype=np.float64), axis=0)
    if len(unique) < 2:
        return None
    nearest = min(NEIGHBOURS, len(unique) - 1)
    return np.asarray(scipy.spatial.cKDTree(unique).query(unique, k=nearest + 1)[0], dtype=np.float64)[:, 1:]


@dataclass(frozen=True)
class ProbeSelection:
    """Positions whose nearest neighbours overlap by a target, as far as those that were offered allow.

    ``reached`` is the mean linear overlap with the nearest neighbour; of a single position it is the target. Where even
    all positions together overlap by less than the target, ``short`` is true and all are kept.
    """

    selection: Selection
    diameter_px: float
    target: float
    reached: float
    short: bool

    def to_dict(self) -> dict[str, Any]:
        """Facts of the selection, for a metrics document."""
        return self.selection.to_dict() | {
            "overlap_of": "probe",
            "target_diameter_px": self.diameter_px,
            "target_linear_overlap": self.target,
            "reached_linear_overlap": self.reached,
        }


def select_by_overlap(
    positions: NDArray[np.float64], overlap: float, diameter_px: float, patch_size: int
) -> ProbeSelection:
    """Thin positions until nearest probes overlap by ``overlap`` on average: 1 - d / D, d the mean distance.

    Positions are thinned by :func:`~fly64_assets.physics.overlap.select_spaced`; the least distance with which the mean
    distance comes closest to (1 - overlap) D is found by bisection. What is reached depends on the scan: of a raster
    not every distance can be made.

    Parameters
    ----------
    positions : (n, 2) float64 [px]
        Columns x, y.
    overlap : float in [0, 1)
        Linear overlap to reach.
    diameter_px : float
        Diameter D of the probe [px], one of :func:`probe_diameters`.
    patch_size : int
        Width N of the windows [px].

    Examples
    --------
    >>> grid = np.stack(np.meshgrid(np.arange(60.0), np.arange(60.0)), axis=-1).reshape(-1, 2)
    >>> found = select_by_overlap(grid, 0.5, 8.0, 64)
    >>> len(found.selection.kept), round(found.reached, 2)
    (234, 0.5)
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap = {overlap}: must be in [0, 1)")
    wanted = (1 - overlap) * diameter_px

    def thinned(spacing: float) -> tuple[Selection, float]:
        selection = select_spaced(positions, spacing, patch_size)
        distances = neighbour_distances(positions[selection.kept])
        return selection, wanted if distances is None else float(distances[:, 0].mean())

    # Distances are at least the spacing, and their mean grows with it, if not at every step.
    low, high = 1e-6 * wanted, wanted
    best = thinned(low)
    short = best[1] > wanted * (1 + SHORT)
    for _ in range(0 if short else BISECTIONS):
        spacing = (low + high) / 2
        tried = thinned(spacing)
        if abs(tried[1] - wanted) < abs(best[1] - wanted):
            best = tried
        low, high = (spacing, high) if tried[1] < wanted else (low, spacing)
    return ProbeSelection(best[0], diameter_px, overlap, 1 - best[1] / diameter_px, short)


def _means(overlap: NDArray[np.float64]) -> NeighbourMeans:
    nearest, six = overlap[:, 0], overlap.mean(axis=1)
    return NeighbourMeans(
        float(nearest.mean()), float(np.quantile(nearest, LOW)), float(six.mean()), float(np.quantile(six, LOW))
    )
