"""The kind of a file by its first bytes, for readers and for messages of commands that take one kind only."""

from __future__ import annotations

from pathlib import Path
from typing import Final

HDF5: Final = "HDF5"
MATLAB_5: Final = "MATLAB"
NPY: Final = "NPY"
TIFF: Final = "TIFF"

ZIP_MARK: Final = b"PK"
HDF5_MARK: Final = b"\x89HDF\r\n\x1a\n"
HDF5_OFFSETS: Final = (0, 512, 1024, 2048)
"""Where the mark of an HDF5 file may stand; before it a program may put bytes of its own, as MATLAB does."""

MARKS: Final = {
    b"\x93NUMPY": NPY,
    b"MATLAB 5.0": MATLAB_5,
    b"II*\x00": TIFF,
    b"MM\x00*": TIFF,
    b"II+\x00": TIFF,
    b"MM\x00+": TIFF,
}


def kind_of(path: Path) -> str | None:
    """HDF5, MATLAB, NPY or TIFF; None for anything else, also for what cannot be opened."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            for offset in HDF5_OFFSETS:
                file.seek(offset)
                if file.read(len(HDF5_MARK)) == HDF5_MARK:
                    return HDF5
            file.seek(0)
            start = file.read(max(map(len, MARKS)))
    except (OSError, ValueError):
        return None
    return next((kind for mark, kind in MARKS.items() if start.startswith(mark)), None)


def what_else(path: Path) -> str:
    """What a file is that is no zip archive, as the middle of a sentence; empty for one, and for what is no file."""
    kind = kind_of(path)
    if kind is not None:
        return f"is a file of the kind {kind}"
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            start = file.read(len(ZIP_MARK))
    except (OSError, ValueError):
        return ""
    if not start:
        return "is empty (0 bytes)"
    return "" if start == ZIP_MARK else "is of no known kind"


def importer(path: Path) -> str:
    """The commands that read a file of a foreign kind, as the end of a sentence; empty for no such kind."""
    kind = kind_of(path)
    if kind is None:
        return ""
    return (
        f"it is a file of the kind {kind}: `fly64 import {path} NEW.npz` makes a data set of it, and "
        f"`fly64 base import {path}` a base"
    )
