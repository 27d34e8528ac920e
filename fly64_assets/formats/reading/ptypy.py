"""Files of PtyPy: prepared data (``.ptyd``) and reconstructions (``.ptyr``), HDF5 of nested dictionaries.

Positions are of the beam, in metres, order (y, x), y down. In a reconstruction the pixel of a position is
(position - origin) / pixel size, and the window of N pixels begins N // 2 before it. Weights are 0 at bad pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.archive import row_blocks
from fly64_assets.contract.scratch import scratch
from fly64_assets.contract.source import Source
from fly64_assets.formats.reading import masks
from fly64_assets.formats.reading.geometry import SQUARE, Geometry, frame_shape, note_geometry, note_pixel, put_metres
from fly64_assets.formats.reading.hdf5 import Tree
from fly64_assets.formats.reading.options import ReadingOptions
from fly64_assets.physics.optics import wavelength_of

CHUNKS: Final = "chunks"
CONTENT: Final = "content"
KILO: Final = 1e3
MANY: Final = 8
"""Chunks that a message names at most."""


def is_data(tree: Tree) -> bool:
    """Whether a file is prepared data."""
    return any(f"{CHUNKS}/{name}/data" in tree for name in tree.group(CHUNKS))


def is_reconstruction(tree: Tree) -> bool:
    """Whether a file is a reconstruction."""
    return bool(tree.group(f"{CONTENT}/obj") and tree.group(f"{CONTENT}/probe"))


def read_data(tree: Tree, options: ReadingOptions, *, frames: bool) -> Source:
    """Frames, weights and positions of all chunks, in the order of their numbers."""
    source = Source(tree.path, "PtyPy data", says={"counts": True})
    chunks = [f"{CHUNKS}/{name}" for name in sorted(tree.group(CHUNKS), key=_number_of)]
    energy = tree.number("meta/energy") or tree.number("info/energy")
    distance = tree.number("meta/distance") or tree.number("info/distance")
    side = _pair(tree, "meta/psize") or _pair(tree, "info/psize")
    geometry = Geometry(wavelength_of(KILO * energy) if energy else None, distance, side)
    note_geometry(source, geometry)
    geometry = geometry.corrected(options.corrections)
    if frames:
        source.arrays[schema.FRAMES] = _joined(tree, [tree.read(f"{name}/data") for name in chunks])
        source.members[f"{chunks[0]}/data"] = f"read as {schema.FRAMES}, with those of {len(chunks)} chunks"
        _read_weights(tree, source, chunks)
    pairs = [np.asarray(tree.read(f"{name}/positions"), np.float64) for name in chunks if f"{name}/positions" in tree]
    if pairs and len(pairs) < len(chunks) and not options.beside:
        lacking = [name for name in chunks if f"{name}/positions" not in tree]
        raise tree.error(
            f"{len(lacking)} of its {len(chunks)} chunks hold no positions ({', '.join(lacking[:MANY])}); expected one "
            "for every frame: take those chunks out, or give positions of all frames beside (--with FILE)"
        )
    if len(pairs) == len(chunks):
        positions = np.concatenate(pairs)
        if positions.ndim != 2 or positions.shape[1] != 2:
            raise tree.error(f"'{chunks[0]}/positions' has shape {pairs[0].shape}; expected (n, 2), order y, x")
        shape = frame_shape(source) or _shape_of(tree, f"{chunks[0]}/data")
        pixel = geometry.object_pixel(shape)
        put_metres(source, positions[:, 1], positions[:, 0], pixel, options.corrections, geometry.lacking())
        source.members[f"{chunks[0]}/positions"] = "read as positions: of the beam, in metres, order y, x"
    return source


def read_reconstruction(tree: Tree) -> Source:
    """Object, probe and, where they were recorded, positions of a reconstruction with one object and one probe."""
    source = Source(tree.path, "PtyPy reconstruction")
    places = {}
    for key, group in ((schema.OBJECT, f"{CONTENT}/obj"), (schema.PROBE, f"{CONTENT}/probe")):
        names = tree.group(group)
        if len(names) != 1:
            raise tree.error(
                f"'{group}' holds {len(names)} storages ({', '.join(names)}); expected one: save one alone"
            )
        places[key] = f"{group}/{names[0]}"
        source.arrays[key] = tree.read(f"{places[key]}/data")
        source.members[f"{places[key]}/data"] = f"read as {key}"
    pixel, origin = (_pair(tree, f"{places[schema.OBJECT]}/{name}") for name in ("_psize", "_origin"))
    if pixel is None or min(pixel) <= 0:
        raise tree.error(f"'{places[schema.OBJECT]}/_psize' is missing; expected the pixel of the object in metres")
    if abs(pixel[0] - pixel[1]) > SQUARE * pixel[0]:
        raise tree.error(f"pixels of the object are {pixel[0]:g} x {pixel[1]:g} m; DATA-001 knows squares only")
    note_pixel(source, pixel)
    _read_geometry(tree, source)
    names = tree.group(f"{CONTENT}/positions")
    if not names:
        return source
    name = f"{CONTENT}/positions/{names[0]}"
    positions = np.asarray(tree.read(name), np.float64)
    if positions.ndim != 2 or positions.shape[1] != 2 or origin is None or len(names) > 1:
        raise tree.error(f"'{name}' has shape {positions.shape}; expected one list (n, 2), order y, x, and an _origin")
    x, y = positions[:, 1], positions[:, 0]
    source.arrays[schema.XCOORDS] = (x - origin[1]) / pixel[1]
    source.arrays[schema.YCOORDS] = (y - origin[0]) / pixel[0]
    source.members[name] = "read as positions: of the beam, in metres, order y, x"
    return source


def _read_geometry(tree: Tree, source: Source) -> None:
    for scan in tree.group(f"{CONTENT}/pars/scans"):
        place = f"{CONTENT}/pars/scans/{scan}"
        for group in (f"{place}/data", f"{place}/geometry"):
            energy, distance = tree.number(f"{group}/energy"), tree.number(f"{group}/distance")
            if energy or distance:
                note_geometry(source, Geometry(wavelength_of(KILO * energy) if energy else None, distance, None))


def _read_weights(tree: Tree, source: Source, chunks: list[str]) -> None:
    names = [f"{name}/weights" for name in chunks if tree.dataset(f"{name}/weights") is not None]
    names = [name for name in names if len(_shape(tree, name)) >= 2]
    common = next((name for name in ("info/weight2d", "meta/weight2d") if len(_shape(tree, name)) == 2), None)
    if not names and common is None:
        return
    found = [~np.asarray(masks.one_for_all(source, _zero(tree.read(name)), name)) for name in names or [str(common)]]
    source.arrays[schema.BAD_PIXELS] = ~np.logical_and.reduce(found)
    source.members[(names or [str(common)])[0]] = f"read as {schema.BAD_PIXELS}: a weight of 0 is bad"


def _zero(weights: NDArray[Any]) -> NDArray[np.bool_]:
    """Where weights are not positive numbers, block by block."""
    if weights.ndim != 3:
        return np.asarray(~(weights > 0))
    return scratch((~(block > 0) for _, block in row_blocks(weights)), np.dtype(bool), weights.shape)


def _joined(tree: Tree, stacks: list[NDArray[Any]]) -> NDArray[Any]:
    if len(stacks) == 1:
        return stacks[0]
    if len({stack.shape[1:] for stack in stacks}) > 1:
        raise tree.error(
            f"its chunks hold frames of {sorted({stack.shape[1:] for stack in stacks})}; expected one size"
        )
    shape = (sum(len(stack) for stack in stacks), *stacks[0].shape[1:])

    def blocks() -> Iterator[NDArray[Any]]:
        for stack in stacks:
            yield from (block for _, block in row_blocks(stack))

    return scratch(blocks(), np.result_type(*stacks), shape)


def _shape(tree: Tree, name: str) -> tuple[int, ...]:
    dataset = tree.dataset(name)
    return tuple(dataset.shape or ()) if dataset is not None else ()


def _shape_of(tree: Tree, name: str) -> tuple[int, int] | None:
    shape = _shape(tree, name)
    return (shape[-2], shape[-1]) if len(shape) >= 2 else None


def _pair(tree: Tree, name: str) -> tuple[float, float] | None:
    """Two numbers (row, column), or one that holds for both; None where there are none."""
    dataset = tree.dataset(name)
    if dataset is None or dataset.size not in (1, 2) or dataset.dtype.kind not in "iuf":
        return None
    numbers = tree.read(name).reshape(-1)
    return float(numbers[0]), float(numbers[-1])


def _number_of(name: str) -> tuple[int, str]:
    return (int(name) if name.isdigit() else 0, name)
