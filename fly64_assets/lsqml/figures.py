"""The picture of one reconstruction.

Belongs here: drawing. Does not belong here: numbers that are not already in the result.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np

from fly64_assets.lsqml.engine import Reconstruction


def reconstruction_figure(result: Reconstruction) -> bytes:
    """PNG of amplitude, phase, and the courses of deviance and loss."""
    from matplotlib.figure import Figure

    lit = result.coverage > 0.02 * result.coverage.max()
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    shown = np.where(lit, result.object, np.nan)[top:bottom, left:right]
    gauge = np.exp(-1j * np.angle(result.object[lit].sum()))
    figure = Figure(figsize=(14, 3.4), layout="constrained")
    axes = figure.subplots(1, 4)
    pictures = ((np.abs(shown), "amplitude", "gray"), (np.angle(shown * gauge), "phase [rad]", "cividis"))
    for axis, (picture, title, colours) in zip(axes[:2], pictures, strict=True):
        limits = np.nanpercentile(picture, (0.5, 99.5))
        extent = (float(left), float(right), float(bottom), float(top))
        image = axis.imshow(picture, cmap=colours, vmin=limits[0], vmax=limits[1], extent=extent)
        axis.set(title=title, xlabel="x [px]", ylabel="y [px]")
        figure.colorbar(image, ax=axis, shrink=0.8)
    epochs = np.arange(1, len(result.loss) + 1)
    axes[2].plot(epochs, result.deviance, label="deviance")
    axes[2].plot(epochs, result.expected, "--", label="expected if true")
    if np.isfinite(result.held_out).all():
        # Fewer photons give a smaller deviance; scaled to the first epoch it is seen beside the other.
        scale = result.deviance[0] / result.held_out[0]
        axes[2].plot(epochs, scale * result.held_out, ":", label=f"photons kept aside, x {scale:.3g}")
    axes[2].axvline(result.kept_epoch, color="0.7", lw=0.8)
    title = f"epoch {result.kept_epoch} is kept"
    axes[2].set(xlabel="epoch", ylabel="Poisson deviance per pixel", yscale="log", title=title)
    axes[2].legend(fontsize="small")
    axes[3].plot(epochs, result.loss, color="C3")
    axes[3].set(xlabel="epoch", ylabel="loss of the library", title="loss")
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return buffer.getvalue()
