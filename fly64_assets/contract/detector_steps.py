"""The steps that correct frames: masks, marks, negative counts, a gain, frames left out, orientation, beam, side.

Each leaves a record with numbers; nothing is done without its option, and what the values of a file show is refused
with the option that would correct it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import masks, schema, structure, values
from fly64_assets.contract.archive import row_blocks
from fly64_assets.contract.corrections import Corrections
from fly64_assets.contract.evidence import Evidence
from fly64_assets.contract.frame_findings import DIVIDE_BY_GAIN, beam_offset
from fly64_assets.contract.frames import Frames
from fly64_assets.contract.mask_files import as_marks, read_array
from fly64_assets.contract.masks import MASK
from fly64_assets.contract.metadata import has_stand_in_object, positive_parameter
from fly64_assets.contract.numbers import converted
from fly64_assets.contract.object_steps import ObjectSteps
from fly64_assets.contract.orientation import Orientation, turned
from fly64_assets.contract.pixel_findings import few_frames, masked_findings
from fly64_assets.contract.places import number_list
from fly64_assets.contract.probe_findings import power_ratio
from fly64_assets.contract.resampling import far_field_resized, light_left_out, object_resized, resized, shifted
from fly64_assets.contract.scratch import mapped, rows
from fly64_assets.contract.statistics import frame_statistics
from fly64_assets.errors import ContractError

HALF: Final = 0.5


def _where(stack: NDArray[Any], wanted: float) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Where each block of frames holds a value, NaN standing for all that is not finite, and where it starts."""
    for start, block in row_blocks(stack):
        yield start, ~np.isfinite(block) if math.isnan(wanted) else block == stack.dtype.type(wanted)


def _holders(held: NDArray[np.bool_]) -> list[int]:
    """Rows of a block (b, M, N) with any True."""
    numbers: list[int] = np.flatnonzero(held.any(axis=(1, 2))).tolist()
    return numbers


class DetectorSteps(ObjectSteps):
    """The arrays of a data set during conversion, with the steps about its detector."""

    kept: NDArray[np.intp] | None = None
    """Numbers, in the file, of the frames that are left, where some were left out."""

    def refuse_nothing(self) -> None:
        """Refuse a file of no frames."""
        stack = self.arrays[schema.FRAMES]
        if stack.ndim and not len(stack):
            raise self.error(structure.LENGTH, f"diffraction has shape {stack.shape}: 0 frames; expected a measurement")

    def refuse_unknown_positions(self) -> None:
        """Refuse frames of which nobody knows where they were taken, with the option that leaves them out."""
        listed = [np.asarray(self.arrays[key]) for key in (schema.XCOORDS, schema.YCOORDS)]
        if any(one.ndim != 1 or one.dtype.kind != "f" for one in listed) or len({len(one) for one in listed}) > 1:
            return
        unknown = np.flatnonzero(~np.isfinite(listed).all(axis=0))
        if len(unknown):
            numbers = number_list(self._numbers(unknown), ",", most=len(unknown))
            said = f"position of frame {numbers} is" if len(unknown) == 1 else f"positions of frames {numbers} are"
            advice = f"leave out what is unknown with --drop-frames {numbers}"
            if len(unknown) == len(listed[0]):
                advice = "nobody knows where the frames were taken"
            raise self.error(values.FINITE, f"the {said} NaN or infinite: {advice}")

    def _numbers(self, places: NDArray[np.intp]) -> list[int]:
        """Numbers, in the file, of frames of which some were left out."""
        return [int(number) for number in (places if self.kept is None else self.kept[places])]

    def drop_frames(self, numbers: tuple[int, ...]) -> None:
        """Leave frames out; the others keep their numbers in ``scan_index``."""
        if not numbers:
            return
        count = len(self.arrays[schema.FRAMES])
        if max(numbers) >= count:
            raise self.error(
                structure.LENGTH, f"there is no frame {max(numbers)} to drop; the {count} frames count from 0"
            )
        kept = np.setdiff1d(np.arange(count), numbers)
        if not len(kept):
            raise self.error(structure.LENGTH, f"--drop-frames names all {count} frames; nothing would be left")
        self.kept = kept
        self.arrays.setdefault(schema.SCAN_INDEX, np.arange(count, dtype=np.int64))
        shape = self.arrays[schema.FRAMES].shape
        for key, array in self.arrays.items():
            of_frames = key in (schema.LEGACY_FRAMES, *schema.PER_FRAME_KEYS) and array.ndim and len(array) == count
            # Masks, too, may be stored for each frame.
            if of_frames or array.shape == shape:
                self.arrays[key] = rows(array, kept)
        self._forget_expected_counts()
        self.record("drop_frames", frames=number_list(list(numbers), most=count), number=count - len(kept))

    def collect_mask(self, wanted: Corrections, max_bytes: int | None = None) -> None:
        """The mask of the detector from files and keys, or refuse a key whose convention is not given.

        A pixel is bad in all frames if any mask, of all frames or of one, marks it.
        """
        frames, *shape = self.arrays[schema.FRAMES].shape
        if wanted.good_pixels != schema.BAD_PIXELS:
            self._read_own_mask()
        if wanted.good_pixels is not None:
            name = wanted.good_pixels
            if name in self.arrays:
                array, where = self.arrays.pop(name), f"{self.where}: '{name}'"
            elif Path(name).exists():
                array, where = read_array(Path(name), max_bytes), name
            else:
                found = ", ".join(sorted(self.arrays))
                raise self.error(MASK, f"--good-pixels {name} is neither a key of the file ({found}) nor another file")
            bad, differing = as_marks(array, where, frames=frames, good=True)
            self._add_bad(bad, "--good-pixels", name, "--mask FILE, or --rename KEY=bad_pixels", differing)
        if wanted.mask is not None:
            array = read_array(wanted.mask, max_bytes)
            bad, differing = as_marks(array, str(wanted.mask), frames=frames)
            self._add_bad(bad, "--mask", wanted.mask.name, "--good-pixels", differing)
        for finding in masks.convention_findings(self.arrays, tuple(shape)):
            raise self.error(finding.code, finding.message.replace("`", ""))
        for key in masks.other_masks(self.arrays, tuple(shape)):
            del self.arrays[key]
            self.record("drop_key", key=key, reason=f"a mask that marks no pixel that {schema.BAD_PIXELS} does not")

    def _read_own_mask(self) -> None:
        """The mask in the file as one of all frames, whatever numbers mark its bad pixels."""
        array = self.arrays.get(schema.BAD_PIXELS)
        if array is None:
            return
        count, *shape = self.arrays[schema.FRAMES].shape
        if array.shape[-2:] != tuple(shape):
            raise self.error(
                structure.SHAPE,
                f"{schema.BAD_PIXELS} has shape {array.shape}; expected {tuple(shape)}, one mask for all frames",
            )
        try:
            self.arrays[schema.BAD_PIXELS], differing = as_marks(array, schema.BAD_PIXELS, frames=count)
        except ContractError as problem:
            raise self.error(structure.DTYPE, str(problem)) from problem
        if array.dtype != np.bool_:
            self.record("convert_dtype", key=schema.BAD_PIXELS, old=str(array.dtype), new="bool", bad="not 0")
        if array.ndim > self.arrays[schema.BAD_PIXELS].ndim:
            self.record("mask_of_any_frame", key=schema.BAD_PIXELS, pixels_bad_in_some_frames=differing)

    def _add_bad(self, bad: NDArray[np.bool_], option: str, name: str, inverted: str = "", differing: int = 0) -> None:
        shape = self.arrays[schema.FRAMES].shape[1:]
        if bad.shape != shape:
            raise self.error(MASK, f"{option} {name} has shape {bad.shape}; expected that of a frame, {shape}")
        number = int(np.count_nonzero(bad))
        if masks.has_too_few_good(bad):
            advice = f"probably it is inverted: give it with {inverted}" if inverted else "hardly a detector works so"
            raise self.error(MASK, f"{option} {name} marks {number} of {bad.size} pixels as bad; {advice}")
        old = self.arrays.get(schema.BAD_PIXELS)
        if old is not None:
            bad = bad | old
        self.arrays[schema.BAD_PIXELS] = bad
        if number:
            self._forget_expected_counts()
        self.record("mark_bad_pixels", option=option, source=name, pixels=number)
        if differing:
            self.done[-1]["parameters"]["pixels_bad_in_some_frames"] = differing

    def mask_values(self, names: tuple[str, ...]) -> None:
        """Mark pixels that hold a value in any frame as bad."""
        stack = self.arrays[schema.FRAMES]
        for name in names:
            wanted = self._value(name, stack.dtype)
            seen = sum(
                (np.count_nonzero(held, axis=0) for _, held in _where(stack, wanted)),
                start=np.zeros(stack.shape[1:], np.int64),
            )
            if not seen.any():
                raise self.error(MASK, f"--mask-value {name}: no pixel of {stack.dtype} holds {wanted:.9g}")
            self._add_bad(seen > 0, "--mask-value", name)
            said = self.done[-1]["parameters"]
            said["pixels_in_every_frame"] = int(np.count_nonzero(seen == len(stack)))
            rare = (seen > 0) & (seen <= few_frames(len(stack)))
            number = int(np.count_nonzero(rare))
            if 2 * number > np.count_nonzero(seen):
                frames = [start + row for start, held in _where(stack, wanted) for row in _holders(held & rare)]
                if len(frames) <= few_frames(len(stack)):
                    said["warning"] = (
                        f"{number} of the {np.count_nonzero(seen)} pixels hold it in no frames but "
                        f"{number_list(frames)}, and are now bad in all {len(stack)}: --drop-frames leaves those "
                        "frames out instead"
                    )

    def _value(self, name: str, dtype: np.dtype[Any]) -> float:
        if name.upper() == "MAX":
            if dtype.kind not in "iu":
                raise self.error(MASK, f"--mask-value MAX needs integers, and the frames are {dtype}: give the number")
            return np.iinfo(dtype).max
        value = float(name)
        whole = dtype.kind in "iu"
        if whole and not (value == round(value) and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max):
            raise self.error(MASK, f"--mask-value {name}: no pixel of {dtype} can hold that")
        return int(value) if whole else value

    def refuse_marks(self, *, clipped: bool) -> None:
        """Refuse values with which detectors mark pixels that did not measure; ``clipped`` are negative counts."""
        frames = Frames(schema.FRAMES, self.arrays[schema.FRAMES], False)
        if frames.values.dtype.kind not in "iuf" or not frames.values.size:
            return
        scale = positive_parameter(self.document, "intensity_scale")
        found = frame_statistics(frames, None, masks.usable_mask(self.arrays, frames))
        for finding in masked_findings(Evidence(self.arrays, frames, found, scale), clipped=clipped):
            raise self.error(finding.code, finding.message.replace("`", ""))

    def clip_negative(self, wanted: bool) -> None:
        """Set negative counts to 0."""
        if not wanted:
            return
        stack, number, least = self.arrays[schema.FRAMES], 0, 0.0
        for _, block in row_blocks(stack):
            number += int(np.count_nonzero(block < 0)) if stack.dtype.kind in "if" else 0
            least = min(least, float(np.nanmin(block, initial=0))) if number else 0.0
        if not number:
            self.nothing_to_do("--clip-negative", "no count is negative")
            return
        self.arrays[schema.FRAMES] = mapped(stack, lambda block: np.where(block < 0, stack.dtype.type(0), block))
        self._forget_expected_counts()
        self.record("clip_negative", key=schema.FRAMES, values=number, least=least)

    def divide_by_gain(self, gain: float | None) -> None:
        """Whole photons from counts in other units."""
        if gain is None:
            return
        stack = self.arrays[schema.FRAMES]
        if stack.dtype.kind not in "iuf":
            raise self.error(structure.DTYPE, f"diffraction has dtype {stack.dtype}; a gain needs numbers")
        if positive_parameter(self.document, "intensity_scale") is not None:
            raise self.error(values.AMPLITUDE, "_metadata records an intensity_scale for amplitudes: leave --gain out")
        largest, total, positive = 0.0, 0.0, 0
        for _, block in row_blocks(stack):
            exact = block / gain
            rounding = np.abs(exact - np.rint(exact))
            largest = max(largest, float(rounding.max(initial=0.0)))
            total, positive = total + float(rounding.sum()), positive + int(np.count_nonzero(block > 0))
        self.arrays[schema.FRAMES] = mapped(stack, lambda block: np.rint(block / gain), np.float64)
        mean = total / max(positive, 1)
        self.record(DIVIDE_BY_GAIN, units_per_photon=gain, largest_rounding=largest, mean_rounding=mean)

    def turn_frames(self, orientation: Orientation | None) -> None:
        """Turn the frames, and the mask with them, about the DC."""
        if orientation is None:
            return
        stack = self.arrays[schema.FRAMES]
        shape = turned(stack[:1], orientation).shape[1:]
        self.arrays[schema.FRAMES] = mapped(stack, lambda block: turned(block, orientation), shape=shape)
        if schema.BAD_PIXELS in self.arrays:
            self.arrays[schema.BAD_PIXELS] = np.ascontiguousarray(turned(self.arrays[schema.BAD_PIXELS], orientation))
        self.record("turn_frames", orientation=orientation)

    def centre_beam(self, wanted: bool) -> None:
        """Move the frames by whole pixels to where the probe's far field has its centre of mass."""
        if not wanted:
            return
        frames = Frames(schema.FRAMES, self.arrays[schema.FRAMES], False)
        bad = masks.usable_mask(self.arrays, frames)
        found = frame_statistics(frames, None, bad)
        evidence = Evidence(self.arrays, frames, found, None)
        if evidence.far_field is None:
            raise self.error(
                structure.SHAPE,
                f"--centre compares the frames with the far field of {schema.PROBE}, whose shape "
                f"{self.arrays[schema.PROBE].shape} is not that of the frames, {frames.values.shape[1:]}",
            )
        offset = beam_offset(evidence, least_px=HALF) or (0.0, 0.0)
        move = -round(offset[0]), -round(offset[1])
        if move == (0, 0):
            self.nothing_to_do("--centre", "the frames have their centre of mass where the probe's far field has it")
            return
        empty = np.zeros(frames.values.shape[1:], bool) if bad is None else bad
        self.arrays[schema.FRAMES] = mapped(frames.values, lambda block: shifted(block, move, 0))
        self.arrays[schema.BAD_PIXELS] = shifted(empty, move, True)
        self._forget_expected_counts()
        self.record("centre_beam", rows=move[0], columns=move[1], pixels_without_value="bad")

    def resize_frames(self, wanted: Corrections) -> None:
        """Frames of another side N about the DC; the object's pixel, and all that counts in it, changes with N."""
        side = wanted.crop or wanted.pad
        if side is None:
            return
        stack = self.arrays[schema.FRAMES]
        rows, columns = stack.shape[-2:]
        option = "--crop" if wanted.crop else "--pad"
        if side > min(rows, columns) if wanted.crop else side < max(rows, columns):
            raise self.error(
                structure.SHAPE,
                f"{option} {side} of frames of {rows} x {columns} px; --crop makes them smaller, --pad larger",
            )
        bad = self.arrays.get(schema.BAD_PIXELS, np.zeros((rows, columns), bool))
        light = np.zeros((rows, columns))
        for _, block in row_blocks(stack):
            light += np.square(block, dtype=np.float64).sum(axis=0)
        lost = light_left_out(light, side)
        self.arrays[schema.FRAMES] = mapped(stack, lambda block: resized(block, side, 0), shape=(side, side))
        bad = resized(bad, side, True)
        if bad.any() or schema.BAD_PIXELS in self.arrays:
            self.arrays[schema.BAD_PIXELS] = bad
        self._resize_plane((rows, columns), side)
        self._forget_expected_counts()
        self.record("resize_frames", old=[rows, columns], new=side, light_left_out=lost)

    def _resize_plane(self, old: tuple[int, int], side: int) -> None:
        """Probe, object and positions on the object pixels of the new frames, unless the probe has their side."""
        probe = self.arrays[schema.PROBE]
        if probe.shape[-2:] == (side, side) and old != (side, side):
            return
        if probe.shape[-2:] != old:
            raise self.error(
                structure.SHAPE,
                f"{schema.PROBE} has shape {probe.shape}; expected that of the frames, {old}, or of the new ones, "
                f"({side}, {side})",
            )
        factors = side / old[0], side / old[1]
        self.arrays[schema.PROBE] = far_field_resized(probe, side)
        for key, factor in ((schema.YCOORDS, factors[0]), (schema.XCOORDS, factors[1])):
            self.arrays[key] = self.arrays[key].astype(np.float64) * factor
        if schema.OBJECT in self.arrays:
            self.arrays[schema.OBJECT] = object_resized(self.arrays[schema.OBJECT], factors)
        if self.arrays.pop(schema.PATCHES, None) is not None:
            self.record("drop_key", key=schema.PATCHES, reason="patches of another pixel size")
        self.scale_pixel(1 / factors[1], side)

    def scale_probe(self, wanted: bool, scale: float | None, *, object_known: bool) -> None:
        """Scale the probe so that it lets expect as many counts as were measured, together with a known object.

        ``scale`` is the intensity scale s of the frames as they are now.
        """
        if not wanted:
            return
        if scale is None:
            raise self.error(
                values.AMPLITUDE,
                "--scale-probe compares the probe with counts, and the scale of these frames is not known: if they are "
                "counts, give --counts too",
            )
        frames = Frames(schema.FRAMES, self.arrays[schema.FRAMES], False)
        found = frame_statistics(frames, scale, masks.usable_mask(self.arrays, frames))
        known = object_known and not has_stand_in_object(self.document)
        ratio = power_ratio(Evidence(self.arrays, frames, found, scale, object_known=known))
        if ratio is None:
            raise self.error(
                values.AMPLITUDE,
                "--scale-probe found nothing to compare: it needs counts, a probe of the frames' size with light in "
                "it, and positions on the object",
            )
        factor = math.sqrt(ratio)
        probe = self.arrays[schema.PROBE]
        try:
            self.arrays[schema.PROBE] = converted(probe.astype(np.complex128) * factor, probe.dtype)
        except ValueError as problem:
            raise self.error(structure.DTYPE, f"--scale-probe: {schema.PROBE}: {problem}") from problem
        self.record("scale_probe", key=schema.PROBE, factor=factor, counts_over_expected=ratio)

    def _forget_expected_counts(self) -> None:
        physics = (self.document or {}).get("physics_parameters")
        if isinstance(physics, dict) and physics.get("expected_mean_counts") is not None:
            physics["expected_mean_counts"] = None
            self.record("forget_expected_mean_counts", reason="the frames are others")
