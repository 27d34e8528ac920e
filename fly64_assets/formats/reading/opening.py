"""Opening a file of any known kind: the kind is found by content, and files that belong together become one source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract import schema, structure, values
from fly64_assets.contract.archive import open_archive
from fly64_assets.contract.corrections import NONE
from fly64_assets.contract.findings import FormError, warning
from fly64_assets.contract.kinds import HDF5, MATLAB_5, NPY, TIFF, kind_of, what_else
from fly64_assets.contract.metadata import PIXEL_SIZE, transformation
from fly64_assets.contract.scratch import rows
from fly64_assets.contract.source import Source
from fly64_assets.errors import ContractError
from fly64_assets.formats.reading import arrays, cxi, matlab, plain, ptychodus, ptylab, ptypy
from fly64_assets.formats.reading.hdf5 import Tree, open_tree
from fly64_assets.formats.reading.options import ReadingOptions
from fly64_assets.formats.reading.plain import MANY

OPTIONS: Final = "options"
OF_FRAMES: Final = ("counts", "dc_corner")
"""Parameters of the conversion that concern frames."""

OF_OBJECT: Final = frozenset({schema.XCOORDS, schema.YCOORDS, schema.PROBE})
"""Arrays that are taken from the file with the object, where two files hold them."""


def opened(path: Path, form: Mapping[str, Any], *, frames: bool) -> tuple[Path | Source, dict[str, Any]]:
    """What the canonical steps take of a file, and their parameters.

    Parameters
    ----------
    path : Path
        A file of any kind that is read (see the reference page on formats).
    form : mapping
        What the user says about it: parameters of :func:`fly64_assets.contract.canonical.canonicalize`, and under
        ``options`` a :class:`ReadingOptions`.
    frames : bool
        Whether frames are needed.

    Returns
    -------
    source : Path or Source
        The path itself for an NPZ file in DATA-001's or PtychoPINN's form.
    form : dict
        The parameters, with what the format says by itself.

    Raises
    ------
    ContractError
        One sentence, for a file that cannot be read or is not clear.
    """
    given = {name: value for name, value in form.items() if name != OPTIONS}
    options = replace(form.get(OPTIONS) or ReadingOptions(), corrections=given.get("corrections", NONE))
    named = frozenset(given.get("rename") or ()) | frozenset(options.pairs)
    source = _open(Path(path), options, frames, named)
    if source is None and not (options.beside or options.pairs):
        return path, given
    main = _archive(Path(path), options) if source is None else source
    for other in options.beside:
        beside = _open(other, options, frames, named)
        main = joined(main, _archive(other, options) if beside is None else beside)
    arrays.split_pairs(main, options)
    if main.lacking:
        raise FormError(
            values.COORDINATES,
            f"{main.path}: its positions are in metres, and {main.lacking}, or the object pixel itself with "
            "--positions-unit m --pixel-size M",
        )
    _on_the_probes_grid(main, given.get("rename") or {})
    if not frames:
        main.says = {name: value for name, value in main.says.items() if name not in OF_FRAMES}
    return main, main.form(given)


def files_beside(form: Mapping[str, Any]) -> tuple[Path, ...]:
    """Further files that a user gives beside the first."""
    options = form.get(OPTIONS)
    return options.beside if isinstance(options, ReadingOptions) else ()


def joined(main: Source, other: Source) -> Source:
    """One source of two; frames and positions with the same indices belong together.

    Raises :class:`ContractError` where both files hold the same array.
    """
    if schema.METADATA in main.arrays and other.arrays.pop(schema.METADATA, None) is not None:
        lost = {"key": f"{schema.METADATA} of {other.path.name}", "reason": f"that of {main.path.name} is kept"}
        other.done.append(transformation("drop_key", lost))
    both = sorted((set(main.arrays) & set(other.arrays)) - {schema.SCAN_INDEX})
    holder = next((source for source in (main, other) if schema.OBJECT in source.arrays), None)
    if both and (holder is None or not set(both) <= OF_OBJECT):
        raise ContractError(f"{main.path} and {other.path} both hold {', '.join(both)}; expected each in one file")
    if holder is not None:
        for key in both:  # positions and probe that belong to a reconstruction are those of its object
            spare = other if holder is main else main
            spared, kept = spare.arrays.pop(key), holder.arrays[key]
            if key == schema.XCOORDS and len(spared) != len(kept):
                counts = f"{spare.path.name} holds {len(spared)} positions and {holder.path.name} {len(kept)}"
                words = f"{counts}, of which those of {holder.path.name} are taken: are both of the same scan?"
                spare.findings.append(warning(structure.LENGTH, words))
            reason = f"{holder.path.name} holds it with its object"
            spare.done.append(transformation("drop_key", {"key": f"{key} of {spare.path.name}", "reason": reason}))
            taken = f"read as {'positions' if key in (schema.XCOORDS, schema.YCOORDS) else key}"
            for name, text in spare.members.items():
                if text.partition(":")[0] in (taken, f"read as {key}"):
                    spare.members[name] = f"not taken: {reason}"
    indices = [source.arrays.get(schema.SCAN_INDEX) for source in (main, other)]
    if indices[0] is not None and indices[1] is not None:
        _match(main, other, np.asarray(indices[0]).reshape(-1), np.asarray(indices[1]).reshape(-1))
    place = other.path.name
    placing = main if schema.XCOORDS in main.arrays else other  # its positions remain, on pixels that it knows
    pixel = {name: value for name, value in placing.physics.items() if name == PIXEL_SIZE}
    return Source(
        main.path,
        main.kind,
        {**other.arrays, **main.arrays},
        {**main.members, **{f"{place}: {name}": text for name, text in other.members.items()}},
        {**other.physics, **main.physics, **pixel},
        {**other.says, **main.says},
        placing.grid,
        [*main.done, *other.done, transformation("join_file", {"file": place, "kind": other.kind})],
        placing.lacking,
        [*main.findings, *other.findings],
    )


def _on_the_probes_grid(source: Source, rename: Mapping[str, str]) -> None:
    """Positions in pixels of a probe that has another side than the frames, which are to be cut or padded to it."""
    key = next((old for old, new in rename.items() if new == schema.PROBE), schema.PROBE)
    probe = source.arrays.get(key)
    if source.grid is None or probe is None or probe.ndim < 2 or probe.shape[-2:] == source.grid:
        return
    rows, columns = (new / old for new, old in zip(probe.shape[-2:], source.grid, strict=True))
    source.arrays[schema.XCOORDS] = source.arrays[schema.XCOORDS] * columns
    source.arrays[schema.YCOORDS] = source.arrays[schema.YCOORDS] * rows
    if PIXEL_SIZE in source.physics:
        source.physics[PIXEL_SIZE] /= columns
    source.done.append(transformation("positions_on_the_grid_of_the_probe", {"factors": [rows, columns]}))


def _match(main: Source, other: Source, first: NDArray[Any], second: NDArray[Any]) -> None:
    """Keep, in both sources, what has an index in both, in the order of the first."""
    for source, indices in ((main, first), (other, second)):
        if len(np.unique(indices)) < len(indices):
            raise ContractError(f"{source.path} has an index twice; expected each frame once")
    common, keep, take = np.intersect1d(first, second, return_indices=True)
    if not len(common):
        raise ContractError(f"{main.path} and {other.path} have no indices in common; expected frames of the same scan")
    order = np.argsort(keep)
    for source, chosen, indices in ((main, keep[order], first), (other, take[order], second)):
        if len(chosen) == len(indices) and np.array_equal(chosen, np.arange(len(indices))):
            continue
        for key in (*schema.PER_FRAME_KEYS, schema.FRAMES):
            array = source.arrays.get(key)
            if array is not None and array.shape[:1] == (len(indices),):
                source.arrays[key] = rows(array, chosen)
        left = len(indices) - len(chosen)
        source.done.append(
            transformation("match_indices", {"file": source.path.name, "kept": len(chosen), "left": left})
        )


def _open(path: Path, options: ReadingOptions, frames: bool, named: frozenset[str]) -> Source | None:
    """The source of a file; None for an NPZ file in DATA-001's or PtychoPINN's form."""
    kind = kind_of(path)
    if kind == HDF5:
        with open_tree(path, options.max_bytes) as tree:
            source = _tree(tree, options, frames, named)
            _list_others(tree, source)
            return source
    if kind == MATLAB_5:
        return matlab.read_level_5(path, options.max_bytes)
    if kind == NPY:
        return plain.read_npy(path, options.max_bytes)
    if kind == TIFF:
        return plain.read_tiff(path, options.max_bytes)
    if other := what_else(path):
        raise ContractError(f"{path} {other}; expected an NPZ, HDF5, MATLAB, NPY or TIFF file")
    return _foreign_archive(path, options, frames)


def _list_others(tree: Tree, source: Source) -> None:
    """Name the members of a file that its reader has not named: facts that it used, and what it left."""
    others = [name for name in tree.datasets() if name not in source.members]
    source.members |= {name: "read" for name in others if name in tree.facts_read}
    left = [name for name in others if name not in tree.facts_read | tree.arrays_read]
    source.members |= dict.fromkeys(left[:MANY], "not needed")
    if len(left) > MANY:
        source.members[f"{len(left) - MANY} more"] = "not needed"


def _tree(tree: Tree, options: ReadingOptions, frames: bool, named: frozenset[str]) -> Source:
    keys = frozenset(tree.group("/"))
    if cxi.recognises(tree):
        return cxi.read(tree, options, frames=frames)
    if ptychodus.is_product(keys):
        return ptychodus.product_of_tree(tree)
    if ptypy.is_reconstruction(tree):
        return ptypy.read_reconstruction(tree)
    if ptypy.is_data(tree):
        return ptypy.read_data(tree, options, frames=frames)
    if ptylab.recognises(keys):
        return ptylab.read(tree, options, frames=frames)
    if matlab.is_tree(tree):
        return matlab.read_tree(tree, frames=frames, named=named)
    known = _array_reader(keys)
    if known is not None:
        reader, names = known
        return reader(tree.path, {name: tree.read(name) for name in names if frames or name not in FRAMES})
    return plain.read_tree(tree, frames=frames, named=named)


Reader = Callable[[Path, Mapping[str, NDArray[Any]]], Source]
FRAMES: Final = frozenset({"data", "diffraction_data", "dp", ptychodus.PATTERNS})


def _array_reader(keys: frozenset[str]) -> tuple[Reader, frozenset[str]] | None:
    """The reader of arrays with such names, and those that it takes."""
    if ptychodus.is_diffraction(keys):
        return ptychodus.diffraction, keys & {ptychodus.PATTERNS, ptychodus.INDEXES, schema.BAD_PIXELS}
    if arrays.is_tike(keys):
        return arrays.tike, arrays.wanted(keys)
    if arrays.is_ptychi(keys):
        return arrays.ptychi, arrays.wanted(keys)
    return None


def _foreign_archive(path: Path, options: ReadingOptions, frames: bool) -> Source | None:
    """An NPZ file of ptychodus, tike or pty-chi; None for others."""
    with open_archive(path, options.max_bytes) as archive:
        keys = frozenset(archive.keys)
        if keys & {*schema.REQUIRED_KEYS, schema.LEGACY_FRAMES}:
            return None
        if ptychodus.is_product(keys):
            wanted = keys if frames else keys - FRAMES
            held = {key: archive.read(key) for key in wanted if not archive.header(key).dtype.hasobject}
            main = {name: held[name] for name in (*ptychodus.PRODUCT, ptychodus.INDEX) if name in held}
            both = frames and ptychodus.is_diffraction(keys)  # an archive may hold the frames as well
            of_frames = {ptychodus.PATTERNS, ptychodus.INDEXES, schema.BAD_PIXELS} if both else set()
            others = dict.fromkeys(sorted(keys - set(main) - of_frames), "not needed")
            source = ptychodus.product(path, main, held, others)
            if both:
                source = joined(source, ptychodus.diffraction(path, held))
                if schema.SCAN_INDEX in held:  # written by this package
                    source.arrays[schema.SCAN_INDEX] = held[schema.SCAN_INDEX]
                    source.members[schema.SCAN_INDEX] = f"read as {schema.SCAN_INDEX}"
            return source
        known = _array_reader(keys)
        if known is None:
            return None
        reader, names = known
        source = reader(path, {name: archive.read(name) for name in names if frames or name not in FRAMES})
        source.members |= dict.fromkeys(sorted(keys - set(source.members)), "not needed")
        return source


def _archive(path: Path, options: ReadingOptions) -> Source:
    """Every array of an NPZ file, as those of files beside it."""
    with open_archive(path, options.max_bytes) as archive:
        held = {key: archive.read(key) for key in archive.keys if not archive.header(key).dtype.hasobject}
        members = {key: "read" if key in held else "not read: Python objects" for key in archive.keys}
    return Source(path, "NPZ", held, members)
