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
# # First look
#
# Frames of a known object are simulated at two doses, reconstructed by two methods, and judged. Everything is arrays in memory:
# no study, no Dagster, no file. It takes some ten seconds on one core.

# %%
import numpy as np
from matplotlib import pyplot as plt

import fly64_assets as fly64

# %% [markdown]
# ## An object, a probe, a scan
#
# The object transmits light: its absolute value is the amplitude, its angle the phase in rad. The probe is a disc of light with a
# curved wave front, as a zone plate out of focus makes it. Positions are the centres of windows, in pixels of the object; neighbours
# are 7 px apart, and the disc is 16 px wide, so that neighbouring discs overlap by more than half of their width.

# %%
N = 32
y, x = np.mgrid[-N // 2 : N // 2, -N // 2 : N // 2]
radius = np.hypot(x, y)
probe = np.exp(-((radius / 8) ** 8)) * np.exp(0.03j * radius**2)

rows, columns = np.mgrid[0:104, 0:104]
stripes = (np.hypot(rows - 52, columns - 52) % 20 < 10).astype(float)
truth = (0.8 + 0.2 * stripes) * np.exp(0.8j * stripes)

rng = np.random.default_rng(3)
grid = np.mgrid[0:70:7, 0:70:7].reshape(2, -1) + 18.0
position_y, position_x = grid + rng.uniform(-1, 1, grid.shape)

fly64.show(truth)

# %% [markdown]
# ## Frames
#
# The dose is the expected number of photons in a frame. `simulate` draws Poisson counts; what it returns does not hold the object.

# %%
frames = {dose: fly64.simulate(truth, probe, position_x, position_y, dose=dose, seed=1) for dose in (300, 10_000)}

figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
for axis, (dose, measured) in zip(axes, frames.items(), strict=True):
    picture = axis.imshow(np.log1p(measured.counts()[44]))
    axis.set_title(f"one frame, {dose:,} photons")
    figure.colorbar(picture, label="log(1 + counts)")

# %% [markdown]
# ## Two methods
#
# `lsqml` is the iterative solver of pty-chi as the studies use it; `tv_ml` is regularised maximum likelihood, which prefers objects of
# uniform pieces. Both see the counts, the probe and the positions, and nothing else.

# %%
found = {
    (dose, method): fly64.reconstruct(measured, method, seed=1, threads=1, **settings)
    for dose, measured in frames.items()
    for method, settings in {"lsqml": {"epochs": 30}, "tv_ml": {"steps": 24}}.items()
}

figure, axes = plt.subplots(2, 3, figsize=(8, 5.4), layout="constrained")
for line, dose in zip(axes, frames, strict=True):
    pictures = {"truth": truth} | {method: found[dose, method].object for method in ("lsqml", "tv_ml")}
    for axis, (name, obj) in zip(line, pictures.items(), strict=True):
        phase = np.angle(obj * np.exp(-1j * np.angle((obj * truth.conj())[30:74, 30:74].sum())))
        axis.imshow(phase, vmin=-0.3, vmax=1.1)
        axis.set_title(name if name == "truth" else f"{name}, {dose:,} photons")
        axis.set_axis_off()

# %% [markdown]
# ## How good are they?
#
# `judge` removes what no measurement can know (a global factor, a shift), and scores on the pixels that the frames illuminate. A uniform
# object, `flat`, is scored beside the methods: an error that is not clearly smaller says nothing.

# %%
errors = {}
for dose, measured in frames.items():
    objects = {method: found[dose, method].object for method in ("lsqml", "tv_ml")}
    scores = fly64.judge(measured, objects, truth)
    phase = scores[(scores["part"] == "phase") & (scores["metric"] == "rmse")]
    errors[f"{dose:,} photons"] = phase.set_index("method")["value"]

import pandas as pd  # noqa: E402

table = pd.DataFrame(errors).rename_axis("phase RMSE [rad]")
table.round(3)

# %% [markdown]
# ## Without a truth
#
# Of measured frames the truth is not known. Then some photons are kept aside, each with the probability 0.2, and the object that was
# found from the others has to predict them. The smallest negative log-likelihood is the best prediction; `p` is the probability that
# two equally good objects differ as much by chance.

# %%
fitted, kept_aside = fly64.split_counts(frames[10_000], 0.2, seed=2)
objects = {
    "lsqml": fly64.reconstruct(fitted, "lsqml", epochs=30, seed=1, threads=1).object,
    "tv_ml": fly64.reconstruct(fitted, "tv_ml", steps=24, seed=1, threads=1).object,
    "uniform": np.ones_like(truth),
}
fly64.predict(kept_aside, objects).round(3)

# %% [markdown]
# ## What to read next
#
# The same with your own frames: [your own frames](your-own-frames.py). A whole study, with doses, views and a report:
# [the first study](../tutorials/first-study.md). What the numbers mean: [scores](../reference/metrics.md).
