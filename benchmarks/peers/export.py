"""Frames of a study's cells as CXI files for other packages, at the study's positions and at whole pixels.

For every cell two files, of the half on which no method is trained: CELL.cxi with the study's own frames, and
CELL_whole.cxi with the same frames simulated anew by the same model, with the same seeds, at positions that are rounded
to whole pixels. The second is for packages that round positions, so that they are not judged by their interpolation.

Usage: PYTHONPATH=benchmarks python benchmarks/peers/export.py [--study NAME-or-FILE] [--cells VIEW:DOSE ...] FOLDER
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from cells import Cell, cell_of, design_of
from frames_file import DETECTOR_PIXEL, DISTANCE, HELD_OUT, WAVELENGTH

from fly64_assets.formats.units import Optics
from fly64_assets.formats.writing.content import product_of
from fly64_assets.formats.writing.cxi import write_cxi
from fly64_assets.physics.counts import frame_generator, poisson_counts, stored_amplitude, thin_counts
from fly64_assets.physics.forward import patch_counts
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.optics import far_field_pixel
from fly64_assets.study.design import StudyDesign

CELLS = ("dense:1000", "dense:10000", "dense:100000")
WHOLE = "_whole"


def cells_of(design: StudyDesign, names: list[str]) -> Iterator[tuple[str, Cell]]:
    """Every cell twice, by the name of its file: as it is, and at whole pixels."""
    for view, _, dose in (name.partition(":") for name in names):
        cell = cell_of(design, view, int(float(dose)))
        if isinstance(cell, str):
            raise SystemExit(f"{view}:{dose} does not exist: {cell}")
        name = f"{view}_{cell.dose}"
        yield name, cell
        halves = {half: whole_pixels(cell, getattr(cell, half), design) for half in ("train", "test")}
        yield name + WHOLE, replace(cell, **halves)


def whole_pixels(cell: Cell, m: Measurement, design: StudyDesign) -> Measurement:
    """A half as it would be had every position been rounded; scale and seeds of the noise stay the same."""
    rounded = replace(m, x=np.rint(m.x), y=np.rint(m.y))
    rates = patch_counts(cell.truth, m.probe, rounded.scan, m.intensity_scale)
    counts = poisson_counts(rates, m.scan_index, design.rng_seeds["simulation"], cell.dose, design.repeat_seed(1))
    return replace(rounded, amplitude=stored_amplitude(counts, m.intensity_scale))


def write_frames(path: Path, m: Measurement, seed: int) -> None:
    """A half as a CXI file, its object unknown; ``seed`` decides which photons are held out."""
    pixel = far_field_pixel(DETECTOR_PIXEL, m.patch_size, WAVELENGTH, DISTANCE)
    product = product_of(m, Optics(pixel, WAVELENGTH, DISTANCE), name=path.stem)
    with path.open("wb") as file:
        write_cxi(file, product, m)
    counts = m.counts()
    held_out = np.zeros_like(counts)
    for row, frame in enumerate(m.scan_index.tolist()):
        held_out[row] = thin_counts(counts[row], HELD_OUT, frame_generator(seed, 0, frame))[1]
    with h5py.File(path, "a") as file:
        known = file.create_group("known")
        known.create_dataset("held_out", data=held_out.astype(np.int32), compression="gzip")
        arrays = {"x": m.x, "y": m.y, "probe": product.probe, "index": m.scan_index, "object_shape": m.object_shape}
        for name, values in arrays.items():
            known[name] = values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="demo")
    parser.add_argument("--cells", nargs="+", default=list(CELLS), metavar="VIEW:DOSE")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    design = design_of(options.study)
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, cell in cells_of(design, options.cells):
        write_frames(options.folder / f"{name}.cxi", cell.test, design.rng_seeds["simulation"])
        photons = cell.test.counts().sum() / cell.test.frames
        print(f"{name}.cxi: {cell.test.frames} frames, {photons:.1f} photons each")


if __name__ == "__main__":
    main()
