"""Files of `fly64 export`, opened by the readers of ptychodus, cdtools and PtyPy.

A letter F, seen by forty frames at positions between pixels, on a detector with a gap. `write` runs here and leaves
every form of file in a folder, with what is expected of it. `read` runs in an environment in which some of the programs
are installed (requirements.txt; for ptychodus one of its own) and compares what each reader finds: counts, bad pixels,
geometry, and the first row and column of the window that the program takes for each frame. ptychodus, which reads
object and probe as well, has to predict the counts by its own simulation. The status is 1 if something differs, or if
no program is installed.

Usage: PYTHONPATH=tests python benchmarks/peers/open_exports.py write FOLDER
       PEERS/bin/python benchmarks/peers/open_exports.py read FOLDER
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

SIZE, SHAPE, DOSE = 64, (140, 171), 1e5
OPTICS = {"pixel_size_m": 1.25e-8, "wavelength_m": 1.5e-10, "detector_distance_m": 2.0}
ELECTRON_VOLT, PLANCK_TIMES_C = 1.602176634e-19, 1.986445857e-25
DATA, RESULT = "letter.npz", "ptychi_reconstruction.npz"
Found = Iterator[tuple[str, bool, str]]
"""What was compared, whether it is as expected, and a number or a word about it."""


def write(folder: Path) -> None:
    """The data set, a reconstruction (the letter itself), every form of both, and what is expected of them."""
    from dataclasses import replace

    from fixtures.letter import letter_f
    from fixtures.scan import measure, soft_probe, write_data_set

    from fly64_assets.cli.main import main as fly64
    from fly64_assets.contract.metadata import derive_metadata
    from fly64_assets.contract.npz import load_dataset, write_npz
    from fly64_assets.contract.schema import dataset_arrays

    folder.mkdir(parents=True, exist_ok=True)
    obj, probe = letter_f(*SHAPE), soft_probe(SIZE)
    bad = np.zeros((SIZE, SIZE), bool)
    bad[10:14], bad[3, 40] = True, True
    write_data_set(folder / DATA, measure(obj, probe, 40, DOSE), obj, dose=DOSE)
    plain = load_dataset(folder / DATA)
    known = derive_metadata(plain.metadata, physics=OPTICS)
    frames = np.where(bad, np.float32(0), plain.diffraction)
    dataset = replace(plain, diffraction=frames, patches=None, metadata=known, bad_pixels=bad)
    for name, arrays in (
        (DATA, dataset_arrays(dataset)),
        (RESULT, {"reconstructed_object": obj, "loss": np.array([2.0, 1.0])}),
    ):
        with (folder / name).open("wb") as file:
            write_npz(file, arrays)
    for name in ("data.cxi", "data.npz"):
        words = ["data", folder / DATA, folder / name, "--object", "--force"]
        fly64(["export", *map(str, words)], standalone_mode=False)
    for name in ("object.h5", "object.cxi"):
        words = ["reconstruction", folder / name, "--file", folder / RESULT, "--data", folder / DATA, "--force"]
        fly64(["export", *map(str, words)], standalone_mode=False)
    np.savez(
        folder / "expected.npz",
        counts=dataset.measurement().counts(),
        bad=bad,
        object=obj,
        corners=np.stack([dataset.y, dataset.x], axis=1) - SIZE // 2,
    )


def close(what: str, found: float, wanted: float) -> tuple[str, bool, str]:
    return what, bool(abs(found - wanted) < 1e-5 * wanted), f"{found:.6g}"


def same(what: str, found: np.ndarray, wanted: np.ndarray) -> tuple[str, bool, str]:
    return what, np.array_equal(found, wanted), " x ".join(map(str, np.shape(found)))


def windows(where: str, found: np.ndarray, wanted: np.ndarray) -> tuple[str, bool, str]:
    """First rows and columns (n, 2) of the windows; some readers keep single precision."""
    error = float(np.abs(found - wanted).max())
    return f"{where}: windows", error < 1e-4, f"within {error:.0e} px"


def ptychodus(folder: Path, expected: dict[str, np.ndarray]) -> Found:
    """Diffraction files and products, by the reader's names."""
    from ptychodus.api.plugins import PluginRegistry
    from ptychodus.api.simulate.diffraction import generate_diffraction_data

    registry = PluginRegistry.load_plugins()
    detector = OPTICS["wavelength_m"] * OPTICS["detector_distance_m"] / (SIZE * OPTICS["pixel_size_m"])
    for reader, name in (("CXI", "data.cxi"), ("NPZ", "data.npz")):
        dataset = registry.diffraction_file_readers.get_strategy_by_name(reader).read(folder / name)
        (array,) = dataset
        yield same(f"{name}, {reader}: counts", array.get_patterns(), expected["counts"])
        yield same(f"{name}, {reader}: indexes", array.get_indexes(), np.arange(len(expected["counts"])))
        yield same(f"{name}, {reader}: bad pixels", dataset.get_bad_pixels(), expected["bad"])
        if reader == "CXI":
            about = dataset.get_metadata()
            yield close(f"{name}: detector pixel [m]", about.detector_pixel_geometry.width_m, detector)
            yield close(f"{name}: distance [m]", about.detector_distance_m, OPTICS["detector_distance_m"])
            yield close(f"{name}: energy [eV]", about.photon_energy_eV, energy())
    try:
        registry.diffraction_file_readers.get_strategy_by_name("SLAC_NPZ").read(folder / "data.npz")
        yield "data.npz, SLAC_NPZ", False, "read without an error"
    except KeyError as error:
        yield "data.npz, SLAC_NPZ", True, f"refused ({type(error).__name__})"
    for reader, name in (("HDF5", "object.h5"), ("CXI", "object.cxi"), ("CXI", "data.cxi"), ("NPZ", "data.npz")):
        product = registry.product_file_readers.get_strategy_by_name(reader).read(folder / name)
        where = f"{name}, product {reader}"
        yield same(f"{where}: object", product.object_.get_layer(0), expected["object"])
        geometry, positions = product.object_.get_geometry(), product.probe_positions
        yield close(f"{where}: object pixel [m]", geometry.pixel_width_m, OPTICS["pixel_size_m"])
        yield close(f"{where}: energy [eV]", product.metadata.photon_energy_eV, energy())
        rows = geometry.map_probe_positions_to_object_y_px(positions)
        columns = geometry.map_probe_positions_to_object_x_px(positions)
        yield windows(where, np.stack([rows, columns], axis=1) - (SIZE - 1) / 2, expected["corners"])
        # Its simulation gives photons per area where a probe pixel is the unit of area.
        rates = generate_diffraction_data(product).get_patterns() * (detector / OPTICS["pixel_size_m"]) ** 2
        used = (rates > 2) & ~expected["bad"]
        found = float(np.mean((expected["counts"] - rates)[used] ** 2 / rates[used]))
        yield f"{where}: its own simulation", found < 1.5, f"chi square {found:.2f} per pixel"


def cdtools(folder: Path, expected: dict[str, np.ndarray]) -> Found:
    """The data set, and the model that FancyPtycho makes of it."""
    from cdtools.datasets import Ptycho2DDataset
    from cdtools.models import FancyPtycho
    from cdtools.tools.interactions import translations_to_pixel

    data = Ptycho2DDataset.from_cxi(folder / "data.cxi")
    yield same("data.cxi: counts", data.patterns.numpy(), expected["counts"])
    yield same("data.cxi: mask (1 = good)", data.mask.numpy(), ~expected["bad"])
    yield close("data.cxi: wavelength [m]", float(data.wavelength), OPTICS["wavelength_m"])
    yield close("data.cxi: distance [m]", float(data.detector_geometry["distance"]), OPTICS["detector_distance_m"])
    data.patterns = data.patterns.float()
    model = FancyPtycho.from_dataset(data)
    basis = np.linalg.norm(model.obj_basis.numpy(), axis=0)
    yield close("data.cxi: object pixel [m]", float(basis.mean()), OPTICS["pixel_size_m"])
    found = translations_to_pixel(model.obj_basis, data.translations).numpy()
    # Its object has an origin of its own.
    yield windows("data.cxi", found - found.mean(axis=0), expected["corners"] - expected["corners"].mean(axis=0))


def ptypy(folder: Path, expected: dict[str, np.ndarray]) -> Found:
    """What the HDF5 loader gives PtyPy's core."""
    import ptypy as package
    from ptypy import utils as u
    from ptypy.experiment import PTYSCANS

    package.load_ptyscan_module("hdf5_loader")
    path = str(folder / "data.cxi")
    instrument = "entry_1/instrument_1/"
    settings = u.Param(name="Hdf5Loader", orientation=0, auto_center=False)
    settings.intensities = u.Param(file=path, key="entry_1/data_1/data")
    translation = "entry_1/data_1/translation"
    settings.positions = u.Param(file=path, slow_key=translation, slow_index=1, fast_key=translation, fast_index=0)
    settings.mask = u.Param(file=path, key=instrument + "detector_1/mask", invert=True)
    kev = 1e-3 / ELECTRON_VOLT
    settings.recorded_energy = u.Param(file=path, key=instrument + "source_1/energy", multiplier=kev)
    settings.recorded_distance = u.Param(file=path, key=instrument + "detector_1/distance")
    settings.recorded_psize = u.Param(file=path, key=instrument + "detector_1/x_pixel_size")
    scan = PTYSCANS["Hdf5Loader"](settings)
    scan.initialize()
    parts = scan.auto(len(expected["counts"]))["iterable"]
    yield same("data.cxi: counts", np.stack([part["data"] for part in parts]), expected["counts"])
    yield same("data.cxi: mask (1 = good)", parts[0]["mask"], ~expected["bad"])
    yield close("data.cxi: energy [keV]", scan.meta.energy, energy() / 1e3)
    pixel = PLANCK_TIMES_C / (1e3 * scan.meta.energy * ELECTRON_VOLT) * scan.meta.distance
    pixel /= SIZE * float(np.mean(scan.info.psize))
    yield close("data.cxi: object pixel [m]", pixel, OPTICS["pixel_size_m"])
    positions = np.stack([part["position"] for part in parts]) / pixel
    yield windows("data.cxi", positions + (np.array(SHAPE) - SIZE) / 2, expected["corners"])


def energy() -> float:
    """Photon energy [eV]."""
    return PLANCK_TIMES_C / OPTICS["wavelength_m"] / ELECTRON_VOLT


PROGRAMS: dict[str, tuple[str, Callable[[Path, dict[str, np.ndarray]], Found]]] = {
    "ptychodus": ("ptychodus", ptychodus),
    "cdtools": ("cdtools-py", cdtools),
    "PtyPy": ("PtyPy", ptypy),
}


def read(folder: Path) -> bool:
    """Print what every installed program says; whether all of it is as expected."""
    with np.load(folder / "expected.npz") as file:
        expected = dict(file)
    good = []
    for name, (distribution, look) in PROGRAMS.items():
        try:
            print(f"{name} {version(distribution)}")
        except PackageNotFoundError:
            print(f"{name}: not installed")
            continue
        for what, right, said in look(folder, expected):
            good.append(right)
            print(f"  {'as expected' if right else 'DIFFERS':12} {what}: {said}")
    return bool(good) and all(good)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("write", "read"))
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    if options.what == "write":
        write(options.folder)
    else:
        sys.exit(not read(options.folder))


if __name__ == "__main__":
    main()
