# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own frames
#
# From a file of frames to a reconstruction, and an answer to "is it any good?" without a truth. The file here is a CXI file that the
# first cells write, as a beamline would; put the path of your own into `path` and leave those cells out.

# %%
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from matplotlib import pyplot as plt

import fly64_assets as fly64

folder = Path(mkdtemp())

# %% [markdown]
# ## A file as a beamline writes it
#
# Counts, a probe, a detector with a gap, positions in metres. The optics (object pixel, wavelength, distance) turn metres into pixels.

# %%
N = 32
y, x = np.mgrid[-N // 2 : N // 2, -N // 2 : N // 2]
probe = np.exp(-((np.hypot(x, y) / 8) ** 8)) * np.exp(0.03j * (x**2 + y**2))
rows, columns = np.mgrid[0:96, 0:96]
sample = np.exp(0.6j * ((rows // 12 + columns // 12) % 2))
rng = np.random.default_rng(5)
grid = np.mgrid[0:63:7, 0:63:7].reshape(2, -1) + 18.0
position_y, position_x = grid + rng.uniform(-1, 1, grid.shape)
gap = np.zeros((N, N), bool)
gap[20:22] = True

measured = fly64.simulate(sample, probe, position_x, position_y, dose=5_000, seed=7, bad_pixels=gap)
optics = {"pixel_size_m": 2.5e-8, "wavelength_m": 1.4e-10, "detector_distance_m": 1.9}
path = fly64.write(folder / "scan.cxi", measured, **optics)

# %% [markdown]
# ## Read it
#
# `read` tells the format by the content, not by the name. It refuses a file that it would have to guess about, and names what is missing:
# see [formats](../reference/formats.md).

# %%
data = fly64.read(path)
frames = data.measurement()
print(f"{frames.frames} frames of {frames.patch_size} x {frames.patch_size} pixels, object grid {frames.object_shape}")
print(f"mean counts per frame: {frames.counts().sum(axis=(1, 2)).mean():,.0f}")
print(f"bad pixels: {0 if frames.bad_pixels is None else int(frames.bad_pixels.sum())}")

# %% [markdown]
# ## Look at it
#
# Three pictures find most mistakes: the mean frame (is the beam in the middle? are there stripes of zeros?), the probe, and the positions.

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
axes[0].imshow(np.log1p(frames.counts().mean(axis=0)))
axes[0].set_title("mean frame, log")
axes[1].imshow(np.abs(frames.probe))
axes[1].set_title("probe, amplitude")
axes[2].plot(frames.x, frames.y, ".")
axes[2].set_aspect("equal")
axes[2].invert_yaxis()
axes[2].set_title("positions [px]")

# %% [markdown]
# ## Reconstruct, with a fifth of the photons kept aside

# %%
fitted, kept_aside = fly64.split_counts(frames, 0.2, seed=1)
found = {
    "LSQML": fly64.reconstruct(fitted, "lsqml", epochs=30, threads=1),
    "LSQML with TV": fly64.reconstruct(fitted, "lsqml", epochs=30, total_variation=0.3, threads=1),
    "TV-ML": fly64.reconstruct(fitted, "tv_ml", steps=24, threads=1),
}
fly64.show(found["TV-ML"].object, found["TV-ML"].coverage)

# %% [markdown]
# ## Which one is best?
#
# The object that predicts the photons best that no method has seen. `above_best` is the distance to the first row, in nats per frame;
# `error` is its standard error, and `p` says how easily chance would make it.

# %%
objects = {name: one.object for name, one in found.items()}
ranking = fly64.predict(kept_aside, objects | {"uniform": np.ones_like(found["TV-ML"].object)})
ranking.round(3)

# %% [markdown]
# ## How well could it be known?
#
# The photon floor is the phase error below which no measurement with these photons can determine single pixels. An error below it needs prior
# information, such as the smoothness that TV assumes: see [noise limits](../explanation/noise-limits.md).

# %%
limit = fly64.photon_limit(frames, found["TV-ML"].object)
print(f"photon floor of the phase: {limit['photon_floor_rad']:.3f} rad")

# %% [markdown]
# ## Hand it on
#
# A ptychodus product, a CXI file and a TIFF of amplitude and phase; other programs read them.

# %%
best = found["TV-ML"].object
for name in ("object.h5", "object.cxi", "object.tif"):
    print(fly64.write(folder / name, frames, best, **optics).name)

# %% [markdown]
# All doses, views and methods on these frames, and a report: [measured frames, from the file to the report](../tutorials/measured-frames.md).
