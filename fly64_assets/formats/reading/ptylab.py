"""Files of PtyLab (HDF5): measurements and results of conventional ptychography.

Positions (``encoder``) are of the beam, in metres about the object's centre, order (y, x), y down. ``orientation`` says
how frames are to be turned. The object pixel is ``wavelength`` x ``zo`` / (N x ``dxd``).
"""

from __future__ import annotations

from typing import Any, Final

from numpy.typing import NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.metadata import transformation
from fly64_assets.contract.orientation import Orientation, turned
from fly64_assets.contract.source import Source
from fly64_assets.formats.reading.arrays import as_pairs
from fly64_assets.formats.reading.geometry import Geometry, frame_shape, note_geometry, put_metres
from fly64_assets.formats.reading.hdf5 import Tree
from fly64_assets.formats.reading.options import ReadingOptions

MEASURED: Final = frozenset({"ptychogram", "encoder"})
RESULT: Final = frozenset({"object", "probe", "encoder_corrected", "dxp"})
ORIENTATIONS: Final[tuple[Orientation | None, ...]] = (
    None,
    "flip-x",
    "flip-y",
    "rotate-180",
    "transpose",
    "rotate-270",
    "rotate-90",
    "antitranspose",
)
"""What ``orientation`` means, from 0: + 1 reverses columns, + 2 rows, after + 4 has exchanged the two."""


def recognises(keys: frozenset[str]) -> bool:
    """Whether members of a file are those of a measurement or of a result."""
    return keys >= MEASURED or keys >= RESULT


def read(tree: Tree, options: ReadingOptions, *, frames: bool) -> Source:
    """A measurement, a result, or a file with both.

    Raises :class:`ContractError` for Fourier ptychography, whose frames are pictures.
    """
    keys = frozenset(tree.group("/"))
    if {"zled", "magnification"} <= keys:
        raise tree.error(
            "is a measurement of Fourier ptychography (zled, magnification): its frames are pictures of the sample, "
            "and no diffraction of a moved probe; not read"
        )
    source = Source(tree.path, "PtyLab", says={"counts": True})
    for name, key in (("object", schema.OBJECT), ("probe", schema.PROBE)):
        if name in keys:
            source.arrays[key] = tree.read(name)
            source.members[name] = f"read as {key}"
    if frames and "ptychogram" in keys:
        stack, orientation = tree.read("ptychogram"), tree.number("orientation") or 0
        source.arrays[schema.FRAMES] = _turned(tree, source, stack, orientation)
        source.members["ptychogram"] = f"read as {schema.FRAMES}"
    side = tree.number("dxd")
    geometry = Geometry(tree.number("wavelength"), tree.number("zo"), (side, side) if side else None)
    note_geometry(source, geometry)
    geometry = geometry.corrected(options.corrections)
    shape = frame_shape(source) if "ptychogram" not in keys or frames else _sides(tree)
    dxp = tree.number("dxp")
    _read_positions(tree, source, (dxp, dxp) if dxp else geometry.object_pixel(shape), options, geometry.lacking())
    return source


def _sides(tree: Tree) -> tuple[int, int] | None:
    dataset = tree.dataset("ptychogram")
    return (dataset.shape[-2], dataset.shape[-1]) if dataset is not None and len(dataset.shape or ()) == 3 else None


def _read_positions(
    tree: Tree, source: Source, pixel: tuple[float, float] | None, options: ReadingOptions, lacking: str
) -> None:
    name = "encoder_corrected" if "encoder_corrected" in tree else "encoder"
    pairs = as_pairs(tree.path, name, tree.read(name))
    put_metres(source, pairs[:, 1], pairs[:, 0], pixel, options.corrections, lacking)
    source.members[name] = "read as positions: of the beam, in metres about the object's centre, order y, x"
    if schema.OBJECT in source.arrays:
        source.says["positions"] = "from-centre"


def _turned(tree: Tree, source: Source, stack: NDArray[Any], code: float) -> NDArray[Any]:
    """Frames as their orientation says.

    PtyLab follows PtyPy's convention: pixels of the detector are reversed from edge to edge, about the middle of the
    frame, and the DC is where it has to be afterwards.
    """
    if stack.ndim != 3 or code not in range(len(ORIENTATIONS)):
        raise tree.error(
            f"'ptychogram' has shape {stack.shape} and orientation {code:g}; expected (n, N, N), and 0 to 7"
        )
    orientation = ORIENTATIONS[int(code)]
    if orientation is None:
        return stack
    step = {"key": schema.FRAMES, "orientation": orientation, "about": "middle"}
    source.done.append(transformation("turn_frames", step))
    return turned(stack, orientation, about="middle")
