"""The steps that correct object, probe and positions, of data sets and of bases.

One of several modes or slices, a border that is no number, positions in metres, a window of another side.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy.ndimage

from fly64_assets.contract import schema, structure, values
from fly64_assets.contract.conversion import Conversion
from fly64_assets.contract.corrections import METRES, Corrections, Unit
from fly64_assets.contract.frames import REAL_KINDS, squeezed
from fly64_assets.contract.metadata import positive_parameter
from fly64_assets.contract.places import pixel_list
from fly64_assets.contract.resampling import resized
from fly64_assets.physics.probe_modes import power_shares

PIXEL_SIZE: Final = "pixel_size_m"
STACKED: Final = 3
"""Axes of a probe of several modes, or of an object of several slices."""


class ObjectSteps(Conversion):
    """The arrays of a file during conversion, with the steps about object, probe and positions."""

    def choose_mode(self, number: int | None) -> None:
        """One of several incoherent modes of the probe, with its share of the power."""
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
                structure.SHAPE, f"{schema.PROBE} has {len(modes)} modes, counted from 0; there is no mode {number}"
            )
        if not (np.isfinite(modes).all() and modes.any()):
            raise self.error(
                values.FINITE,
                f"{schema.PROBE}: its {len(modes)} modes hold values that are not finite, or no power at all; none of "
                "them can be taken for the probe",
            )
        shares = power_shares(modes).round(6).tolist()
        self.arrays[schema.PROBE] = modes[number]
        self.record("choose_probe_mode", key=schema.PROBE, mode=number, share_of_power=shares[number], shares=shares)

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

    def refuse_stacks(self) -> None:
        """Refuse several modes or slices, with the options that take one."""
        probe, obj = (self.arrays.get(key) for key in (schema.PROBE, schema.OBJECT))
        if probe is not None and probe.dtype.kind == "c":
            modes = squeezed(probe, 2)
            if modes.ndim == STACKED and np.isfinite(modes).all() and modes.any():
                shares = ", ".join(f"{share:.1%}" for share in power_shares(modes).tolist()[:8])
                raise self.error(
                    structure.SHAPE,
                    f"{schema.PROBE} has shape {probe.shape}; expected one probe mode, and these hold {shares} of the "
                    "power: take one with --probe-mode 0, or another number",
                )
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
        if obj is None or obj.ndim != 2 or obj.dtype.kind != "c":
            return
        outside = ~np.isfinite(obj)
        if not outside.any() or outside.all():
            return
        labels, _ = scipy.ndimage.label(outside)
        edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        border = outside & np.isin(labels, edge)
        if not border.any():
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

    def convert_unit(self, unit: Unit | None, pixel_size: float | None) -> None:
        """Positions in object pixels from metres or micrometres."""
        if unit not in METRES:
            return
        recorded = self.physics.get(PIXEL_SIZE) or positive_parameter(self.document, PIXEL_SIZE)
        pixel = pixel_size or recorded
        if not pixel:
            raise self.error(
                values.COORDINATES,
                f"--positions-unit {unit} needs the side of an object pixel, and the file records no {PIXEL_SIZE}: "
                "give --pixel-size in metres",
            )
        for key in (schema.XCOORDS, schema.YCOORDS):
            if self.arrays[key].dtype.kind in REAL_KINDS:
                self.arrays[key] = self.arrays[key].astype(np.float64) * (METRES[unit] / pixel)
        self.physics[PIXEL_SIZE] = pixel
        self.record("convert_positions", old=unit, new="object pixels", pixel_size_m=pixel)

    def resize_window(self, wanted: Corrections) -> None:
        """The probe of a base in a window of another side N, cut or extended with zeros about its centre."""
        side, probe = wanted.crop or wanted.pad, self.arrays[schema.PROBE]
        if side is None or probe.ndim != 2 or probe.dtype.kind != "c":
            return
        option = "--crop" if wanted.crop else "--pad"
        if side > min(probe.shape) if wanted.crop else side < max(probe.shape):
            raise self.error(
                structure.SHAPE,
                f"{option} {side} of a probe of {probe.shape}; --crop makes its window smaller, --pad larger",
            )
        new = resized(probe, side, 0)
        power, kept = (float((np.abs(p.astype(np.complex128)) ** 2).sum()) for p in (probe, new))
        self.arrays[schema.PROBE] = new
        self.physics["N"] = side
        self.record(
            "resize_window", key=schema.PROBE, old=list(probe.shape), new=side, power_left_out=1 - kept / (power or 1.0)
        )

    def scale_pixel(self, factor: float, side: int) -> None:
        """Note that object pixels are ``factor`` times as large, and the new side N of frames."""
        pixel = self.physics.get(PIXEL_SIZE) or positive_parameter(self.document, PIXEL_SIZE)
        if pixel:
            self.physics[PIXEL_SIZE] = pixel * factor
        self.physics["N"] = side
