"""Files written by ptychodus, cdtools and PtyPy themselves, imported here.

A letter F, seen by forty frames at positions between pixels. `truth` runs here and leaves arrays in a folder. `write`
runs in an environment in which some of the programs are installed (requirements.txt; for ptychodus one of its own), and
writes with their own functions. `read` runs here: every file goes through `fly64 import`, and object, positions,
counts and bad pixels are compared. The status is 1 if something differs, or if there is no file.

Usage: PYTHONPATH=tests python benchmarks/peers/foreign_files.py truth FOLDER
       PEERS/bin/python benchmarks/peers/foreign_files.py write FOLDER
       python benchmarks/peers/foreign_files.py read FOLDER
"""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

SIZE, SHAPE, DOSE = 64, (140, 171), 1e5
PIXEL, WAVELENGTH, DISTANCE, ENERGY_EV = 1.25e-8, 1.5e-10, 2.0, 8265.6132
DETECTOR_PIXEL = WAVELENGTH * DISTANCE / (SIZE * PIXEL)
CENTRE = (1e-6, -3e-6)
PROBE = ("--with", "probe.npy", "--rename", "probe=probeGuess")
FILES = {
    "cdtools.cxi": PROBE,
    "ptychodus.h5": ("--with", "patterns.npz"),
    "ptychodus.npz": ("--with", "patterns.npz"),
    "ptypy.ptyr": ("--with", "ptypy.ptyd"),
    "ptypy.ptyd": PROBE,
}
"""Files, and the options with which they are imported."""
WITH_OBJECT = ("ptychodus.h5", "ptychodus.npz", "ptypy.ptyr")
"""Those that hold the object; ones stand in for it in the others."""


def truth(folder: Path) -> None:
    """Object, probe, positions in pixels and metres about the object's centre, counts and bad pixels."""
    from fixtures.letter import letter_f
    from fixtures.scan import measure, soft_probe

    folder.mkdir(parents=True, exist_ok=True)
    obj = letter_f(*SHAPE)
    measured = measure(obj, soft_probe(SIZE), 40, DOSE)
    bad = np.zeros((SIZE, SIZE), bool)
    bad[10:14], bad[3, 40] = True, True
    x, y = measured.x, measured.y
    metres = {"x_m": (x - SHAPE[1] / 2) * PIXEL, "y_m": (y - SHAPE[0] / 2) * PIXEL}
    counts = np.rint(measured.counts()).astype(np.uint32)
    np.savez(folder / "truth.npz", obj=obj, probe=measured.probe, x=x, y=y, counts=counts, bad=bad, **metres)
    np.save(folder / "probe.npy", measured.probe)


def write_cdtools(folder: Path, t: SimpleNamespace) -> None:
    """Its translations are those of the probe; its rows and columns go to -y and -x."""
    from cdtools.tools import data

    p = DETECTOR_PIXEL
    with data.create_cxi(str(folder / "cdtools.cxi")) as file:
        data.add_source(file, WAVELENGTH)
        data.add_detector(file, DISTANCE, np.array([[0, -p, 0], [-p, 0, 0]]).T)
        data.add_mask(file, ~t.bad)
        data.add_data(file, t.counts)
        data.add_ptycho_translations(file, np.stack([-t.x_m, -t.y_m, 0 * t.x_m], axis=1))


def write_ptychodus(folder: Path, t: SimpleNamespace) -> None:
    """A product in both forms, and the diffraction file."""
    from ptychodus.api import diffraction
    from ptychodus.api.geometry import ImageExtent, PixelGeometry
    from ptychodus.api.object import Object, ObjectCenter
    from ptychodus.api.probe import ProbeSequence
    from ptychodus.api.probe_positions import ProbePosition, ProbePositionSequence
    from ptychodus.api.product import Product, ProductMetadata
    from ptychodus.plugins.h5_product_file import H5ProductFileIO
    from ptychodus.plugins.npz_diffraction_file import NPZDiffractionFileIO
    from ptychodus.plugins.npz_product_file import NPZProductFileIO

    pixel = PixelGeometry(PIXEL, PIXEL)
    points = enumerate(zip(t.x_m + CENTRE[0], t.y_m + CENTRE[1], strict=True))
    product = Product(
        metadata=ProductMetadata("F", "", DISTANCE, ENERGY_EV, DOSE, 1.0, 0.0, 0.0),
        probe_positions=ProbePositionSequence([ProbePosition(i, x, y) for i, (x, y) in points]),
        probes=ProbeSequence(array=t.probe, opr_weights=None, pixel_geometry=pixel),
        object_=Object(array=t.obj, pixel_geometry=pixel, center=ObjectCenter(*CENTRE)),
        losses=[],
    )
    H5ProductFileIO().write(folder / "ptychodus.h5", product)
    NPZProductFileIO().write(folder / "ptychodus.npz", product)
    facts = diffraction.DiffractionMetadata([len(t.counts)], t.counts.dtype, ImageExtent(SIZE, SIZE))
    frames = diffraction.SimpleDiffractionArray("F", np.arange(len(t.counts)), t.counts)
    tree = diffraction.DiffractionDatasetLayoutNode.create_root()
    content = diffraction.SimpleDiffractionDataset(facts, tree, [frames], bad_pixels=t.bad)
    NPZDiffractionFileIO().write(folder / "patterns.npz", content)


def write_ptypy(folder: Path, t: SimpleNamespace) -> None:
    """Prepared data by its scan class, in chunks; storages of a reconstruction by its writer."""
    from ptypy import io, utils
    from ptypy.core.classes import Container
    from ptypy.core.data import PtyScan

    class Scan(PtyScan):
        def load_positions(self):
            return np.c_[t.y_m, t.x_m]

        def load_weight(self):
            return (~t.bad).astype(float)

        def load(self, indices):
            return {i: t.counts[i].astype(np.float32) for i in indices}, {}, {}

    data = folder / "ptypy.ptyd"
    data.unlink(missing_ok=True)
    geometry = {"shape": SIZE, "psize": DETECTOR_PIXEL, "energy": ENERGY_EV / 1e3, "distance": DISTANCE}
    ways = {"dfile": str(data), "save": "append", "num_frames": len(t.counts), "min_frames": 10, "auto_center": False}
    settings = Scan.DEFAULT.copy(99)
    settings.update(utils.Param(center="fftshift", **geometry, **ways))
    scan = Scan(settings)
    scan.initialize()
    while isinstance(scan.auto(10), dict):
        pass

    def stored(name: str, picture: np.ndarray) -> tuple[object, dict[str, object]]:
        storage = Container(ID=name).new_storage(ID="S00G00", shape=(1, *picture.shape), psize=PIXEL)
        storage.data[:] = picture
        return storage, {"data": storage.data, "_psize": storage.psize, "_origin": storage.origin}

    storage, obj = stored("Cobj", t.obj)
    positions = storage._to_phys(np.c_[t.y, t.x])
    content = {"obj": {"S00G00": obj}, "probe": {"S00G00": stored("Cprobe", t.probe)[1]}}
    content["positions"] = {"S00G00": positions}
    io.h5write(str(folder / "ptypy.ptyr"), header={"kind": "minimal"}, content=content)


def write(folder: Path) -> None:
    """What the programs write that are installed."""
    t = SimpleNamespace(**np.load(folder / "truth.npz"))
    for name, writer in {"cdtools": write_cdtools, "ptychodus": write_ptychodus, "ptypy": write_ptypy}.items():
        try:
            writer(folder, t)
        except ModuleNotFoundError as problem:
            print(f"{name}: not installed here ({problem})")


def read(folder: Path) -> bool:
    """Import every file that is there and say how it compares; whether all are as expected."""
    from click.testing import CliRunner

    from fly64_assets.cli.main import main as fly64

    t = SimpleNamespace(**np.load(folder / "truth.npz"))
    good = []
    for name, options in FILES.items():
        if not (folder / name).exists():
            continue
        words = [str(folder / word) if word.endswith((".npy", ".npz", ".ptyd")) else word for word in options]
        out = folder / "imported.npz"
        answer = CliRunner().invoke(fly64, ["import", str(folder / name), str(out), "--force", *words])
        if answer.exit_code:
            print(f"{name}: {answer.output}")
            good.append(False)
            continue
        found = np.load(out)
        moved = np.stack([found["xcoords"] - t.x, found["ycoords"] - t.y])
        apart = float(np.ptp(moved, axis=1).max())  # without an object the grid is moved by whole pixels
        obj = found["objectGuess"]
        whole = np.array_equal(obj, t.obj) if name in WITH_OBJECT else bool((obj == 1).all())
        bad = found["bad_pixels"]
        counts = np.array_equal(np.rint(found["diffraction"].astype(float) ** 2), np.where(bad, 0, t.counts))
        fits = [apart < 1e-6, whole, counts, np.array_equal(bad, t.bad)]
        print(f"{name}: positions within {apart:.1g} px, object {whole}, counts {counts}, bad pixels {fits[3]}")
        good.append(all(fits))
    return bool(good) and all(good)


if __name__ == "__main__":
    verb, place = sys.argv[1], Path(sys.argv[2])
    sys.exit(0 if {"truth": truth, "write": write, "read": read}[verb](place) in (None, True) else 1)
