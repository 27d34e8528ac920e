"""NPZ files on disk: the streaming, byte-reproducible writer and the safe loaders.

The checks of a hostile archive are in ``archive``, atomic writing and hashes in ``store``.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fly64_assets.contract import schema
from fly64_assets.contract.archive import SUFFIX, open_archive, row_blocks
from fly64_assets.contract.findings import ContractReport, Expectations
from fly64_assets.contract.masks import without_bad
from fly64_assets.contract.metadata import decode_metadata
from fly64_assets.contract.schema import Base, Dataset
from fly64_assets.contract.validate import validate, validate_base_structure, validate_structure
from fly64_assets.errors import ContractError
from fly64_assets.physics.measurement import Measurement

ALIGNMENT: Final = 64
"""Array data starts at a multiple of this many bytes, so that members can be memory-mapped at full speed."""

EPOCH: Final = (1980, 1, 1, 0, 0, 0)
PADDING_ID: Final = 0xD935  # the extra field that zipalign uses
ZIP64_EXTRA_BYTES: Final = 20
UNIX: Final = 3
MEASURED_KEYS: Final = (
    *(schema.FRAMES, schema.PROBE, schema.XCOORDS, schema.YCOORDS),
    *(schema.SCAN_INDEX, schema.BAD_PIXELS, schema.METADATA),
)


class NpzWriter:
    """Writes arrays into one uncompressed NPZ file, member by member, as a context manager.

    Timestamps are fixed and nothing depends on the block sizes: equal content is equal bytes. The data of each
    array start at a multiple of 64 bytes. ``file`` is seekable and open for writing; it stays open.

    Examples
    --------
    >>> from io import BytesIO
    >>> import numpy as np
    >>> target = BytesIO()
    >>> with NpzWriter(target) as writer:
    ...     writer.add("xcoords", np.arange(3.0))
    >>> np.load(BytesIO(target.getvalue()))["xcoords"]
    array([0., 1., 2.])
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def add(self, name: str, array: NDArray[Any]) -> None:
        """Write one array; memory-mapped ones pass through in blocks. Object arrays raise ``ValueError``."""
        blocks = (block for _, block in row_blocks(array)) if array.ndim else [array]
        self.add_blocks(name, array.shape, array.dtype, blocks)

    def add_blocks(self, name: str, shape: tuple[int, ...], dtype: DTypeLike, blocks: Iterable[NDArray[Any]]) -> None:
        """Write one array of the given shape and dtype from consecutive blocks of its first axis.

        Raises ``ValueError`` if a block has another dtype or other trailing axes, or if they do not add up.
        """
        kind = np.dtype(dtype)
        if kind.hasobject:
            raise ValueError(f"'{name}' is an array of Python objects; a data set holds numbers and text only")
        header = BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": tuple(shape)}
        )
        rows = 0
        with self._zip.open(self._entry(name), "w", force_zip64=True) as member:
            member.write(header.getvalue())
            for block in blocks:
                if block.dtype != kind or block.shape[1:] != tuple(shape[1:]) or block.ndim != len(shape):
                    raise ValueError(
                        f"'{name}': a block of shape {block.shape} and dtype {block.dtype} does not fit into "
                        f"an array of shape {tuple(shape)} and dtype {kind}"
                    )
                rows += len(block) if shape else 1
                if block.size:
                    member.write(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
        if math.prod(shape) and rows != (shape[0] if shape else 1):
            raise ValueError(f"'{name}': the blocks hold {rows} rows, the shape {tuple(shape)} says otherwise")

    def _entry(self, name: str) -> zipfile.ZipInfo:
        entry = zipfile.ZipInfo(name + SUFFIX, EPOCH)
        entry.create_system = UNIX
        entry.external_attr = 0o644 << 16
        header_bytes = 30 + len(entry.filename.encode()) + ZIP64_EXTRA_BYTES
        # An extra field has four bytes of its own, so a gap below four is filled by the next boundary.
        gap = -(self._file.tell() + header_bytes + 4) % ALIGNMENT
        entry.extra = struct.pack("<HH", PADDING_ID, gap) + bytes(gap)
        return entry


def write_npz(file: BinaryIO, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write all arrays, in their order, into ``file`` (see :class:`NpzWriter`); frames with 0 at ``bad_pixels``."""
    bad = arrays.get(schema.BAD_PIXELS)
    with NpzWriter(file) as writer:
        for name, array in arrays.items():
            if name in (schema.FRAMES, schema.LEGACY_FRAMES) and bad is not None and bad.shape == array.shape[1:]:
                blocks = (without_bad(block, bad) for _, block in row_blocks(array))
                writer.add_blocks(name, array.shape, array.dtype, blocks)
            else:
                writer.add(name, array)


def write_data_set(
    file: BinaryIO,
    arrays: Mapping[str, NDArray[Any]],
    frames: Iterable[NDArray[np.float32]],
    patches: Iterable[NDArray[np.complex64]] | None,
    *,
    where: str,
    expected: Expectations | None = None,
) -> ContractReport:
    """Write a DATA-001 file, frames block by block, and judge what the file gives back.

    Only here is the contract judged for a data set made by this package: before the caller gives the temporary file
    its final name. Readers rely on the SHA256 that is recorded then. Returns the findings, for the warnings among them.
    Raises :class:`ContractError` with every rule that the written file breaks.

    Parameters
    ----------
    file : BinaryIO
        A new file on disk, open for writing.
    arrays : mapping of str to array
        Everything besides frames and patches (see :func:`fly64_assets.contract.schema.small_arrays`). Where
        ``bad_pixels`` is among it, the frames are written with 0 there.
    frames, patches : iterables of (b, N, N) float32 and complex64
        Consecutive blocks of all n frames; ``patches`` is None where the file has none.
    where, expected
        What the file is, for the message of an error, and what a study expects of it.
    """
    shape = (len(arrays[schema.SCAN_INDEX]), *arrays[schema.PROBE].shape[-2:])
    bad = arrays.get(schema.BAD_PIXELS)
    with NpzWriter(file) as writer:
        writer.add_blocks(schema.FRAMES, shape, np.float32, (without_bad(block, bad) for block in frames))
        if patches is not None:
            writer.add_blocks(schema.PATCHES, shape, np.complex64, patches)
        for name, array in arrays.items():
            writer.add(name, array)
    file.flush()
    report = validate_file(Path(file.name), expected=expected)
    report.raise_if_failed(where)
    return report


def open_npz(path: Path, *, hashed: bool = False) -> dict[str, NDArray[Any]]:
    """All arrays of an NPZ file, read-only; large stored members are memory-mapped.

    Raises :class:`ContractError`, one sentence, for anything that is no sound archive of plain arrays, among it a
    member whose bytes do not have their CRC (see :func:`fly64_assets.contract.archive.open_archive`). The values are
    not judged. ``hashed`` says that the SHA256 of the file was compared just now, so that large members need not be
    read to their end. A mapped member is not held in memory: a file that someone shortens later takes the process
    with it.
    """
    with open_archive(Path(path), hashed=hashed) as archive:
        return {key: archive.read(key) for key in archive.keys}


def validate_file(path: Path, *, expected: Expectations | None = None, max_bytes: int | None = None) -> ContractReport:
    """Judge a data set file by DATA-001 (see :func:`fly64_assets.contract.validate.validate`).

    Raises :class:`ContractError` like :func:`open_npz`, also if the file changes before the judgement is done.
    """
    with open_archive(Path(path), max_bytes) as archive:
        return validate({key: archive.read(key) for key in archive.keys}, expected=expected)


def load_dataset(path: Path, *, hashed: bool = False) -> Dataset:
    """A data set with its truth; frames and patches memory-mapped where they are large.

    Raises :class:`ContractError` if the file cannot be read or breaks the contract's rules on keys, dtypes, shapes,
    lengths or metadata. The values were judged when the file was written; that the file is still the same is for its
    SHA256 to show: ``hashed`` says that it was compared just now.
    """
    arrays = open_npz(path, hashed=hashed)
    validate_structure(arrays).raise_if_failed(str(path))
    return dataset_of(arrays)


def load_measurement(path: Path) -> Measurement:
    """What a reconstruction may see of a data set. The object's values and the patches are never read.

    Of ``objectGuess`` only the header is looked at, for the grid's size. The caller has compared the file's SHA256.
    Raises like :func:`load_dataset`.
    """
    with open_archive(Path(path), hashed=True) as archive:
        arrays = {key: archive.read(key) for key in archive.keys if key in MEASURED_KEYS}
        if schema.OBJECT in archive.keys:
            header = archive.header(schema.OBJECT)
            if header.dtype.hasobject:
                raise ContractError(
                    f"{path}: '{schema.OBJECT}' is an array of Python objects, which is never read; expected complex64"
                )
            # Zeros of that shape and dtype, one element in memory.
            arrays[schema.OBJECT] = np.broadcast_to(np.zeros((), header.dtype), header.shape)
    validate_structure(arrays).raise_if_failed(str(path))
    return dataset_of(arrays).measurement()


def load_base(path: Path) -> Base:
    """A canonical base file, whose SHA256 the caller has compared; :class:`ContractError` if it is none."""
    arrays = open_npz(path, hashed=True)
    validate_base_structure(arrays).raise_if_failed(str(path))
    metadata = arrays.get(schema.METADATA)
    document = {} if metadata is None else decode_metadata(metadata)
    obj, probe, x, y = (arrays[key] for key in schema.BASE_KEYS)
    return Base(obj, schema.strongest(probe), x, y, document, schema.further(probe))


def dataset_of(arrays: Mapping[str, NDArray[Any]]) -> Dataset:
    """The data set that canonical arrays make."""
    x, probe = arrays[schema.XCOORDS], arrays[schema.PROBE]
    return Dataset(
        diffraction=arrays[schema.FRAMES],
        object=arrays[schema.OBJECT],
        probe=schema.strongest(probe),
        x=x,
        y=arrays[schema.YCOORDS],
        scan_index=arrays.get(schema.SCAN_INDEX, np.arange(len(x), dtype=np.int64)),
        patches=arrays.get(schema.PATCHES),
        metadata=decode_metadata(arrays[schema.METADATA]),
        bad_pixels=arrays.get(schema.BAD_PIXELS),
        further_modes=schema.further(probe),
    )
