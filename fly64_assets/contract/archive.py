"""Safe access to the members of an NPZ archive from an untrusted source: every check between bytes and an array.

What the arrays mean is for ``validate``. No pickle is ever loaded: object arrays are recognised by their header alone.
"""

from __future__ import annotations

import math
import os
import stat
import struct
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, Literal

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.kinds import importer
from fly64_assets.contract.size_limit import check_size
from fly64_assets.errors import ContractError
from fly64_assets.physics.pages import release_pages

MAPPED_FROM_BYTES: Final = 2**20
"""Stored members of at least this size are memory-mapped, smaller ones are read."""

BLOCK_ELEMENTS: Final = 2**20
"""Elements of an array that are looked at together, so that memory does not grow with the number of frames."""

BLOCK_BYTES: Final = 2**20
MAX_MEMBERS: Final = 1024
SUFFIX: Final = ".npy"
ADDED_FOLDER: Final = ("__MACOSX",)
ADDED_FILES: Final = (".DS_Store", "Thumbs.db", "desktop.ini")
LOCAL_HEADER_BYTES: Final = 30

BROKEN_ZIP: Final = (zipfile.BadZipFile, zlib.error)
# What zipfile and zlib raise for broken archives.
ZIP_ERRORS: Final = (*BROKEN_ZIP, struct.error, EOFError, OSError, ValueError, RuntimeError, OverflowError, MemoryError)
# What numpy raises for broken npy headers; a warning, where warnings are errors, for those of Python 2.
HEADER_ERRORS: Final = (
    *ZIP_ERRORS,
    TypeError,
    LookupError,
    AttributeError,
    SyntaxError,
    tokenize.TokenError,
    UserWarning,
)


@dataclass(frozen=True)
class Header:
    """An array as its npy header declares it; ``start`` is the offset of its data inside the member."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    start: int

    @property
    def nbytes(self) -> int:
        """Size of the array's data."""
        return math.prod(self.shape) * self.dtype.itemsize


class Archive:
    """An open NPZ file whose directory has been checked; arrays are read one by one."""

    def __init__(self, file: BinaryIO, name: str, max_bytes: int | None, *, hashed: bool) -> None:
        self._file = file
        self._name = name
        self._hashed = hashed
        try:
            self._zip = zipfile.ZipFile(file)
            members = self._zip.infolist()
        except ZIP_ERRORS as problem:
            advice = importer(Path(name)) or "expected an .npz file, as numpy writes it"
            raise ContractError(f"{name} is not a complete zip archive ({_text(problem)}); {advice}") from problem
        self._members = self._checked(members, max_bytes)

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the arrays, in the order of the archive."""
        return tuple(self._members)

    def header(self, key: str) -> Header:
        """Shape and dtype of an array; none of its data is read."""
        with self._opened(key) as member:
            return self._read_header(member, key)

    def read(self, key: str) -> NDArray[Any]:
        """An array, read-only, after its CRC was checked; large stored members are memory-mapped."""
        info = self._members[key]
        with self._opened(key) as member:
            header = self._read_header(member, key)
            if header.dtype.hasobject:
                raise ContractError(
                    f"{self._name}: '{key}' is an array of Python objects (dtype {header.dtype}), which could run "
                    "code when loaded; it is not read. Store numbers or text instead"
                )
            if info.compress_type == zipfile.ZIP_STORED and header.nbytes >= MAPPED_FROM_BYTES:
                if not self._hashed:
                    _read_to_the_end(member)
                return self._mapped(info, header)
            data = member.read()
        if len(data) != header.nbytes:
            raise self._damaged(key, f"ends after {len(data)} of {header.nbytes} bytes")
        return np.ndarray(header.shape, header.dtype, data, order=header.order)

    def check(self, key: str) -> None:
        """Read a member whose content is not wanted to its end: the file is sound only if every one is."""
        with self._opened(key) as member:
            _read_to_the_end(member)

    def _checked(self, members: list[zipfile.ZipInfo], max_bytes: int | None) -> dict[str, zipfile.ZipInfo]:
        if len(members) > MAX_MEMBERS:
            raise ContractError(f"{self._name} has {len(members)} members; a data set has at most {MAX_MEMBERS}")
        total = sum(member.file_size for member in members)
        check_size(f"{self._name} declares", total, _identity(self._file)[0], max_bytes)
        checked: dict[str, zipfile.ZipInfo] = {}
        folder = _common_folder([member.orig_filename for member in members])
        for member in members:
            key = self._safe_key(member, folder)
            if not key:
                continue
            if key in checked:
                raise ContractError(f"{self._name} has two members for the key {key!r}; expected each key once")
            checked[key] = member
        return checked

    def _safe_key(self, member: zipfile.ZipInfo, folder: str) -> str:
        """Key of a member of a ``folder``; empty for the folder, and for what an archiver has added."""
        # orig_filename still shows what zipfile cuts off at a NUL.
        name = member.orig_filename
        path = PurePosixPath(name.replace("\\", "/"))
        drive = len(name) > 1 and name[1] == ":"
        if ".." in path.parts or path.is_absolute() or drive or "\\" in name or not name.isprintable():
            raise ContractError(
                f"{self._name} has a member named {name!r}, which could point outside the archive; refused"
            )
        if _added(path) or (name.endswith("/") and folder.startswith(name)):
            return ""
        name = name.removeprefix(folder)
        path = PurePosixPath(name)
        if len(path.parts) != 1 or name.endswith("/") or name == SUFFIX:
            raise ContractError(
                f"{self._name} has a member {name!r} that is no array; expected names like 'xcoords.npy', in no folder"
            )
        if member.flag_bits & 0x1:
            raise ContractError(f"{self._name}: member {name!r} is encrypted; expected plain arrays")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ContractError(
                f"{self._name}: member {name!r} uses zip compression method {member.compress_type}; "
                "expected stored or deflated members, as numpy writes them"
            )
        if not name.endswith(SUFFIX) and not self._is_array(member):
            raise ContractError(
                f"{self._name} has a member {name!r} that is no array; expected names like 'xcoords.npy'"
            )
        return name.removesuffix(SUFFIX)

    def _is_array(self, member: zipfile.ZipInfo) -> bool:
        """Whether a member begins like an npy file: numpy reads those under any name."""
        try:
            with self._zip.open(member) as file:
                return file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX
        except ZIP_ERRORS:
            return False

    @contextmanager
    def _opened(self, key: str) -> Iterator[Any]:
        try:
            with self._zip.open(self._members[key]) as member:
                yield member
        except ZIP_ERRORS as problem:
            raise self._damaged(key, f"cannot be read ({_text(problem)})") from problem

    def _read_header(self, member: Any, key: str) -> Header:
        try:
            version = np.lib.format.read_magic(member)
            if version == (1, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
            elif version in ((2, 0), (3, 0)):
                # Version 3 differs only in the characters that names of fields may have.
                shape, fortran, dtype = np.lib.format.read_array_header_2_0(member)
            else:
                raise ValueError(f"npy version {version}; 1.0, 2.0 and 3.0 are read")
        except BROKEN_ZIP:
            raise
        except HEADER_ERRORS as problem:
            raise ContractError(f"{self._name}: '{key}' has no valid npy header ({_text(problem)})") from problem
        header = Header(dtype, shape, "F" if fortran else "C", member.tell())
        declaration = f"declares shape {shape} and dtype {dtype}"
        declared, held = header.nbytes, self._members[key].file_size - header.start
        # Elements of no size, or sides beside one of 0, would hide any number of elements behind 0 bytes.
        extent = math.prod(side for side in shape if side) * max(dtype.itemsize, 1)
        if extent > sys.maxsize or (dtype.itemsize == 0 and 0 not in shape):
            raise self._damaged(key, f"{declaration}, more elements than there can be")
        if min(shape, default=0) < 0 or (declared != held and not dtype.hasobject):
            raise self._damaged(key, f"{declaration}, {declared} bytes, but its member holds {held}")
        return header

    def _mapped(self, info: zipfile.ZipInfo, header: Header) -> NDArray[Any]:
        self._file.seek(info.header_offset)
        local = self._file.read(LOCAL_HEADER_BYTES)
        name_bytes, extra_bytes = struct.unpack("<HH", local[26:30])
        start = info.header_offset + LOCAL_HEADER_BYTES + name_bytes + extra_bytes + header.start
        if start + header.nbytes > os.fstat(self._file.fileno()).st_size:
            raise self._damaged(info.filename, "reaches beyond the end of the file")
        return np.memmap(self._file, header.dtype, "r", start, header.shape, header.order)

    def _damaged(self, key: str, what: str) -> ContractError:
        return ContractError(f"{self._name}: '{key}' {what}; the file is damaged")


def _added(path: PurePosixPath) -> bool:
    """Whether an operating system's archiver has added a member."""
    return path.parts[:1] == ADDED_FOLDER or path.name.startswith("._") or path.name in ADDED_FILES


def _common_folder(names: Sequence[str]) -> str:
    """The folder, with its slash, in which all members lie where a whole folder was packed; empty otherwise."""
    own = [name for name in names if not _added(PurePosixPath(name)) and not name.endswith("/")]
    folders = {name.rpartition("/")[0] for name in own}
    return f"{folders.pop()}/" if len(folders) == 1 and folders != {""} else ""


def _read_to_the_end(member: Any) -> None:
    """``zipfile`` compares the CRC when the last byte has been read."""
    while member.read(BLOCK_BYTES):
        pass


@contextmanager
def open_archive(path: Path, max_bytes: int | None = None, *, hashed: bool = False) -> Iterator[Archive]:
    """Open an NPZ file, check its directory, and check afterwards that it did not change meanwhile.

    ``hashed`` says that the SHA256 of the file has just been compared with a recorded one, so that members which are
    memory-mapped need not be read to their end once more.

    Raises :class:`ContractError`, one sentence, for a missing, empty, truncated or foreign file, a folder or
    device, unsafe or duplicate member names, and a declared size over ``max_bytes`` (by default 16 GiB, or the size of
    the file itself where that is more).
    """
    name = path.as_posix()
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise ContractError(f"{name} is {kind}; expected an .npz file")
        file = path.open("rb")
    except (OSError, ValueError) as problem:
        raise ContractError(f"{name} cannot be opened ({_text(problem)})") from problem
    with file:
        before = _identity(file)
        if before[0] == 0:
            raise ContractError(f"{name} is empty (0 bytes); expected an .npz file")
        try:
            yield Archive(file, name, max_bytes, hashed=hashed)
        finally:
            if _identity(file) != before:
                raise ContractError(f"{name} changed while it was read; wait until its writer is done and try again")


def _identity(file: BinaryIO) -> tuple[int, int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _text(problem: BaseException) -> str:
    return " ".join(str(problem).split())[:200] or type(problem).__name__


def row_blocks(array: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Consecutive parts of the first axis with about a million elements each, and where each starts.

    An array of shape () is one part of shape (1,). Pages of a read-only memory map leave the process after their part,
    so that a large file does not fill its resident memory.
    """
    if array.ndim == 0:
        yield 0, array.reshape(1)
        return
    if array.size == 0:
        return
    step = max(1, BLOCK_ELEMENTS * len(array) // array.size)
    for start in range(0, len(array), step):
        yield start, array[start : start + step]
        release_pages(array)


def chosen_rows(array: NDArray[Any], chosen: Sequence[int]) -> NDArray[np.float64]:
    """Some rows of the first axis as float64; pages of a read-only memory map leave the process after each."""
    rows = np.empty((len(chosen), *array.shape[1:]))
    for place, row in enumerate(chosen):
        rows[place] = array[row]
        release_pages(array)
    return rows
