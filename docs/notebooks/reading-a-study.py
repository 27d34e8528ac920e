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
# # Reading a study
#
# What `fly64 run` leaves on disk, read from Python: the cells, the scores as a table, a reconstruction as an array. The study is a very small one
# of one cell, which the first cells make; put the name of your own design and its data root into `open_study` and leave them out.
#
# `make docs` and `make docs-test` run this notebook from the top; `make test` does not: the study takes 100 s
# of processor time (`FLY64_TUTORIALS=full pytest tests/docs/test_notebooks.py -k reading`, one thread of a busy machine with two cores).

# %%
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from matplotlib import pyplot as plt

import fly64_assets as fly64

folder = Path(mkdtemp())
design = folder / "small.yaml"
design.write_text("""
name: small
dose_list: [1.0e+4]
overlap_views: {}
base: {amplitude: coins, phase: grass, object_size: 132, positions: 80}
pinn: {epochs: 1, levels: [0.3], level_iterations: 8, steps_per_epoch: 2, photon_parts: 3, folds: 1, tile: 64}
lsqml: {epochs: 8}
tv_ml: {levels: [0.3], steps: 8}
""")

# %% [markdown]
# The network gets one epoch here, and every method only a few steps: the numbers below show where things are, and not which method is good.

# %%
fly64_command = [Path(sys.executable).parent / "fly64", "--study", design, "--data-root", folder / "data"]
done = subprocess.run([*fly64_command, "run", "--jobs", "1"], cwd=folder, capture_output=True, text=True, check=False)
print(done.stdout[-400:] if done.returncode == 0 else done.stdout + done.stderr)

# %% [markdown]
# ## The cells
#
# A row for each dose, view and repeat. `fresh` means that the comparison is there and was made of the inputs and settings as they are now.

# %%
study = fly64.open_study(design, folder / "data")
study.cells()

# %% [markdown]
# ## The scores
#
# Every score of every method on both halves. A score without a value has its reason beside it. What each score says and what is good:
# [scores](../reference/metrics.md).

# %%
scores = study.scores()
test = scores[scores["split"] == "test"]
test[(test["part"] == "phase") & (test["metric"].isin(["rmse", "ssim", "frc_half_bit"]))].pivot_table(
    "value", "method", "metric"
).round(3)

# %% [markdown]
# `flat` is the uniform object, the baseline to beat; look at `rmse` first, and never at `ssim` alone.
#
# ## A reconstruction
#
# `reconstruction` returns the object with its illumination and the frames that it was found from. The file is compared with its SHA256 before it is
# read; `stale` says why it is out of date, if it is.

# %%
found = study.reconstruction("lsqml", 10_000, split="test")
print(found.label, "|", found.stale or "fresh")
fly64.show(found.object, found.coverage)

# %% [markdown]
# ## Your own score
#
# Arrays are arrays. Here the error of the phase by distance from the edge of the illuminated area: the rim is always worse.

# %%
truth = study.truth()
light = found.coverage / found.coverage.max()
phase = np.angle(found.object * truth.conj())
phase -= np.angle(np.exp(1j * phase)[light > 0.5].mean())
edges = np.geomspace(0.05, 1, 7)
error = [
    np.sqrt(np.mean(np.angle(np.exp(1j * phase[(light >= low) & (light < high)])) ** 2))
    for low, high in pairwise(edges)
]

figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
axis.semilogx(edges[1:], error, "o-")
axis.set_xlabel("illumination, part of the largest")
axis.set_ylabel("phase error [rad]")

# %% [markdown]
# The table behind the report, `report/study_metrics.csv`, holds the same scores for any other program.
