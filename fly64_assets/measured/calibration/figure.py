"""The calibration as a picture: reference object, probe before and after, ring correlation, deviances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fly64_assets.engines.figures import draw_object, draw_picture, illuminated, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def calibration_figure(arrays: dict[str, NDArray[Any]], document: dict[str, Any]) -> bytes:
    """PNG of what ``calibration.npz`` holds and ``calibration.json`` says."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6.4), layout="constrained")
    axes = figure.subplots(2, 4)
    coverage = arrays["coverage"]
    draw_object(figure, axes[0, :2], arrays["object"], illuminated(coverage))
    for axis, name, title in ((axes[0, 2], "first_probe", "probe of the file"), (axes[0, 3], "probe", "probe as used")):
        modes = arrays[name].reshape(-1, *arrays[name].shape[-2:])
        side = modes.shape[-1]
        draw_picture(axis, np.abs(modes[0]), "gray", (0, side, side, 0))
        axis.set_title(f"{title}, amplitude", fontsize=9)
    _epochs(axes[1, 0], arrays, document)
    _rings(axes[1, 1], document.get("halves"))
    _orientations(axes[1, 2], document.get("orientations"))
    background = arrays["background"]
    side = background.shape[-1]
    image = draw_picture(axes[1, 3], background, "cividis", (0, side, side, 0))
    axes[1, 3].set(xlabel="detector column", ylabel="detector row")
    axes[1, 3].set_title("smooth background [counts per pixel]", fontsize=9)
    figure.colorbar(image, ax=axes[1, 3], shrink=0.85)
    return png(figure, dpi=90)


def _epochs(axis: Axes, arrays: dict[str, NDArray[Any]], document: dict[str, Any]) -> None:
    deviance = arrays["deviance"]
    axis.set(xlabel="epoch", ylabel="deviance per pixel")
    if not len(deviance):
        axis.set_title("taken from the file: no epochs", fontsize=9)
        return
    epochs = np.arange(1, len(deviance) + 1)
    axis.plot(epochs, deviance, label="fitted counts")
    axis.plot(epochs, arrays["expected_deviance"], "--", label="expected")
    axis.plot(epochs, arrays["held_out_deviance"], ":", label="counts kept aside")
    axis.axvline(document["kept_epoch"], color="0.7", lw=0.8)
    axis.set_yscale("log")
    axis.set_title(f"epoch {document['kept_epoch']} is kept", fontsize=9)
    axis.legend(fontsize=7)


def _rings(axis: Axes, halves: dict[str, Any] | None) -> None:
    axis.set(xlabel="spatial frequency [1/px]", ylabel="ring correlation")
    axis.set_title("two halves of the frames", fontsize=9)
    if halves and halves["frc"].get("correlation"):
        curve = halves["frc"]
        axis.plot(curve["frequency_per_px"], curve["correlation"])
        axis.plot(curve["frequency_per_px"], curve["half_bit"], "k--", lw=0.8, label="half-bit")
        axis.legend(fontsize=7)


def _orientations(axis: Axes, orientations: dict[str, Any] | None) -> None:
    axis.set_title("orientation of the frames", fontsize=9)
    found = (orientations or {}).get("held_out_deviance_per_pixel") or {}
    axis.barh(list(found), list(found.values()), color="0.5")
    axis.invert_yaxis()
    axis.tick_params(labelsize=7)
    axis.set_xlabel("deviance per pixel of kept-aside counts")
