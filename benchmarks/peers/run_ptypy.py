"""PtyPy's maximum likelihood (ML), ePIE and difference map (DM) on frames from export.py.

Probe and positions are known and held fixed, and the object starts from ones; what SETTINGS does not name is PtyPy's
default. PtyPy reads the object at positions rounded to whole pixels, and its ePIE draws the order of frames without a
seed. Runs in an environment of its own (requirements.txt); reads counts and positions with PtyPy's own HDF5 loader.

Usage: OMP_NUM_THREADS=1 python run_ptypy.py [--methods ML ...] FRAMES.cxi ... FOLDER
"""

import argparse
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import ptypy
from frames_file import DETECTOR_PIXEL, DISTANCE, PLANCK_TIMES_C, WAVELENGTH, Frames, Run, read_frames, write_run
from ptypy import utils as u
from ptypy.core import Ptycho

KEV = 1.602176634e-16
NEVER = 10**6
"""An iteration that no run reaches: the probe is not updated before it."""
SHOWN = (3, 5, 7, 10, 15, 20, 30, 40, 50, 70, 100, 150)
"""Iterations after which the object is kept; the held-out counts choose among them. ML ends before the others."""

ML = {"name": "ML", "ML_type": "gaussian"}
SETTINGS = {
    "PtyPy ML": {"no prior": ML},
    "PtyPy ML prior": {
        f"Gaussian prior {amplitude:g}": {**ML, "reg_del2": True, "reg_del2_amplitude": amplitude}
        for amplitude in (0.3, 1.0, 3.0, 10.0)
    },
    "PtyPy ePIE": {"step 1": {"name": "EPIE", "alpha": 1.0, "beta": 1.0}},
    "PtyPy DM": {"default": {"name": "DM"}},
}


def shown(engine: dict) -> tuple[int, ...]:
    return SHOWN[: SHOWN.index(70) + 1] if engine["name"] == "ML" else SHOWN


def reconstruction(path: Path, probe: np.ndarray, engine: dict) -> Ptycho:
    """Everything up to the engine, from a file whose probe has the scale of its counts."""
    pixel = WAVELENGTH * DISTANCE / (DETECTOR_PIXEL * len(probe))
    p = u.Param()
    p.verbose_level = "ERROR"
    p.data_type = "single"
    p.io = u.Param(
        home=str(path.parent),
        rfile=None,
        autosave=u.Param(active=False),
        autoplot=u.Param(active=False),
        interaction=u.Param(active=False),
    )
    scan = u.Param(name="Full")
    scan.data = u.Param(
        name="Hdf5Loader",
        orientation=0,
        auto_center=False,
        energy=PLANCK_TIMES_C / WAVELENGTH / KEV,
        distance=DISTANCE,
        psize=DETECTOR_PIXEL,
    )
    scan.data.intensities = u.Param(file=str(path), key="entry_1/data_1/data")
    scan.data.positions = u.Param(
        file=str(path), slow_key="known/y", fast_key="known/x", slow_multiplier=pixel, fast_multiplier=pixel
    )
    photons = float(np.sum(np.abs(probe) ** 2))
    scan.illumination = u.Param(model=probe, photons=photons, aperture=None, propagation=None, diversity=None)
    p.scans = u.Param(exported=scan)
    p.engines = u.Param(only=u.Param(numiter=shown(engine)[-1], probe_update_start=NEVER, probe_support=None, **engine))
    return Ptycho(p, level=4)


def objects(frames: Frames, engine: dict, everything: bool) -> tuple[list[float], np.ndarray, np.ndarray]:
    """Seconds and objects on the grid after every iteration of SHOWN, and where PtyPy's windows begin."""
    counts, probe = frames.fitted(everything)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fitted.cxi"
        with h5py.File(path, "w") as file:
            file["entry_1/data_1/data"] = counts
            file["known/x"], file["known/y"] = frames.x, frames.y
        ptycho = reconstruction(path, probe, engine)
    (algorithm,) = ptycho.engines.values()
    (storage,) = ptycho.obj.storages.values()
    pods = sorted(ptycho.pods.values(), key=lambda pod: pod.di_view.layer)
    corners = np.array([pod.ob_view.dlow for pod in pods])
    offset = frames.offset(corners)
    ptycho.runtime.iter_info = []
    algorithm.initialize()
    ptycho.new_data = [(d.label, d) for d in ptycho.diff.S.values()]
    algorithm.prepare()
    seconds, found, spent = [], [], 0.0
    for iteration in range(1, shown(engine)[-1] + 1):
        start = time.process_time()
        algorithm.iterate(1)
        spent += time.process_time() - start
        if iteration in shown(engine):
            seconds.append(spent)
            found.append(frames.on_grid(storage.data[0], offset))
    return seconds, np.stack(found), corners + offset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=tuple(SETTINGS), default=list(SETTINGS))
    parser.add_argument("frames", type=Path, nargs="+", metavar="FRAMES.cxi")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    ptypy.load_ptyscan_module("hdf5_loader")
    for path in options.frames:
        frames = read_frames(path)
        for method in options.methods:
            for settings, engine in SETTINGS[method].items():
                _, fitted, _ = objects(frames, engine, everything=False)
                seconds, found, corners = objects(frames, engine, everything=True)
                run = Run(path.stem, method, settings, list(shown(engine)), seconds, found, fitted, corners)
                write_run(options.folder, run)
                print(f"{path.stem}, {method}, {settings}: {seconds[-1]:.0f} s", flush=True)


if __name__ == "__main__":
    main()
