"""CXI files (Coherent X-ray Imaging Data Bank format, version 1.6, F. R. N. C. Maia, Nat. Methods 9, 854, 2012).

``translation`` is (n, 3) in metres, x, y, z: how far the sample is moved in the coordinates of CXI (seen along the
beam +x to the left and +y up), where detector rows run down and columns to the right. The illuminated window then moves
by as much to higher columns (+x) and rows (+y); it is 0 at the object's centre. Counts have the DC in the centre.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

import h5py
import numpy as np

from fly64_assets import __version__
from fly64_assets.contract.metadata import TOOL
from fly64_assets.formats.writing.content import Patterns, Product
from fly64_assets.formats.writing.hdf5 import new_hdf5, put, put_patterns
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.optics import ELECTRON_VOLT

VERSION: Final = 160
INVALID: Final = 1
"""Bit of the mask for a pixel that was not measured; 0 is a good one."""

DETECTOR: Final = "/entry_1/instrument_1/detector_1"
SOURCE: Final = "/entry_1/instrument_1/source_1"
TRANSLATION: Final = "/entry_1/sample_1/geometry_1/translation"
PROBE: Final = "/entry_1/image_1"
OBJECT: Final = "/entry_1/image_2"
PTYCHODUS: Final = "/entry_1/ptychodus"
OWN: Final = "/entry_1/fly64_assets"
"""Groups of a file: the last two hold what CXI has no place for."""


def write_cxi(
    file: BinaryIO, product: Product, measurement: Measurement | None = None, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write object, probe, positions and geometry, and the frames of a measurement where there is one.

    Parameters
    ----------
    file : BinaryIO
        A new file on disk, open for writing.
    measurement : Measurement
        Its counts become ``data``, its bad pixels ``mask``, its indices ``scan_index`` in the group of this package.
    metadata : mapping
        The ``_metadata`` document of the data set, kept as JSON in the group of this package.
    """
    with new_hdf5(file) as target:
        put(target, "cxi_version", VERSION)
        put(target, "number_of_entries", 1)
        entry = target.create_group("entry_1")
        put(entry, "title", product.name)
        put(entry, "experiment_description", product.comments)
        put(entry, "program_name", f"{TOOL} {__version__}")
        _instrument(target, product)
        data = target.create_group("entry_1/data_1")
        x, y = product.metres
        put(target, TRANSLATION, np.stack([x, y, np.zeros_like(x)], axis=1))
        data["translation"] = h5py.SoftLink(TRANSLATION)
        if measurement is not None:
            _frames(target, measurement)
            data["data"] = h5py.SoftLink(f"{DETECTOR}/data")
        if metadata is not None:
            put(target, f"{OWN}/metadata", json.dumps(metadata, sort_keys=True))


def _instrument(target: h5py.File, product: Product) -> None:
    """Source, detector and both pictures with their extents."""
    optics = product.optics
    put(target, f"{SOURCE}/energy", optics.energy_ev * ELECTRON_VOLT)
    put(target, f"{SOURCE}/wavelength", optics.wavelength_m)
    put(target, f"{DETECTOR}/distance", optics.distance_m)
    for axis in "xy":
        put(target, f"{DETECTOR}/{axis}_pixel_size", optics.detector_pixel(product.patch_size))
    for path, name, picture in ((PROBE, "probe", product.probe), (OBJECT, "object", product.object)):
        put(target, f"{path}/data", picture)
        put(target, f"{path}/data_space", "real")
        height, width = picture.shape[-2:]
        put(target, f"{path}/image_size", optics.pixel_size_m * np.array([width, height, 0.0]))
        for side in ("width", "height"):
            put(target, f"{PTYCHODUS}/{name}_pixel_{side}_m", optics.pixel_size_m)
    target[f"{SOURCE}/illumination"] = h5py.SoftLink(f"{PROBE}/data")
    for axis in "xy":
        put(target, f"{PTYCHODUS}/object_center_{axis}_m", 0.0)
    put(target, f"{PTYCHODUS}/probe_photon_count", product.photons)
    if product.loss is not None:
        put(target, f"{PTYCHODUS}/loss_values", product.loss)
        put(target, f"{PTYCHODUS}/loss_epochs", np.arange(1, len(product.loss) + 1))


def _frames(target: h5py.File, measurement: Measurement) -> None:
    """Counts, mask and indices."""
    put_patterns(target, f"{DETECTOR}/data", Patterns(measurement))
    bad = measurement.bad_pixels
    mask = np.zeros((measurement.patch_size,) * 2, np.uint32)
    put(target, f"{DETECTOR}/mask", mask if bad is None else np.where(bad, np.uint32(INVALID), mask))
    put(target, f"{OWN}/scan_index", measurement.scan_index)
