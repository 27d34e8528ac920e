"""Files of ptychodus: a product (HDF5), and one NPZ archive that is both its diffraction file and its product.

Positions are in metres about the object's centre. ptychodus takes patterns and positions for a pair if their indexes
agree; its CXI reader numbers patterns from 0, so that all files here do, and any of them go together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.npz import NpzWriter
from fly64_assets.formats.writing.content import Patterns, Product
from fly64_assets.formats.writing.hdf5 import new_hdf5, put
from fly64_assets.physics.measurement import Measurement


def write_product(file: BinaryIO, product: Product) -> None:
    """Write a product as HDF5 into ``file``, a new file on disk that is open for writing."""
    with new_hdf5(file) as target:
        target.attrs.update(_facts(product))
        for name, values in _arrays(product).items():
            put(target, name, values)
        for name, facts in _pictures(product).items():
            target[name].attrs.update(facts)


def write_archive(file: BinaryIO, product: Product, measurement: Measurement) -> None:
    """Write frames, bad pixels, positions and probe as one NPZ archive into a new ``file``.

    Counts are ``patterns`` (n, N, N); ``bad_pixels`` (N, N) bool is True where the detector did not measure.
    """
    patterns = Patterns(measurement)
    bad = measurement.bad_pixels
    scalars = _facts(product) | {
        f"{name}_{fact}": value for name, facts in _pictures(product).items() for fact, value in facts.items()
    }
    with NpzWriter(file) as writer:
        writer.add_blocks("patterns", patterns.shape, patterns.dtype, (counts for _, counts in patterns.blocks()))
        writer.add("indexes", np.arange(measurement.frames))
        writer.add("bad_pixels", np.zeros(patterns.shape[1:], np.bool_) if bad is None else bad)
        writer.add("scan_index", measurement.scan_index)
        for name, values in _arrays(product).items():
            writer.add(name, values)
        for name, value in scalars.items():
            writer.add(name, np.array(value))


def _facts(product: Product) -> dict[str, str | float | bool]:
    """Texts and numbers about the whole product, by the names of ptychodus, newer and older (``probe_energy_eV``)."""
    return {
        "name": product.name,
        "comments": product.comments,
        "detector_object_distance_m": product.optics.distance_m,
        "photon_energy_eV": product.optics.energy_ev,
        "probe_energy_eV": product.optics.energy_ev,
        "probe_photon_count": product.photons,
        "exposure_time_s": 0.0,
        "mass_attenuation_m2_per_kg": 0.0,
        "tomography_angle_deg": 0.0,
        "far_field": True,
    }


def _arrays(product: Product) -> Mapping[str, NDArray[Any]]:
    """Arrays of a product: objects have layers, probes have coherent and incoherent modes."""
    x, y = product.metres
    loss = np.zeros(0) if product.loss is None else product.loss
    return {
        "probe_position_indexes": np.arange(len(x)),
        "probe_position_x_m": x,
        "probe_position_y_m": y,
        "probe": product.probe.reshape(1, -1, *product.probe.shape[-2:]),
        "object": product.object[None],
        "object_layer_spacing_m": np.zeros(0),
        "loss_epochs": np.arange(1, len(loss) + 1),
        "loss_values": loss,
    }


def _pictures(product: Product) -> Mapping[str, Mapping[str, float]]:
    """Where the pixels of probe and object are."""
    pixel = {f"pixel_{side}_m": product.optics.pixel_size_m for side in ("width", "height")}
    return {"probe": pixel, "object": pixel | {"center_x_m": 0.0, "center_y_m": 0.0}}
