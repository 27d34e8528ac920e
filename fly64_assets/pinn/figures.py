"""Figures of the network's arm: the learning curve and the stitched object.

Belongs here: pictures of one training or one inference. Does not belong here: comparison with the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def save_learning_curve(path: Path, history: Sequence[Mapping[str, float]], flat_loss: float) -> None:
    """Training and validation loss by epoch, with the flat object's validation loss, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for panel, name, title in zip(
        axes,
        ("train_loss", "validation_loss"),
        ("training", "validation, on counts the network was not shown"),
        strict=True,
    ):
        panel.plot(epochs, [row[name] for row in history], color="C0" if name == "train_loss" else "C1")
        panel.set_title(title, fontsize="small")
        panel.set_xlabel("epoch")
    axes[0].set_ylabel("Poisson loss per frame")
    axes[1].axhline(flat_loss, color="0.5", linestyle="--", label="flat object")
    axes[1].legend(fontsize="small")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def save_object(path: Path, obj: NDArray[np.complexfloating], coverage: NDArray[np.floating]) -> None:
    """Amplitude and phase of an object where it was measured, cropped to that part, as PNG."""
    from matplotlib.figure import Figure

    measured = coverage > 0
    rows, columns = np.flatnonzero(measured.any(axis=1)), np.flatnonzero(measured.any(axis=0))
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else np.s_[:, :]
    phase = np.angle(obj * np.exp(-1j * np.angle((obj * coverage).sum())))
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    for axes, values, title in zip(
        figure.subplots(1, 2), (np.abs(obj), phase), ("amplitude", "phase [rad]"), strict=True
    ):
        shown = np.ma.masked_where(~measured[part], values[part])
        low, high = np.percentile(values[measured], [1, 99]) if measured.any() else (0.0, 1.0)
        image = axes.imshow(shown, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axes.set_title(title, fontsize="small")
        axes.set_axis_off()
        figure.colorbar(image, ax=axes, shrink=0.8)
    figure.savefig(path, dpi=110, metadata={"Software": None})
