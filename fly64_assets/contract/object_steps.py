"""The steps that correct object, probe and positions, of data sets and of bases.

One of several modes or slices, a border that is no number, positions in metres, a window of another side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import scipy

from fly64_assets.contract import schema, structure, values
from fly64_assets.contract.conversion import Conversion
from fly64_assets.contract.corrections import METRES, Corrections, Mirror, Unit
from fly64_assets.contract.frames import REAL_KINDS, is_frames_last, squeezed
from fly64_assets.contract.metadata import DISTANCE, ENERGY, PIXEL_SIZE, WAVELENGTH, positive_parameter
from fly64_assets.contract.places import pixel_list
from fly64_assets.contract.positions import Origin, window_range
from fly64_assets.contract.resampling import light_left_out, resized
from fly64_assets.physics.optics import far_field_pixel, wavelength_of
from fly64_assets.physics.probe_modes import MODES_AXES, added, in_order, orthogonal_modes, power_shares

STACKED: Final = 3
"""Axes of a probe of several modes, or of an object of several slices."""
SAME_PIXEL: Final = 1e-3
"""By how much two statements of the same pixel may differ, relative to its side."""
FROM_METRES: Final = "positions_from_metres"
"""The step of readers that turn positions into pixels, whose size is fixed by then."""
LEAST_SHARE: Final = 1e-12
"""Share of the power from which a mode is more than the rounding of others."""


class ObjectSteps(Conversion):
    """The arrays of a file during conversion, with the steps about object, probe and positions."""

    def choose_mode(self, number: int | None) -> None:
        """One of several incoherent modes of the probe, with its share of the power: of the orthogonal ones."""
        self._move_modes_first()
        if number is None or schema.PROBE not in self.arrays:
            return
        probe = squeezed(self.arrays[schema.PROBE], STACKED)
        modes = probe[None] if probe.ndim < STACKED else probe
        if modes.ndim != STACKED or modes.dtype.kind != "c":
            raise self.error(
                structure.SHAPE, f"{schema.PROBE} has shape {probe.shape}; --probe-mode takes one of modes (M, N, N)"
            )
        if number >= len(modes):
            raise self.error(
                structure.SHAPE,
                f"{schema.PROBE} has {len(modes)} mode{'s' * (len(modes) > 1)}, counted from 0; there is no mode "
                f"{number}",
            )
        if not (np.isfinite(modes).all() and modes.any()):
            raise self.error(
                values.FINITE,
                f"{schema.PROBE}: its {len(modes)} modes hold values that are not finite, or no power at all; none of "
                "them can be taken for the probe",
            )
        if not in_order(modes):
            modes = orthogonal_modes(modes).astype(modes.dtype)
        if power_shares(modes)[number] <= LEAST_SHARE:
            raise self.error(
                structure.SHAPE,
                f"{schema.PROBE}: mode {number} of its orthogonal modes holds none of the power; take one of those "
                "that do, the first is the strongest",
            )
        shares = power_shares(modes).round(6).tolist()
        self.arrays[schema.PROBE] = modes[number]
        self.record("choose_probe_mode", key=schema.PROBE, mode=number, share_of_power=shares[number], shares=shares)

    def _move_modes_first(self) -> None:
        """Modes that the file has on the last axis, (N, N, M) as MATLAB stores them: windows of a probe are squares."""
        probe = self.arrays.get(schema.PROBE)
        modes = None if probe is None else squeezed(probe, STACKED)
        if modes is None or modes.ndim != STACKED or modes.dtype.kind != "c":
            return
        if is_frames_last(modes.shape, None) and 1 not in modes.shape:
            self.arrays[schema.PROBE] = np.ascontiguousarray(np.moveaxis(modes, -1, 0))
            self.record("move_modes_axis_first", key=schema.PROBE, shape=list(modes.shape))

    def choose_slice(self, number: int | None) -> None:
        """One of several slices of the object."""
        if number is None or schema.OBJECT not in self.arrays:
            return
        obj = squeezed(self.arrays[schema.OBJECT], STACKED)
        slices = obj[None] if obj.ndim < STACKED else obj
        if slices.ndim != STACKED or number >= len(slices):
            raise self.error(
                structure.SHAPE,
                f"{schema.OBJECT} has shape {obj.shape}; --slice {number} takes one of (S, H, W), counted from 0",
            )
        self.arrays[schema.OBJECT] = slices[number]
        self.record("choose_slice", key=schema.OBJECT, slice=number, slices=len(slices))

    def order_modes(self) -> None:
        """Several incoherent modes as the orthogonal ones that give the same counts, the strongest first.

        A mode that holds next to nothing of the power is left out.
        """
        modes = self.arrays[schema.PROBE]
        if modes.ndim != MODES_AXES or not (np.isfinite(modes).all() and modes.any()):
            return
        found = modes if in_order(modes) else orthogonal_modes(modes)
        shares = power_shares(found)
        if found is modes and (shares > LEAST_SHARE).all():
            return
        kept = shares > LEAST_SHARE
        found = found[kept]
        self.arrays[schema.PROBE] = (found if len(found) > 1 else found[0]).astype(modes.dtype)
        self.record(
            "orthogonalise_modes",
            key=schema.PROBE,
            shares_before=power_shares(modes).round(6).tolist(),
            shares=shares[kept].round(6).tolist(),
            left_out=int(np.count_nonzero(~kept)),
        )

    def refuse_slices(self) -> None:
        """Refuse several slices, with the option that takes one."""
        obj = self.arrays.get(schema.OBJECT)
        slices = None if obj is None else squeezed(obj, 2)
        if obj is not None and slices is not None and slices.ndim == STACKED and obj.dtype.kind == "c":
            raise self.error(
                structure.SHAPE,
                f"{schema.OBJECT} has shape {obj.shape}; expected one slice (H, W): take one of {len(slices)} with "
                "--slice 0, or another number",
            )

    def fill_border(self, wanted: bool) -> None:
        """The median amplitude, without phase, where a border of the object is no number; without the option refuse."""
        obj = self.arrays.get(schema.OBJECT)
        if obj is None or obj.ndim != 2 or not obj.size or obj.dtype.kind != "c":
            return
        outside = ~np.isfinite(obj)
        labels, _ = scipy.ndimage.label(outside)
        edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        border = outside & np.isin(labels, edge)
        if not border.any() or outside.all():
            if wanted:
                self.nothing_to_do("--fill-border", f"{schema.OBJECT} has no border of NaN or infinite values")
            return
        number = int(np.count_nonzero(border))
        if not wanted:
            raise self.error(
                values.FINITE,
                f"{schema.OBJECT}: {number} values at the border are NaN or infinite ({pixel_list(border)}): confirm "
                "with --fill-border, and the median amplitude is put there",
            )
        value = float(np.median(np.abs(obj[~outside])))
        self.arrays[schema.OBJECT] = np.where(border, obj.dtype.type(value), obj)
        self.record("fill_border", key=schema.OBJECT, pixels=number, value=value)

    def note_geometry(self, wanted: Corrections) -> None:
        """What the user says of the experiment: object pixel, or what gives it, energy and distance."""
        given: dict[str, float] = {}
        if wanted.energy_ev is not None:
            given |= {ENERGY: wanted.energy_ev, WAVELENGTH: wavelength_of(wanted.energy_ev)}
        if wanted.distance_m is not None:
            given[DISTANCE] = wanted.distance_m
        pixel = wanted.pixel_size
        if wanted.detector_pixel_m is not None:
            of_detector = self._far_field_pixel(wanted.detector_pixel_m, given)
            if pixel is not None and _differ(pixel, of_detector):
                raise self.error(
                    values.COORDINATES,
                    f"--detector-pixel gives object pixels of {of_detector:.6g} m, --pixel-size says {pixel:.6g} m: "
                    "give one of them",
                )
            pixel = of_detector
        if pixel is not None:
            fixed = self._recorded(PIXEL_SIZE) if any(step["operation"] == FROM_METRES for step in self.done) else None
            if fixed and _differ(pixel, fixed):
                raise self.error(
                    values.COORDINATES,
                    f"its positions were turned into object pixels of {fixed:.6g} m, as the file says, and the options "
                    f"say {pixel:.6g} m: leave --pixel-size and --detector-pixel out, or give --positions-unit m too, "
                    "where the file's own geometry is wrong",
                )
            given[PIXEL_SIZE] = pixel
        if given:
            of_file = {f"{name}_of_the_file": self._recorded(name) for name in given}
            replaced = {n: v for n, v in of_file.items() if v and _differ(v, given[n.removesuffix("_of_the_file")])}
            self.physics |= given
            self.record("note_geometry", **given, **replaced)

    def _far_field_pixel(self, detector_pixel: float, given: Mapping[str, float]) -> float:
        """The object pixel [m] of a detector pixel, on the grid of the probe."""
        energy = self._recorded(ENERGY)
        wavelength = given.get(WAVELENGTH) or self._recorded(WAVELENGTH) or (wavelength_of(energy) if energy else None)
        distance = given.get(DISTANCE) or self._recorded(DISTANCE)
        lacking = {"--energy": wavelength, "--distance": distance}
        missing = " and ".join(option for option, value in lacking.items() if not value)
        if not (wavelength and distance):
            raise self.error(
                values.COORDINATES,
                f"--detector-pixel gives the object pixel together with energy and distance only: give {missing} too",
            )
        return far_field_pixel(detector_pixel, self.arrays[schema.PROBE].shape[-1], wavelength, distance)

    def _recorded(self, name: str) -> float | None:
        return self.physics.get(name) or positive_parameter(self.document, name)

    def convert_unit(self, unit: Unit | None) -> None:
        """Positions in object pixels from metres or micrometres."""
        if unit not in METRES:
            return
        pixel = self._recorded(PIXEL_SIZE)
        if not pixel:
            raise self.error(
                values.COORDINATES,
                f"--positions-unit {unit} needs the side of an object pixel, and the file records no {PIXEL_SIZE}: "
                "give --pixel-size in metres, or --energy, --distance and --detector-pixel",
            )
        for key in (schema.XCOORDS, schema.YCOORDS):
            if self.arrays[key].dtype.kind in REAL_KINDS:
                self.arrays[key] = self.arrays[key].astype(np.float64) * (METRES[unit] / pixel)
        self.physics[PIXEL_SIZE] = pixel
        self.record("convert_positions", old=unit, new="object pixels", pixel_size_m=pixel)

    def place_and_mirror(self, origin: Origin | None, mirror: Mirror | None) -> None:
        """Window centres, mirrored where they count the other way: about 0 where that is the object's centre."""
        if origin == "from-centre":
            self.mirror_positions(mirror)
        self.place_positions(origin)
        if origin != "from-centre":
            self.mirror_positions(mirror, about_the_object=True)

    def mirror_positions(self, mirror: Mirror | None, *, about_the_object: bool = False) -> None:
        """Positions that count to the left or up, about 0 or about the middle of the object."""
        if mirror is None:
            return
        size = self.arrays[schema.PROBE].shape[-1]
        for letter, key, axis in (("x", schema.XCOORDS, -1), ("y", schema.YCOORDS, -2)):
            if letter not in mirror or self.arrays[key].dtype.kind not in REAL_KINDS:
                continue
            ends = sum(window_range(size, self.arrays[schema.OBJECT].shape[axis])) if about_the_object else 0
            self.arrays[key] = ends - self.arrays[key].astype(np.float64)
        self.record("mirror_positions", axes=mirror, about="the object's middle" if about_the_object else "0")

    def resize_window(self, wanted: Corrections) -> None:
        """The probe of a base in a window of another side N, cut or extended with zeros about its centre."""
        side, probe = wanted.crop or wanted.pad, self.arrays[schema.PROBE]
        if side is None or probe.ndim != schema.axes_of(schema.PROBE, probe) or probe.dtype.kind != "c":
            return
        option = "--crop" if wanted.crop else "--pad"
        shape = probe.shape[-2:]
        if side > min(shape) if wanted.crop else side < max(shape):
            raise self.error(
                structure.SHAPE, f"{option} {side} of a probe of {shape}; --crop makes its window smaller, --pad larger"
            )
        new = resized(probe, side, 0)
        lost = light_left_out(added(np.abs(probe.astype(np.complex128)) ** 2), side)
        self.arrays[schema.PROBE] = new
        self.physics["N"] = side
        self.record("resize_window", key=schema.PROBE, old=list(shape), new=side, power_left_out=lost)

    def scale_pixel(self, factor: float, side: int) -> None:
        """Note that object pixels are ``factor`` times as large, and the new side N of frames."""
        pixel = self._recorded(PIXEL_SIZE)
        if pixel:
            self.physics[PIXEL_SIZE] = pixel * factor
        self.physics["N"] = side


def _differ(one: float, other: float) -> bool:
    return abs(one - other) > SAME_PIXEL * other
