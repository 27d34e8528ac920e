"""Canonicalisation: data sets and bases in other common forms, turned into DATA-001 arrays, with a record of each step.

What the file alone does not show is refused, with a guess that the caller may confirm by an option. Judging the result
is for ``validate``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import schema, values
from fly64_assets.contract.archive import open_archive, row_blocks
from fly64_assets.contract.frames import (
    REAL_KINDS,
    Frames,
    coordinate_length,
    is_frames_last,
    looks_like_frames,
    looks_like_object,
    looks_like_positions,
    looks_like_probe,
    squeezed,
    unknown_keys,
)
from fly64_assets.contract.metadata import (
    build_metadata,
    decode_metadata,
    encode_metadata,
    physics_parameters,
    positive_parameter,
    transformation,
)
from fly64_assets.errors import ContractError

Transformations = list[dict[str, Any]]


@np.errstate(all="ignore")
def canonicalize(
    path: Path,
    *,
    rename: Mapping[str, str] | None = None,
    frames_last: bool | None = None,
    counts: bool = False,
    dc_corner: bool = False,
) -> tuple[dict[str, NDArray[Any]], Transformations]:
    """Read a data set in any accepted form and return DATA-001 arrays, with what was done to them.

    Without an option it converts: key ``diff3d``; integer counts; layout (N, N, n) where the coordinates show it;
    axes of length 1 too many; missing ``scan_index`` and ``*_start``; other precisions; a pickled ``_metadata``,
    which is left unread. The result is not yet judged; pass it to ``validate``. Raises :class:`ContractError` if the
    file cannot be read, lacks a required key, or needs a guess.

    Parameters
    ----------
    path : Path
        An NPZ file.
    rename : mapping of str to str
        Keys of the file that hold arrays of the contract: ``{"data": "diffraction"}``.
    frames_last : bool
        Whether frames are stored (N, N, n); by default the coordinates decide.
    counts : bool
        The frames are photon counts, although they are stored as floating-point numbers.
    dc_corner : bool
        The frames have the DC in the corner.

    Returns
    -------
    arrays : dict
        Canonical arrays; ``_metadata`` holds the transformations too.
    transformations : list of ``{tool, operation, parameters}``
    """
    work = _read(path)
    work.rename(rename or {})
    if schema.LEGACY_FRAMES in work.arrays and schema.FRAMES not in work.arrays:
        work.rename({schema.LEGACY_FRAMES: schema.FRAMES})
    work.require(schema.REQUIRED_KEYS)
    work.drop_spare_axes()
    work.order_frames(frames_last)
    scale = work.take_square_root(counts, positive_parameter(work.document, "intensity_scale"))
    work.centre_frames(dc_corner)
    work.convert_dtypes()
    work.complete_coordinates()
    work.add_scan_index()
    return work.finished((schema.FRAMES, schema.PATCHES, *schema.BASE_KEYS, *schema.ALWAYS_WRITTEN_KEYS), scale)


@np.errstate(all="ignore")
def canonicalize_base(
    path: Path, *, rename: Mapping[str, str] | None = None
) -> tuple[dict[str, NDArray[Any]], Transformations]:
    """Read a base file (object, probe, positions) in any accepted form; frames in it are dropped unread.

    Parameters and errors as in :func:`canonicalize`; the keys needed are ``objectGuess``, ``probeGuess``,
    ``xcoords`` and ``ycoords``. The result is not yet judged; pass it to ``validate_base``.
    """
    kept = (*schema.BASE_KEYS, *schema.START_KEYS)
    sources = {source for source, key in (rename or {}).items() if key in (*kept, schema.METADATA)}
    work = _read(path, unread=schema.KNOWN_KEYS - {*kept, schema.METADATA} - sources)
    work.rename(rename or {})
    work.require(schema.BASE_KEYS)
    work.drop_spare_axes()
    work.convert_dtypes()
    work.complete_coordinates()
    return work.finished(kept, None)


def _read(path: Path, unread: frozenset[str] = frozenset()) -> _Conversion:
    with open_archive(Path(path)) as archive:
        dropped = dict.fromkeys((key for key in archive.keys if key in unread), "not needed")
        if schema.METADATA in archive.keys and archive.header(schema.METADATA).dtype.hasobject:
            dropped[schema.METADATA] = "stored as a pickled object, which is never loaded"
        work = _Conversion(str(path), {key: archive.read(key) for key in archive.keys if key not in dropped})
    for key, reason in dropped.items():
        work.record("drop_key", key=key, reason=reason)
    return work


class _Conversion:
    """The arrays of one file during conversion, and the record of what was done to them."""

    def __init__(self, where: str, arrays: dict[str, NDArray[Any]]) -> None:
        self.where = where
        self.arrays = arrays
        self.done: Transformations = []
        self.document: dict[str, Any] | None = None
        if schema.METADATA in arrays:
            try:
                self.document = decode_metadata(arrays.pop(schema.METADATA))
            except ContractError as problem:
                self.record("drop_key", key=schema.METADATA, reason=str(problem))

    def record(self, operation: str, **parameters: Any) -> None:
        self.done.append(transformation(operation, parameters))

    def rename(self, names: Mapping[str, str]) -> None:
        for source, key in names.items():
            if source not in self.arrays:
                present = ", ".join(sorted(self.arrays))
                raise ContractError(f"{self.where} has no key '{source}' to rename; found {present}")
            if key not in schema.DTYPES or key in self.arrays:
                why = "the file has that key already" if key in self.arrays else "the contract has no such key"
                raise ContractError(f"'{source}' cannot be renamed to '{key}': {why}")
            self.arrays[key] = self.arrays.pop(source)
            self.record("rename_key", old=source, new=key)

    def require(self, keys: tuple[str, ...]) -> None:
        missing = [key for key in keys if key not in self.arrays]
        if not missing:
            return
        guesses = self._guesses(missing)
        if schema.FRAMES in missing and schema.OBJECT in self.arrays:
            guesses.append("an object without frames is a base: `fly64 base import` takes it")
        advice = f"; {'; '.join(guesses)}" if guesses else ""
        raise ContractError(
            f"{self.where} lacks {', '.join(missing)}; found {', '.join(sorted(self.arrays)) or 'no array'}{advice}"
        )

    def _guesses(self, missing: list[str]) -> list[str]:
        tests: dict[str, Callable[[str, NDArray[Any]], bool]] = {
            schema.FRAMES: looks_like_frames,
            schema.PROBE: looks_like_probe,
            schema.OBJECT: looks_like_object,
        }
        guesses = []
        for key in unknown_keys(self.arrays):
            guesses += [
                f"'{key}' looks like {wanted}: confirm with rename {key}={wanted}"
                for wanted, looks_alike in tests.items()
                if wanted in missing and looks_alike(key, self.arrays[key])
            ]
            if schema.XCOORDS in missing and looks_like_positions(key, self.arrays[key]):
                guesses.append(
                    f"'{key}' looks like positions as pairs, whose order the file does not show: "
                    f"store {schema.XCOORDS} (columns) and {schema.YCOORDS} (rows) in object pixels"
                )
        return guesses

    def drop_spare_axes(self) -> None:
        for key, axes in schema.AXES.items():
            array = self.arrays.get(key)
            if array is None or array.ndim == axes:
                continue
            self.arrays[key] = squeezed(array, axes)
            if self.arrays[key].ndim != axes:
                modes = " (one probe mode only)" if key == schema.PROBE else ""
                raise ContractError(
                    f"{self.where}: {key} has shape {array.shape}; expected {axes} axes{modes}; store it with as many"
                )
            self.record("drop_axes", key=key, shape=list(array.shape))

    def order_frames(self, frames_last: bool | None) -> None:
        stack = self.arrays[schema.FRAMES]
        if not (self._frames_are_last(stack.shape) if frames_last is None else frames_last):
            return
        for key in (schema.FRAMES, schema.PATCHES):
            array = self.arrays.get(key)
            if array is not None and array.shape == stack.shape:
                self.arrays[key] = np.ascontiguousarray(np.moveaxis(array, -1, 0))
                self.record("move_frame_axis_first", key=key, shape=list(array.shape))

    def _frames_are_last(self, shape: tuple[int, ...]) -> bool:
        positions = coordinate_length(self.arrays)
        if shape[0] == shape[1] == shape[2]:
            raise ContractError(
                f"{self.where}: diffraction has shape {shape}, which does not show the axis of the frames; "
                "frames_last = False (the first axis) is the likelier: confirm it, or give frames_last = True"
            )
        if shape[0] == shape[1] != shape[2] != positions:
            raise ContractError(
                f"{self.where}: diffraction has shape {shape}, which looks like (N, N, n), but there are "
                f"{positions or 'no consistent'} positions; give frames_last = True if the last axis counts the frames"
            )
        return is_frames_last(shape, positions)

    def take_square_root(self, confirmed: bool, scale: float | None) -> float | None:
        """Turn counts into amplitudes; returns the scale s that holds afterwards: 1 for square roots of counts."""
        stack = self.arrays[schema.FRAMES]
        if stack.dtype.kind not in REAL_KINDS:
            raise ContractError(
                f"{self.where}: diffraction has dtype {stack.dtype}; expected real amplitudes or counts"
            )
        integers = stack.dtype.kind in "iub"
        if not (integers or confirmed):
            if scale is None and stack.size and self._statistics()[1].integers:
                raise ContractError(
                    f"{self.where}: every value of diffraction is an integer and no intensity_scale is recorded, so "
                    "these look like photon counts: confirm with counts = True and their square roots are taken"
                )
            return scale
        if scale is not None:
            raise ContractError(
                f"{self.where}: diffraction looks like counts (dtype {stack.dtype}), but _metadata records "
                f"intensity_scale = {scale:g} for amplitudes; one of the two is wrong"
            )
        amplitude = np.empty(stack.shape, dtype=np.float32)
        for start, block in row_blocks(stack):
            if (block < 0).any():
                raise ContractError(f"{self.where}: diffraction holds negative numbers, which are no photon counts")
            amplitude[start : start + len(block)] = np.sqrt(block.astype(np.float64))
        self.arrays[schema.FRAMES] = amplitude
        self.record("square_root_of_counts", dtype=str(stack.dtype), intensity_scale=1.0)
        return 1.0

    def centre_frames(self, corner: bool) -> None:
        if corner:
            self.arrays[schema.FRAMES] = np.fft.fftshift(self.arrays[schema.FRAMES], axes=(-2, -1))
            self.record("shift_dc_to_centre", shift="fftshift")
            return
        for finding in values.centre_findings(self.arrays, *self._statistics()):
            if finding.severity == "error":
                raise ContractError(f"{self.where}: {finding.message}; confirm with dc_corner = True and it is done")

    def _statistics(self) -> tuple[Frames, values.FrameStatistics]:
        frames = Frames(schema.FRAMES, self.arrays[schema.FRAMES], False)
        return frames, values.frame_statistics(frames, None)

    def convert_dtypes(self) -> None:
        """Other precisions of the right kind; a real object or complex positions stay for the validator to judge."""
        for key, expected in schema.DTYPES.items():
            array = self.arrays.get(key)
            if array is None or array.dtype == expected:
                continue
            kinds = {"c": "c", "f": REAL_KINDS, "i": "iu"}[expected.kind]
            if array.dtype.kind in kinds:
                self.arrays[key] = array.astype(expected)
                self.record("convert_dtype", key=key, old=str(array.dtype), new=str(expected))

    def complete_coordinates(self) -> None:
        for start, key in schema.START_KEYS.items():
            old = self.arrays.get(start)
            self.arrays[start] = self.arrays[key]
            if old is None:
                self.record("add_start_coordinates", key=start)
            elif not np.array_equal(old, self.arrays[key]):
                self.record("replace_start_coordinates", key=start, reason=f"differs from {key}")

    def add_scan_index(self) -> None:
        if schema.SCAN_INDEX not in self.arrays:
            self.arrays[schema.SCAN_INDEX] = np.arange(len(self.arrays[schema.FRAMES]), dtype=np.int64)
            self.record("add_scan_index")

    def finished(self, keys: tuple[str, ...], scale: float | None) -> tuple[dict[str, NDArray[Any]], Transformations]:
        for key in sorted(set(self.arrays) - set(keys)):
            self.record("drop_key", key=key, reason="no key of the canonical form")
        arrays = {key: self.arrays[key] for key in keys if key in self.arrays}
        arrays[schema.METADATA] = encode_metadata(self._finished_document(scale))
        return arrays, self.done

    def _finished_document(self, scale: float | None) -> dict[str, Any]:
        if self.document is None:
            return build_metadata(len(self.arrays[schema.PROBE]), *self.done, physics={"intensity_scale": scale})
        history = self.document.get("data_transformations")
        done = [*(history if isinstance(history, list) else ()), *self.done]
        physics = dict(physics_parameters(self.document))
        if scale is not None:
            physics["intensity_scale"] = scale
        return {**self.document, "physics_parameters": physics, "data_transformations": done}
