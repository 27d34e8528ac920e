"""Canonicalisation: data sets and bases in other common forms, turned into DATA-001 arrays, with a record of each step.

What the file alone does not show is refused, with a guess that the caller may confirm by an option. Judging the result
is for ``validate``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import masks, schema, structure, values
from fly64_assets.contract import positions as conventions
from fly64_assets.contract.archive import open_archive, row_blocks
from fly64_assets.contract.conversion import Conversion, Transformations
from fly64_assets.contract.corrections import NONE, Corrections, Unit
from fly64_assets.contract.detector_steps import DetectorSteps
from fly64_assets.contract.frames import (
    REAL_KINDS,
    Frames,
    coordinate_length,
    is_frames_last,
    looks_like_object,
    unknown_keys,
)
from fly64_assets.contract.metadata import PIXEL_SIZE, STAND_IN_OBJECT, is_of_this_package, positive_parameter
from fly64_assets.contract.object_steps import ObjectSteps
from fly64_assets.contract.orientation import TURNS, Orientation
from fly64_assets.contract.places import pixel_list
from fly64_assets.contract.positions import Origin
from fly64_assets.contract.scratch import mapped
from fly64_assets.contract.source import Source
from fly64_assets.contract.statistics import FrameStatistics, frame_statistics

Steps = TypeVar("Steps", bound=Conversion)


@np.errstate(all="ignore")
def canonicalize(
    path: Path | Source,
    *,
    rename: Mapping[str, str] | None = None,
    frames_last: bool | None = None,
    counts: bool = False,
    dc_corner: bool = False,
    probe_from_frames: bool = False,
    probe_corner: bool = False,
    real_imaginary: bool = False,
    positions: Origin | None = None,
    corrections: Corrections = NONE,
    max_bytes: int | None = None,
) -> tuple[dict[str, NDArray[Any]], Transformations]:
    """Read a data set in any accepted form and return DATA-001 arrays, with what was done to them.

    Without an option it converts: key ``diff3d``; integer counts; layout (N, N, n) where the coordinates show it; a
    raster (rows, columns, N, N); complex numbers as records; axes of length 1 too many; missing ``scan_index`` and
    ``*_start``; other precisions; a pickled ``_metadata``, which is left unread. Where there is no object, as in
    measured data, ones stand in for it. The result is not yet judged; pass it to ``validate``.

    Raises :class:`ContractError` if the file cannot be read, and :class:`FormError` if it lacks a required key or
    needs a guess. The message names options of ``fly64 import``, which are the parameters here.

    Parameters
    ----------
    path : Path or Source
        An NPZ file, or what a reader has found in a file of another kind.
    rename : mapping of str to str
        Keys of the file that hold arrays of the contract: ``{"data": "diffraction"}``.
    frames_last : bool
        Whether frames are stored (N, N, n); by default the coordinates decide.
    counts : bool
        The frames are photon counts, although they are stored as floating-point numbers.
    dc_corner, probe_corner : bool
        The frames have the DC, the probe has its centre, in the corner.
    probe_from_frames : bool
        There is no probe: one is made of the mean frame, in focus.
    real_imaginary : bool
        A last axis of two holds real and imaginary parts.
    positions : ``from-centre`` or ``corners``
        Positions count from the object's centre, or are the first pixels of the windows.
    corrections : Corrections
        Steps that change the content: masks, units, frames to leave out.
    max_bytes : int
        Largest size that the file may declare (see :func:`fly64_assets.contract.archive.open_archive`).

    Returns
    -------
    arrays : dict
        Canonical arrays; ``_metadata`` holds the transformations too.
    transformations : list of ``{tool, operation, parameters}``
    """
    work = _read(_DataSet, path, max_bytes)
    work.rename(rename or {})
    if schema.LEGACY_FRAMES in work.arrays and schema.FRAMES not in work.arrays:
        work.rename({schema.LEGACY_FRAMES: schema.FRAMES})
    measured = work.without_object()
    spared = {schema.OBJECT: measured, schema.PROBE: probe_from_frames}
    work.require(tuple(key for key in schema.REQUIRED_KEYS if not spared.get(key)))
    work.join_complex(real_imaginary)
    work.choose_mode(corrections.probe_mode)
    work.choose_slice(corrections.slice_number)
    work.refuse_slices()
    work.flatten_raster()
    work.drop_spare_axes()
    work.order_frames(frames_last)
    work.refuse_nothing()
    work.drop_frames(corrections.drop_frames)
    work.refuse_unknown_positions()
    work.collect_mask(corrections, max_bytes)
    work.mask_values(corrections.mask_values)
    work.blank_bad_pixels()
    work.refuse_marks(clipped=corrections.clip_negative)
    work.clip_negative(corrections.clip_negative)
    work.divide_by_gain(corrections.gain)
    confirmed = counts or corrections.gain is not None
    scale = work.take_square_root(confirmed, positive_parameter(work.document, "intensity_scale"))
    work.centre_frames(dc_corner)
    if probe_from_frames:
        work.add_probe()
    work.centre_probe(probe_corner)
    work.refuse_exchanged_sides(corrections.orientation)
    work.turn_frames(corrections.orientation)
    work.centre_beam(corrections.centre)
    work.note_geometry(corrections)
    work.convert_unit(corrections.positions_unit)
    work.resize_frames(corrections)
    work.order_modes()
    work.convert_dtypes()
    work.fill_border(corrections.fill_border)
    if measured:
        work.mirror_positions(corrections.mirror)
        work.add_stand_in_object(positions)
    else:
        work.place_and_mirror(origin_of(positions, corrections.positions_unit), corrections.mirror)
    work.complete_coordinates()
    work.add_scan_index()
    work.scale_probe(corrections.scale_probe, scale, object_known=not measured)
    return work.finished(
        (schema.FRAMES, schema.PATCHES, schema.BAD_PIXELS, *schema.BASE_KEYS, *schema.ALWAYS_WRITTEN_KEYS), scale
    )


@np.errstate(all="ignore")
def canonicalize_base(
    path: Path | Source,
    *,
    rename: Mapping[str, str] | None = None,
    probe_corner: bool = False,
    real_imaginary: bool = False,
    positions: Origin | None = None,
    corrections: Corrections = NONE,
    max_bytes: int | None = None,
) -> tuple[dict[str, NDArray[Any]], Transformations]:
    """Read a base file (object, probe, positions) in any accepted form; frames in it are dropped.

    Parameters and errors as in :func:`canonicalize`; the keys needed are ``objectGuess``, ``probeGuess``,
    ``xcoords`` and ``ycoords``. The result is not yet judged; pass it to ``validate_base``.
    """
    kept = (*schema.BASE_KEYS, *schema.START_KEYS)
    sources = {source for source, key in (rename or {}).items() if key in (*kept, schema.METADATA)}
    work = _read(ObjectSteps, path, max_bytes, schema.KNOWN_KEYS - {*kept, schema.METADATA} - sources)
    work.rename(rename or {})
    work.require(schema.BASE_KEYS)
    work.refuse_stand_in_object()
    work.join_complex(real_imaginary)
    work.choose_mode(corrections.probe_mode)
    work.choose_slice(corrections.slice_number)
    work.refuse_slices()
    work.flatten_raster()
    work.drop_spare_axes()
    work.centre_probe(probe_corner)
    work.note_geometry(corrections)
    work.convert_unit(corrections.positions_unit)
    work.resize_window(corrections)
    work.order_modes()
    work.convert_dtypes()
    work.fill_border(corrections.fill_border)
    work.place_and_mirror(origin_of(positions, corrections.positions_unit), corrections.mirror)
    work.complete_coordinates()
    return work.finished(kept, None)


def origin_of(origin: Origin | None, unit: Unit | None) -> Origin | None:
    """From where positions count, as far as their unit does not say it."""
    return "from-centre" if unit == "px-centred" and origin is None else origin


def _read(
    steps: type[Steps], path: Path | Source, max_bytes: int | None, unread: frozenset[str] = frozenset()
) -> Steps:
    if isinstance(path, Source):
        return _taken(steps, path, unread)
    with open_archive(Path(path), max_bytes) as archive:
        dropped = dict.fromkeys((key for key in archive.keys if key in unread), "not needed")
        if schema.METADATA in archive.keys and archive.header(schema.METADATA).dtype.hasobject:
            dropped[schema.METADATA] = "stored as a pickled object, which is never loaded"
        for key in dropped:
            archive.check(key)
        work = steps(str(path), {key: archive.read(key) for key in archive.keys if key not in dropped})
    for key, reason in dropped.items():
        work.record("drop_key", key=key, reason=reason)
    return work


def _taken(steps: type[Steps], source: Source, unread: frozenset[str]) -> Steps:
    work = steps(str(source.path), {key: array for key, array in source.arrays.items() if key not in unread})
    work.physics |= source.physics
    work.done += source.done
    for key in source.arrays:
        if key in unread:
            work.record("drop_key", key=key, reason="not needed")
    return work


class _DataSet(DetectorSteps):
    """The steps that concern frames, which a base needs not."""

    def guesses(self, missing: list[str]) -> list[str]:
        """The same, and where a measurement gets a probe from."""
        guesses = super().guesses(missing)
        if schema.PROBE in missing and schema.FRAMES in self.arrays and not guesses:
            guesses.append(
                "a measurement without a probe: give one beside it (--with probe.npy --rename probe=probeGuess), or "
                "start from the mean frame with --probe-from-frames"
            )
        return guesses

    def order_frames(self, frames_last: bool | None) -> None:
        """Frames stored (N, N, n), first."""
        stack = self.arrays[schema.FRAMES]
        count, first, last = coordinate_length(self.arrays), stack.shape[0], stack.shape[-1]
        if frames_last is not None and count in (first, last) and count != (last if frames_last else first):
            axis, option = ("last", "--frames-last") if frames_last else ("first", "--frames-first")
            raise self.error(
                structure.LAYOUT,
                f"diffraction has shape {stack.shape} and there are {count} positions, so the {axis} axis does not "
                f"count the frames: leave {option} out",
            )
        if not (self._frames_are_last(stack.shape) if frames_last is None else frames_last):
            return
        for key in (schema.FRAMES, schema.PATCHES, schema.BAD_PIXELS):
            array = self.arrays.get(key)
            if array is not None and array.shape == stack.shape:
                self.arrays[key] = np.ascontiguousarray(np.moveaxis(array, -1, 0))
                self.record("move_frame_axis_first", key=key, shape=list(array.shape))

    def _frames_are_last(self, shape: tuple[int, ...]) -> bool:
        count = coordinate_length(self.arrays)
        if shape[0] == shape[1] == shape[2] and not is_of_this_package(self.document):
            raise self.error(
                structure.LAYOUT,
                f"diffraction has shape {shape}, which does not show the axis of the frames; the first is the "
                "likelier: confirm it with --frames-first, or give --frames-last",
            )
        if shape[0] == shape[1] != shape[2] != count:
            raise self.error(
                structure.LAYOUT,
                f"diffraction has shape {shape}, which looks like (N, N, n), but there are "
                f"{count or 'no consistent'} positions; give --frames-last if the last axis counts the frames",
            )
        return is_frames_last(shape, count)

    def blank_bad_pixels(self) -> None:
        """The mask as bool, and 0 in the frames where the detector did not measure, whatever the file has there."""
        bad = self.arrays.get(schema.BAD_PIXELS)
        if bad is None:
            return
        stack = self.arrays[schema.FRAMES]
        for finding in masks.mask_findings(self.arrays):
            if finding.severity == "error":
                raise self.error(finding.code, finding.message)
        if stack.dtype.kind in REAL_KINDS:
            self.arrays[schema.FRAMES] = mapped(stack, lambda block: masks.without_bad(block, bad))
        step = {"key": schema.FRAMES, "value": 0, "pixels": int(np.count_nonzero(bad))}
        if not self.has_done("blank_bad_pixels", step):
            self.record("blank_bad_pixels", **step)

    def take_square_root(self, confirmed: bool, scale: float | None) -> float | None:
        """Turn counts into amplitudes; returns the scale s that holds afterwards: 1 for square roots of counts."""
        stack = self.arrays[schema.FRAMES]
        if stack.dtype.kind not in REAL_KINDS:
            raise self.error(
                structure.DTYPE, f"diffraction has dtype {stack.dtype}; expected real amplitudes or counts"
            )
        integers = stack.dtype.kind in "iub"
        if not (integers or confirmed):
            if scale is None and stack.size and self._statistics()[1].integers:
                raise self.error(
                    values.AMPLITUDE,
                    "every value of diffraction is an integer and no intensity_scale is recorded, so these look like "
                    "photon counts: confirm with --counts, and their square roots are taken",
                )
            return scale
        if scale is not None:
            raise self.error(
                values.AMPLITUDE,
                f"diffraction looks like counts (dtype {stack.dtype}), but _metadata records intensity_scale = "
                f"{scale:g} for amplitudes; one of the two is wrong",
            )
        whole = True
        for _, block in row_blocks(stack):
            if (block < 0).any():
                below = sum(int(np.count_nonzero(part < 0)) for _, part in row_blocks(stack))
                least = min(float(np.nanmin(part)) for _, part in row_blocks(stack))
                raise self.error(
                    values.AMPLITUDE,
                    f"diffraction holds {below} negative numbers, the least {least:g}, which are no photon "
                    "counts; after dark subtraction --clip-negative sets them to 0",
                )
            whole = whole and (integers or bool(np.array_equal(block, np.rint(block), equal_nan=True)))
        self.arrays[schema.FRAMES] = mapped(stack, lambda block: np.sqrt(block.astype(np.float64)), np.float32)
        # Counts that are no whole numbers are in another unit than photons, which the file does not show.
        unit = 1.0 if whole else None
        self.record("square_root_of_counts", dtype=str(stack.dtype), intensity_scale=unit)
        return unit

    def centre_frames(self, corner: bool) -> None:
        """Move the DC of the frames from the corner to the middle."""
        statistics = self._statistics()
        if corner:
            axes = tuple(1 + axis for axis in values.turned_axes(self.arrays, *statistics) or (0, 1))
            stack = self.arrays[schema.FRAMES]
            self.arrays[schema.FRAMES] = mapped(stack, lambda block: np.fft.fftshift(block, axes=axes))
            if schema.BAD_PIXELS in self.arrays:
                turned = tuple(axis - 1 for axis in axes)
                self.arrays[schema.BAD_PIXELS] = np.fft.fftshift(self.arrays[schema.BAD_PIXELS], axes=turned)
            self.record("shift_dc_to_centre", shift="fftshift", axes=list(axes))
            return
        for finding in values.centre_findings(self.arrays, *statistics):
            if finding.severity == "error":
                advice = "; confirm with --dc-corner, and it is done" if finding.code == values.CENTRE else ""
                raise self.error(finding.code, f"{finding.message}{advice}")

    def _statistics(self) -> tuple[Frames, FrameStatistics]:
        frames = Frames(schema.FRAMES, self.arrays[schema.FRAMES], False)
        return frames, frame_statistics(frames, None, masks.usable_mask(self.arrays, frames))

    def refuse_exchanged_sides(self, orientation: Orientation | None) -> None:
        """Refuse to exchange the sides of oblong frames, whose two axes sample the object unlike."""
        rows, columns = self.arrays[schema.FRAMES].shape[-2:]
        if rows != columns and orientation is not None and TURNS[orientation].transposed:
            raise self.error(
                structure.SHAPE,
                f"--orientation {orientation} exchanges rows and columns of frames of {rows} x {columns} px, whose "
                "positions are in pixels of these two sides as they are: cut the frames to squares first (--crop "
                f"{min(rows, columns)}), and import the result with --orientation {orientation}",
            )

    def add_probe(self) -> None:
        """A probe in focus whose far field has the amplitudes of the mean frame, in a file that has none."""
        if schema.PROBE in self.arrays:
            raise self.error(structure.KEYS, f"{schema.PROBE} is there already: leave --probe-from-frames out")
        stack = self.arrays[schema.FRAMES]
        intensity = np.zeros(stack.shape[1:])
        for _, block in row_blocks(stack):
            intensity += (block.astype(np.float64) ** 2).sum(axis=0)
        if not np.isfinite(intensity).all():
            places = pixel_list(~np.isfinite(intensity))
            raise self.error(
                values.FINITE,
                f"diffraction: pixels are NaN or infinite in some frames ({places}), and a probe is to be made of the "
                "mean frame: mark them with --mask-value nan, or leave such frames out with --drop-frames",
            )
        far_field = np.fft.ifftshift(np.sqrt(intensity / max(len(stack), 1)))
        probe = np.fft.fftshift(np.fft.ifft2(far_field, norm="ortho"))
        self.arrays[schema.PROBE] = probe.astype(schema.DTYPES[schema.PROBE])
        self.record("probe_from_mean_frame", key=schema.PROBE)

    def add_stand_in_object(self, origin: Origin | None) -> None:
        """Ones on a grid that holds every window: a measurement knows no object, and its loaders read one."""
        x, y, size = self.arrays[schema.XCOORDS], self.arrays[schema.YCOORDS], self.arrays[schema.FRAMES].shape[-1]
        try:
            x, y = (centres + size // 2 if origin == "corners" else centres for centres in (x, y))
            made = conventions.grid(x, y, size, self.physics.get(PIXEL_SIZE))
        except ValueError as problem:
            raise self.error(
                values.COORDINATES, f"there is no {schema.OBJECT}, and {problem}{self.doubt_about_energy()}"
            ) from problem
        self.arrays[schema.OBJECT] = np.ones(made.shape, schema.DTYPES[schema.OBJECT])
        self.arrays |= {schema.XCOORDS: x + made.shift[0], schema.YCOORDS: y + made.shift[1]}
        shift = dict(zip(("x_px", "y_px"), made.shift, strict=True))
        self.record(STAND_IN_OBJECT, key=schema.OBJECT, shape=list(made.shape), positions_moved=shift)

    def add_scan_index(self) -> None:
        """Frames count from 0 where nothing else is known."""
        if schema.SCAN_INDEX not in self.arrays:
            self.arrays[schema.SCAN_INDEX] = np.arange(len(self.arrays[schema.FRAMES]), dtype=np.int64)
            self.record("add_scan_index")

    def without_object(self) -> bool:
        """Whether the file holds a measurement: frames, and nothing that could be the object."""
        return (
            schema.FRAMES in self.arrays
            and schema.OBJECT not in self.arrays
            and not any(looks_like_object(key, self.arrays[key]) for key in unknown_keys(self.arrays))
        )
