"""Frames, bases and reconstructions from files and into files, in every format that is read or written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.canonical import canonicalize, canonicalize_base
from fly64_assets.contract.metadata import DISTANCE, PIXEL_SIZE, WAVELENGTH, build_metadata, transformation
from fly64_assets.contract.npz import dataset_of, write_npz
from fly64_assets.contract.schema import FRAMES, Base, Dataset, further, small_arrays, strongest
from fly64_assets.contract.validate import validate, validate_base
from fly64_assets.errors import ContractError
from fly64_assets.formats.reading.opening import opened
from fly64_assets.formats.units import Optics
from fly64_assets.formats.writing.content import product_of
from fly64_assets.physics.measurement import Measurement
from fly64_assets.store.atomic import write_atomically

OPTICS: Final = (PIXEL_SIZE, WAVELENGTH, DISTANCE)


def read(path: str | Path, **form: Any) -> Dataset:
    """A data set of frames from a file of any known format; ``.measurement()`` of it is what methods take.

    Parameters
    ----------
    path : str or Path
        NPZ (DATA-001, PtychoPINN, ptychodus, tike, pty-chi), CXI, HDF5, MATLAB, NPY or TIFF, told apart by content.
    **form
        What the file does not show, as in the options of ``fly64 import``: ``counts=True``, ``dc_corner=True``,
        ``probe_from_frames=True``, ``frames_last=True``.

    Raises
    ------
    ContractError
        If the file cannot be read, needs one of these, or breaks DATA-001 after the conversion.

    Examples
    --------
    >>> import tempfile
    >>> from fly64_assets.api.frames import simulate
    >>> probe = np.exp(-((np.mgrid[-16:16, -16:16] / 6.0) ** 2).sum(axis=0)).astype(complex)
    >>> frames = simulate(np.ones((96, 96), complex), probe, [40.0, 48.5], [40.0, 52.0], dose=1000)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = read(write(f"{folder}/frames.npz", frames)).measurement()
    >>> bool((again.counts() == frames.counts()).all()), again.object_shape
    (True, (96, 96))
    """
    found, known = opened(Path(path), form, frames=True)
    arrays, _ = canonicalize(found, **known)
    validate(arrays).raise_if_failed(str(path))
    return dataset_of(arrays)


def read_base(path: str | Path, **form: Any) -> Base:
    """Object, probe and positions from a file of any known format. Raises :class:`ContractError` like :func:`read`.

    Examples
    --------
    >>> import tempfile
    >>> probe = np.exp(-((np.mgrid[-32:32, -32:32] / 9.0) ** 2).sum(axis=0)).astype(np.complex64)
    >>> arrays = {"objectGuess": np.ones((128, 140), np.complex64), "probeGuess": probe}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/mine.npz", **arrays, xcoords=[40.0, 60.0, 80.5], ycoords=[40.0, 55.0, 70.0])
    ...     base = read_base(f"{folder}/mine.npz")
    >>> base.object.shape, base.probe.shape
    ((128, 140), (64, 64))
    """
    found, known = opened(Path(path), form, frames=False)
    arrays, _ = canonicalize_base(found, **known)
    validate_base(arrays).raise_if_failed(str(path))
    obj, probe, x, y = (arrays[key] for key in ("objectGuess", "probeGuess", "xcoords", "ycoords"))
    return Base(obj, strongest(probe), x, y, {}, further(probe))


def write(
    path: str | Path, measurement: Measurement, obj: NDArray[np.complexfloating] | None = None, **optics: float
) -> Path:
    """Write frames or an object with its probe and positions; the ending of the name decides the format.

    Parameters
    ----------
    path : str or Path
        ``.npz``: a data set by DATA-001. ``.cxi``: frames, and the object where there is one. ``.h5``: a ptychodus
        product, which holds no frames. ``.tif``: amplitude and phase of the object.
    measurement : Measurement
    obj : (H, W) complex, optional
        The object; ones by default. ``.h5`` and ``.tif`` need it.
    **optics
        ``pixel_size_m``, ``wavelength_m`` and ``detector_distance_m``: needed for ``.cxi`` and ``.h5``, whose positions
        are in metres; ``pixel_size_m`` alone may go into the others.

    Raises
    ------
    ContractError
        If something is missing, the object is not on the grid of the frames, or the ending is unknown.

    Examples
    --------
    >>> import tempfile
    >>> from fly64_assets.api.frames import simulate
    >>> frames = simulate(np.ones((96, 96), complex), np.ones((32, 32), complex), [40.0, 48.5], [40.0, 52.0], dose=1000)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/object.tif", frames, np.ones((96, 96), complex)).name
    'object.tif'
    """
    path = Path(path)
    if unknown := set(optics) - set(OPTICS):
        raise ContractError(f"{', '.join(sorted(unknown))}: unknown; expected {', '.join(OPTICS)}")
    writers = {".npz": _write_npz, ".cxi": _write_cxi, ".h5": _write_product, ".hdf5": _write_product,
               ".tif": _write_tiff, ".tiff": _write_tiff}  # fmt: skip
    if path.suffix not in writers:
        raise ContractError(f"{path}: the ending {path.suffix!r} is unknown; expected one of {', '.join(writers)}")
    if obj is None and path.suffix not in (".npz", ".cxi"):
        raise ContractError(f"{path}: {path.suffix} holds an object and no frames; give the object")
    writers[path.suffix](path, measurement, obj, optics)
    return path


Object = NDArray[np.complexfloating] | None


def _write_npz(path: Path, m: Measurement, obj: Object, optics: Mapping[str, float]) -> None:
    grid = np.ones(m.object_shape, np.complex64) if obj is None else obj
    photons = sum(float(counts.sum()) for _, counts in m.count_blocks()) / m.frames
    physics = {"nphotons": photons, "intensity_scale": m.intensity_scale / m.unit, "expected_mean_counts": photons}
    metadata = build_metadata(
        m.patch_size, transformation("write", {"frames": m.frames}), physics={**physics, **optics}
    )
    probe = m.in_stored_unit(m.modes)
    arrays = small_arrays(grid, probe, m.x, m.y, m.scan_index, metadata, bad_pixels=m.bad_pixels)
    arrays = {FRAMES: m.measured().astype(np.float32), **arrays}
    validate(arrays).raise_if_failed(str(path))
    write_atomically(path, lambda file: write_npz(file, arrays))


def _write_cxi(path: Path, m: Measurement, obj: Object, optics: Mapping[str, float]) -> None:
    from fly64_assets.formats.writing.cxi import write_cxi

    product = _product(path, m, obj, optics)
    write_atomically(path, lambda file: write_cxi(file, product, m))


def _write_product(path: Path, m: Measurement, obj: Object, optics: Mapping[str, float]) -> None:
    from fly64_assets.formats.writing.ptychodus import write_product

    product = _product(path, m, obj, optics)
    write_atomically(path, lambda file: write_product(file, product))


def _write_tiff(path: Path, _m: Measurement, obj: Object, optics: Mapping[str, float]) -> None:
    from fly64_assets.formats.writing.tiff import write_tiff

    assert obj is not None
    write_atomically(path, lambda file: write_tiff(file, obj, optics.get(PIXEL_SIZE)))


def _product(path: Path, m: Measurement, obj: Object, optics: Mapping[str, float]) -> Any:
    if missing := [name for name in OPTICS if name not in optics]:
        raise ContractError(f"{path}: its positions are in metres; give {', '.join(missing)}")
    try:
        return product_of(m, Optics(*(optics[name] for name in OPTICS)), obj, name=path.stem)
    except ValueError as problem:
        raise ContractError(f"{path}: {problem}") from problem
