"""The steps by which a file's arrays become canonical: those that a base and a data set have in common.

Each step leaves a record. What the file does not show is refused, with a guess and the option that confirms it, of
``fly64 import`` and ``fly64 base import``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import numbers, positions, schema, structure, values
from fly64_assets.contract.findings import FormError
from fly64_assets.contract.frames import (
    REAL_KINDS,
    is_frames_last,
    looks_like_coordinate,
    looks_like_frames,
    looks_like_object,
    looks_like_positions,
    looks_like_probe,
    squeezed,
    unknown_keys,
)
from fly64_assets.contract.mask_files import as_marks
from fly64_assets.contract.metadata import (
    ENERGY,
    build_metadata,
    decode_metadata,
    encode_metadata,
    has_stand_in_object,
    physics_parameters,
    transformation,
)
from fly64_assets.contract.positions import Origin
from fly64_assets.errors import ContractError
from fly64_assets.physics.illumination import WRAPPED, half_turned_spread

Transformations = list[dict[str, Any]]

LEAST_ENERGY_EV: Final = 50.0
"""Photon energies below are those of visible light, or of X-rays in keV."""


class Conversion:
    """The arrays of one file during conversion, and the record of what was done to them."""

    def __init__(self, where: str, arrays: dict[str, NDArray[Any]]) -> None:
        self.where = where
        self.arrays = arrays
        self.done: Transformations = []
        self.sources: dict[str, str] = {}  # the keys in the file, where they were others
        self.physics: dict[str, Any] = {}  # physics_parameters that the container records by other means
        self.document: dict[str, Any] | None = None
        if schema.METADATA in arrays:
            try:
                self.document = decode_metadata(arrays.pop(schema.METADATA))
            except ContractError as problem:
                self.record("drop_key", key=schema.METADATA, reason=str(problem))

    def error(self, code: str, message: str, joint: str = ": ") -> FormError:
        """An error of a rule that names the file."""
        return FormError(code, f"{self.where}{joint}{message}")

    def record(self, operation: str, **parameters: Any) -> None:
        """Note a step."""
        self.done.append(transformation(operation, parameters))

    def nothing_to_do(self, option: str, reason: str) -> None:
        """Note that a step that was asked for changed nothing."""
        self.record("nothing_to_do", option=option, reason=reason)

    def has_done(self, operation: str, parameters: Mapping[str, Any]) -> bool:
        """Whether the file's history holds this very step already."""
        history = (self.document or {}).get("data_transformations")
        return isinstance(history, list) and transformation(operation, parameters) in history

    def rename(self, names: Mapping[str, str]) -> None:
        """Read keys as others, all at once, so that two may be exchanged."""
        others = set(self.arrays) - set(names)
        for source, key in names.items():
            if source not in self.arrays:
                present = ", ".join(sorted(self.arrays))
                raise self.error(structure.KEYS, f"there is no key '{source}' to rename; found {present}")
            again = key == schema.BAD_PIXELS and key in others
            if key not in schema.DTYPES or (key in others and not again):
                why = "the file has that key already" if key in others else "the contract has no such key"
                raise self.error(structure.KEYS, f"'{source}' cannot be renamed to '{key}': {why}")
            others.add(key)
        renamed = {key: self.arrays.pop(source) for source, key in names.items()}
        masks = [found[schema.BAD_PIXELS] for found in (self.arrays, renamed) if schema.BAD_PIXELS in found]
        self.arrays |= renamed
        if len(masks) > 1:
            self.arrays[schema.BAD_PIXELS] = self._either(*masks)
        self.sources |= {key: source for source, key in names.items()}
        for source, key in names.items():
            self.record("rename_key", old=source, new=key)

    def _either(self, first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.bool_]:
        """Pixels that one of two masks (M, N) marks as bad."""
        (one, _), (other, _) = (as_marks(mask, f"{self.where}: '{schema.BAD_PIXELS}'") for mask in (first, second))
        if one.shape != other.shape:
            raise self.error(
                structure.SHAPE, f"masks of shapes {first.shape} and {second.shape} are no {schema.BAD_PIXELS} together"
            )
        self.record("join_masks", key=schema.BAD_PIXELS, pixels=[int(np.count_nonzero(m)) for m in (one, other)])
        return one | other

    def refuse_stand_in_object(self) -> None:
        """Refuse to simulate frames of an object that nobody knows."""
        if has_stand_in_object(self.document):
            raise self.error(
                structure.KEYS,
                f"{schema.OBJECT} holds ones in place of the object, which a measurement does not know; a base needs "
                "an object to simulate frames of: put a reconstruction into its place",
            )

    def require(self, keys: tuple[str, ...]) -> None:
        """Refuse a file without some keys, with what looks like them under other names."""
        missing = [key for key in keys if key not in self.arrays]
        if not missing:
            return
        guesses = self.guesses(missing)
        if schema.FRAMES in missing and schema.OBJECT in self.arrays:
            guesses.append("an object without frames is a base: `fly64 base import` takes it")
        elif schema.FRAMES in missing and not guesses:
            guesses.append("frames in another file: --with FILE; under another name: --rename NAME=diffraction")
        if schema.OBJECT in missing and schema.FRAMES not in keys:
            guesses.append(
                "a base needs an object; frames without one are a measurement: `fly64 import` makes a data set, and a "
                "study with scan: measured (`fly64 --study measured base check`) takes them as they are"
            )
        advice = f"; {'; '.join(guesses)}" if guesses else ""
        found = ", ".join(sorted(self.arrays)) or "no array"
        raise self.error(structure.KEYS, f"lacks {', '.join(missing)}; found {found}{advice}", " ")

    def guesses(self, missing: list[str]) -> list[str]:
        """What the missing keys may be called in the file, or how else to get them, each with its option."""
        tests: dict[str, Callable[[str, NDArray[Any]], bool]] = {
            schema.FRAMES: looks_like_frames,
            schema.PROBE: looks_like_probe,
            schema.OBJECT: looks_like_object,
        }
        guesses = []
        for key in unknown_keys(self.arrays):
            guesses += [
                f"'{key}' looks like {wanted}: confirm with --rename {key}={wanted}"
                for wanted, looks_alike in tests.items()
                if wanted in missing and looks_alike(key, self.arrays[key])
            ]
            guesses += [
                f"'{key}' looks like {wanted}: confirm with --rename {key}={wanted}"
                for wanted in (schema.XCOORDS, schema.YCOORDS)
                if wanted in missing and looks_like_coordinate(key, self.arrays[key], wanted[0])
            ]
            if schema.XCOORDS in missing and looks_like_positions(key, self.arrays[key], self._frame_number()):
                guesses.append(
                    f"'{key}' looks like positions as pairs, whose order the file does not show: confirm with --pairs "
                    f"{key}=xy (columns first) or --pairs {key}=yx (rows first)"
                )
        return guesses

    def _frame_number(self) -> int | None:
        """How many frames the file has, under whatever name; None where nothing looks like frames."""
        stacks = [
            squeezed(array, 3)
            for key, array in self.arrays.items()
            if key in (schema.FRAMES, schema.LEGACY_FRAMES) or looks_like_frames(key, array)
        ]
        shape = next((stack.shape for stack in stacks if stack.ndim == 3), None)
        return None if shape is None else int(shape[-1] if is_frames_last(shape, None) else shape[0])

    def join_complex(self, confirmed: bool) -> None:
        """Complex numbers stored as records of two numbers, or as a last axis of two."""
        for key, array in self.arrays.items():
            together = numbers.from_records(array)
            if together is not None:
                self.arrays[key] = together
                self.record("join_records", key=key, dtype=str(array.dtype))
            elif array.dtype.names and key in schema.DTYPES:
                raise self.error(
                    structure.DTYPE,
                    f"{key} is made of records with the fields {', '.join(array.dtype.names)}; expected numbers, or "
                    "records with the fields real and imag",
                )
        found = numbers.pairs(self.arrays)
        unclear = {key: array for key, array in found.items() if not (confirmed or numbers.shows_real_parts(array))}
        if unclear:
            shapes = " and ".join(f"{key} of shape {array.shape}" for key, array in unclear.items())
            raise self.error(
                structure.DTYPE,
                f"{shapes}: real numbers with a last axis of two look like real and imaginary parts, or like amplitude "
                "and phase: confirm the first with --real-imaginary, of the second store amplitude * exp(i phase)",
            )
        for key, array in found.items():
            self.arrays[key] = numbers.joined(array[..., 0], array[..., 1])
            self.record("join_real_and_imaginary", key=key, shape=list(array.shape))

    def flatten_raster(self) -> None:
        """Frames in rows and columns of a raster, and positions in such rows, one after the other."""
        keys = [key for key in schema.PER_FRAME_KEYS if key in self.arrays and schema.AXES[key] == 1]
        shapes = {self.arrays[key].shape for key in keys if 1 not in self.arrays[key].shape}
        stack = self.arrays.get(schema.FRAMES)
        if stack is not None and stack.ndim == 4 and 1 not in stack.shape:
            raster = stack.shape[:2]
            if stack.shape[2] != stack.shape[3] or shapes - {(math.prod(raster),), raster}:
                raise self.error(
                    structure.SHAPE,
                    f"diffraction has shape {stack.shape}; expected (n, N, N), or a raster (rows, columns, N, N) with "
                    f"rows x columns positions, but the positions have the shape {', '.join(map(str, sorted(shapes)))}",
                )
        else:
            rasters = {self.arrays[key].shape for key in (schema.XCOORDS, schema.YCOORDS)}
            raster = rasters.pop()
            count = math.prod(raster)
            if rasters or len(raster) != 2 or shapes - {(count,), raster}:
                return
            frames = None if stack is None else squeezed(stack, 3).shape
            if frames is not None and (len(frames) != 3 or count not in (frames[0], frames[2])):
                return
        for key in (schema.FRAMES, schema.PATCHES, *keys):
            array = self.arrays.get(key)
            if array is not None and array.shape[:2] == raster and array.ndim == schema.AXES[key] + 1:
                self.arrays[key] = array.reshape(-1, *array.shape[2:])
                self.record("flatten_raster", key=key, shape=list(array.shape))

    def drop_spare_axes(self) -> None:
        """Axes of length 1 too many."""
        for key in schema.AXES:
            array = self.arrays.get(key)
            if array is None:
                continue
            axes = schema.axes_of(key, array)
            if array.ndim == axes:
                continue
            self.arrays[key] = squeezed(array, axes)
            if key == schema.BAD_PIXELS and self.arrays[key].ndim == schema.AXES[schema.FRAMES]:
                continue
            if self.arrays[key].ndim != axes:
                modes = " (or three of complex modes)" if key == schema.PROBE else ""
                if key in numbers.COMPLEX_KEYS and array.dtype.kind in REAL_KINDS and 2 in array.shape:
                    modes = " of complex numbers, which real and imaginary parts, or amplitude and phase, are not"
                raise self.error(
                    structure.SHAPE,
                    f"{key} has shape {array.shape}; expected {axes} axes{modes}; store it with as many",
                )
            self.record("drop_axes", key=key, shape=list(array.shape))

    def centre_probe(self, corner: bool) -> None:
        """Move a probe in FFT order to the middle of its window, along the axes whose edges cut it."""
        if not values.has_probe(self.arrays):
            return
        probe = self.arrays[schema.PROBE]
        cut = tuple(axis for axis, ratio in enumerate(half_turned_spread(probe)) if ratio < WRAPPED)
        if corner and not cut and min(half_turned_spread(np.fft.fftshift(probe, axes=(-2, -1)))) < WRAPPED:
            raise self.error(
                values.CENTRE, f"{schema.PROBE}: its centre is in the middle of the window: leave --probe-corner out"
            )
        if corner:
            axes = cut or (0, 1)
            self.arrays[schema.PROBE] = np.fft.fftshift(probe, axes=[axis - 2 for axis in axes])
            self.record("shift_probe_to_centre", key=schema.PROBE, shift="fftshift", axes=list(axes))
        elif cut:
            (finding,) = values.probe_centre_findings(self.arrays)
            raise self.error(finding.code, f"{finding.message}: confirm with --probe-corner, and fftshift is applied")

    def convert_dtypes(self) -> None:
        """Other precisions of the right kind; a real object or complex positions stay for the validator to judge."""
        for key, expected in schema.DTYPES.items():
            array = self.arrays.get(key)
            if array is None or array.dtype == expected:
                continue
            kinds = {"c": "c", "f": REAL_KINDS, "i": "iu", "b": "b"}[expected.kind]
            if array.dtype.kind in kinds:
                try:
                    self.arrays[key] = numbers.converted(array, expected)
                except ValueError as problem:
                    raise self.error(structure.DTYPE, f"{key}: {problem}") from problem
                self.record("convert_dtype", key=key, old=str(array.dtype), new=str(expected))

    def place_positions(self, origin: Origin | None) -> None:
        """Window centres from positions of another origin; what only a guess makes fit is refused with the guess."""
        found = values.window_geometry(self.arrays, self.arrays[schema.PROBE].shape[-2])
        if found is None or len(found[0]) != len(found[1]):
            return
        x, y, shape, size = found
        if origin is not None:
            self.arrays[schema.XCOORDS] = positions.centred(x, origin, size, shape[1])
            self.arrays[schema.YCOORDS] = positions.centred(y, origin, size, shape[0])
            self.record("move_positions", old=positions.MEANING[origin], new="window centres from the first pixel")
            return
        if unit := positions.unit_guess(x, y, shape, size):
            unit += self.doubt_about_energy()
            outside = "; ".join(finding.message for finding in values.coordinate_findings(self.arrays, size))
            raise self.error(values.COORDINATES, f"{outside}; {unit}")
        names = self.sources.get(schema.XCOORDS, schema.XCOORDS), self.sources.get(schema.YCOORDS, schema.YCOORDS)
        guesses = positions.guesses(x, y, shape, size, names)
        if guesses:
            outside = "; ".join(finding.message for finding in values.coordinate_findings(self.arrays, size))
            raise self.error(values.COORDINATES, f"{outside}; perhaps {', or '.join(guesses)}")

    def doubt_about_energy(self) -> str:
        """Where positions cannot be right: whether the energy is given in another unit; empty if it is likely."""
        energy = self.physics.get(ENERGY)
        if energy is None or energy >= LEAST_ENERGY_EV:
            return ""
        return f"; the photon energy is {energy:g} eV: keV meant? The unit of --energy is eV"

    def complete_coordinates(self) -> None:
        """Start positions, which are the positions."""
        for start, key in schema.START_KEYS.items():
            old = self.arrays.get(start)
            self.arrays[start] = self.arrays[key]
            if old is None:
                self.record("add_start_coordinates", key=start)
            elif not np.array_equal(old, self.arrays[key]):
                self.record("replace_start_coordinates", key=start, reason=f"differs from {key}")

    def finished(self, keys: tuple[str, ...], scale: float | None) -> tuple[dict[str, NDArray[Any]], Transformations]:
        """The arrays to keep, with the history in the metadata."""
        for key in sorted(set(self.arrays) - set(keys)):
            self.record("drop_key", key=key, reason="no key of the canonical form")
        arrays = {key: self.arrays[key] for key in keys if key in self.arrays}
        arrays[schema.METADATA] = encode_metadata(self._finished_document(scale))
        return arrays, self.done

    def _finished_document(self, scale: float | None) -> dict[str, Any]:
        if self.document is None:
            physics = {"intensity_scale": scale, **self.physics}
            return build_metadata(self.arrays[schema.PROBE].shape[-2], *self.done, physics=physics)
        history = self.document.get("data_transformations")
        done = [*(history if isinstance(history, list) else ()), *self.done]
        physics = {**physics_parameters(self.document), **self.physics}
        if scale is not None:
            physics["intensity_scale"] = scale
        return {**self.document, "physics_parameters": physics, "data_transformations": done}
