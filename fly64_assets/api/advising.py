"""Advice for a scan from the atlas of dose and overlap."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.frames import probe_of, squeezed
from fly64_assets.contract.npz import open_npz
from fly64_assets.contract.schema import OBJECT, PROBE, XCOORDS, YCOORDS, Arrays
from fly64_assets.errors import AdviceError, ArtifactError
from fly64_assets.evaluation.advice.advising import Atlas, atlas_of
from fly64_assets.evaluation.advice.advising import advise as answer
from fly64_assets.evaluation.advice.answer import Advice
from fly64_assets.evaluation.advice.known import Illumination, ObjectNumbers, Specimen, illumination_of, specimen
from fly64_assets.evaluation.advice.question import UNITS, Ask, Question
from fly64_assets.evaluation.atlas.cells import Row, read_rows
from fly64_assets.evaluation.atlas.packaged import atlas_rows

OBJECT_KEYS: Final = (OBJECT, "reconstructed_object")
"""Keys under which a file has an object: of a base, of a reconstruction."""


def advise(
    field_px: tuple[float, float],
    *,
    photons_per_pixel: float | None = None,
    total_photons: float | None = None,
    photons_per_nm2: float | None = None,
    phase_error_rad: float | None = None,
    resolution_px: float | None = None,
    obj: str | Path | NDArray[np.complexfloating] | ObjectNumbers = "texture",
    probe: str | Path | NDArray[np.complexfloating] = "curved",
    probe_diameter_px: float | None = None,
    pixel_size_nm: float | None = None,
    overlap: float | None = None,
    methods: Sequence[str] = (),
    table: Path | None = None,
) -> Advice:
    """Which scan, which dose and which method, and what error and resolution to expect, from the atlas.

    Exactly one of the five doses and goals is given. Photons are those that arrive at the detector.

    Parameters
    ----------
    field_px : (float, float) [px]
        Height and width of the field to scan, in object pixels.
    photons_per_pixel, total_photons, photons_per_nm2 : float
        A dose that may be spent: per object pixel, in the whole scan, or per area (needs ``pixel_size_nm``).
    phase_error_rad, resolution_px : float
        A goal: root mean square of the phase's error [rad], or full period [px] by the half-bit criterion.
    obj : str, Path, (H, W) complex, or ObjectNumbers
        What is known of the object: one of the kinds of generated objects by name, an NPZ file with ``objectGuess`` or
        ``reconstructed_object`` of a similar one (of a base with positions, the part that they cover), such an array,
        or :class:`~fly64_assets.evaluation.advice.known.ObjectNumbers`.
    probe : str, Path, or (N, N) complex
        A kind of probe by name, an NPZ file with ``probeGuess``, or an array.
    probe_diameter_px : float, optional [px]
        Diameter of the disc with half of the energy of a ``probe`` that is named; that of the atlas's by default.
    pixel_size_nm : float, optional [nm]
        Side of an object pixel.
    overlap : float, optional
        Linear overlap of nearest probes that is given; by default the best one is sought.
    methods : sequence of str
        Methods that come into question; all of the atlas by default.
    table : Path, optional
        Table (CSV) of another campaign instead of the atlas of the package.

    Returns
    -------
    Advice
        The recommended scan beside others, with 80 % intervals; its text is what ``fly64 advise`` prints.

    Raises
    ------
    AdviceError
        For a question that makes no sense, or that the atlas cannot answer.
    ArtifactError
        For a file that cannot be read.

    Examples
    --------
    >>> best = advise((160, 160), photons_per_pixel=100, obj="cells").best
    >>> best.phase_error_rad.low < best.phase_error_rad.expected < best.phase_error_rad.high
    True
    """
    asked: dict[Ask, float | None] = {
        "photons_per_pixel": photons_per_pixel,
        "total_photons": total_photons,
        "photons_per_nm2": photons_per_nm2,
        "phase_error_rad": phase_error_rad,
        "resolution_px": resolution_px,
    }
    given = [(name, value) for name, value in asked.items() if value is not None]
    if len(given) != 1:
        said = " and ".join(name for name, _ in given) or "none"
        raise AdviceError([f"given: {said}; expected one dose or one goal of {', '.join(UNITS)}"])
    question = Question(*given[0], field_px, pixel_size_nm, overlap, tuple(methods))
    atlas = _packaged() if table is None else atlas_of(_rows_of(table))
    known = _specimen(obj, atlas.rows), _illumination(probe, atlas.rows, probe_diameter_px)
    return answer(atlas, question, *known)


@functools.cache
def _packaged() -> Atlas:
    """The atlas of the package with its forecasts, which take a part of a second."""
    return atlas_of(atlas_rows())


def _rows_of(path: Path) -> tuple[Row, ...]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return tuple(read_rows(file))
    except (OSError, ValueError, KeyError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: cannot be read as the table of a campaign: {error}") from error


def _specimen(what: str | Path | NDArray[Any] | ObjectNumbers, rows: Sequence[Row]) -> Specimen:
    if not isinstance(what, Path):
        return specimen(what, rows)
    arrays = open_npz(what)
    obj = next((squeezed(arrays[key], 2) for key in OBJECT_KEYS if key in arrays), None)
    if obj is None or obj.ndim != 2 or obj.dtype.kind != "c":
        raise ArtifactError(f"{what.name} holds no complex {' or '.join(OBJECT_KEYS)} of shape (H, W)")
    return specimen(_scanned(obj, arrays), rows, f"as in {what.name}")


def _scanned(obj: NDArray[Any], arrays: Arrays) -> NDArray[Any]:
    """The part of an object that the positions in its file cover; all of it without positions inside it."""
    x, y = (np.asarray(arrays.get(key, ()), dtype=np.float64).ravel() for key in (XCOORDS, YCOORDS))
    if not len(x) or not len(y) or min(x.min(), y.min()) < 0 or y.max() >= obj.shape[0] or x.max() >= obj.shape[1]:
        return obj
    return obj[int(y.min()) : int(y.max()) + 1, int(x.min()) : int(x.max()) + 1]


def _illumination(what: str | Path | NDArray[Any], rows: Sequence[Row], diameter_px: float | None) -> Illumination:
    if not isinstance(what, Path):
        return illumination_of(what, rows, diameter_px)
    probe = probe_of(open_npz(what))
    if probe is None:
        raise ArtifactError(f"{what.name} holds no {PROBE} of shape (N, N) or (M, N, N)")
    return illumination_of(probe if probe.ndim == 2 else probe[0], rows, diameter_px, f"of {what.name}")
