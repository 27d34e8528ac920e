"""cdtools' FancyPtycho, optimised by Adam, on frames from export.py.

Probe, positions and background are known and held fixed; the object starts from ones. cdtools shifts the probe by the
fraction of a pixel in Fourier space. Runs in an environment of its own (requirements.txt); reads the CXI file with
cdtools' own reader.

Usage: OMP_NUM_THREADS=1 python run_cdtools.py [--methods "cdtools amplitude" ...] FRAMES.cxi ... FOLDER
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from cdtools.datasets import Ptycho2DDataset
from cdtools.models import FancyPtycho
from cdtools.tools.interactions import translations_to_pixel
from frames_file import Frames, Run, read_frames, write_run

SHOWN = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 60, 80, 110)
"""Passes over all frames after which the object is kept; the held-out counts choose among them."""
RATES = (0.005, 0.02)
METHODS = {"cdtools amplitude": "amplitude mse", "cdtools Poisson": "poisson nll"}


def model_of(path: Path, frames: Frames, loss: str, everything: bool) -> tuple[FancyPtycho, Ptycho2DDataset]:
    """The model with the known probe, and the data set with the counts to fit."""
    data = Ptycho2DDataset.from_cxi(path)
    counts, probe = frames.fitted(everything)
    data.patterns = torch.from_numpy(counts.astype(np.float32))
    model = FancyPtycho.from_dataset(data, loss=loss, obj_padding=4)
    model.probe.data = torch.from_numpy(probe)[None] / model.probe_norm
    for known in (model.probe, model.background, model.weights, model.translation_offsets):
        known.requires_grad = False
    return model, data


def objects(
    path: Path, frames: Frames, loss: str, rate: float, everything: bool
) -> tuple[list[float], np.ndarray, np.ndarray]:
    """Seconds and objects on the grid after every pass of SHOWN, and where cdtools' windows begin."""
    torch.manual_seed(0)
    model, data = model_of(path, frames, loss, everything)
    pixels = translations_to_pixel(model.obj_basis, data.translations) - model.min_translation
    corners = pixels.numpy()
    offset = frames.offset(corners)
    seconds, found, spent, start = [], [], 0.0, time.process_time()
    for iteration, _ in enumerate(model.Adam_optimize(SHOWN[-1], data, lr=rate, thread=False), 1):
        spent += time.process_time() - start
        if iteration in SHOWN:
            seconds.append(spent)
            found.append(frames.on_grid(model.obj.detach().numpy(), offset))
        start = time.process_time()
    return seconds, np.stack(found), corners + offset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS))
    parser.add_argument("frames", type=Path, nargs="+", metavar="FRAMES.cxi")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for path in options.frames:
        frames = read_frames(path)
        for method in options.methods:
            for rate in RATES:
                _, fitted, _ = objects(path, frames, METHODS[method], rate, everything=False)
                seconds, found, corners = objects(path, frames, METHODS[method], rate, everything=True)
                settings = f"Adam, rate {rate:g}"
                write_run(
                    options.folder, Run(path.stem, method, settings, list(SHOWN), seconds, found, fitted, corners)
                )
                print(f"{path.stem}, {method}, {settings}: {seconds[-1]:.0f} s", flush=True)


if __name__ == "__main__":
    main()
