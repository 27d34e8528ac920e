"""The health of a calibrated probe beside the first one: amplitude, phase, far field, and the power at the borders.

Does not belong here: how the probe was found, and what else the calibration found (``calibration``).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.engines.figures import draw_picture, png
from fly64_assets.evaluation.report.figures import PREVIEW_BYTES, new_figure
from fly64_assets.physics.forward import expected_counts
from fly64_assets.physics.illumination import probe_diameter_px

BORDER: Final = 1 / 16
"""Width of a border over the side of the window, on each side."""
DARK: Final = 0.02
"""Amplitude over the largest below which a phase is not drawn."""
TITLES: Final = ("first probe", "calibrated probe")


def in_counts(
    first: NDArray[np.complexfloating], calibrated: NDArray[np.complexfloating], photons: float
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Both probes in the unit in which the sum of |P|^2 of the calibrated one is the mean ``photons`` of a frame.

    Examples
    --------
    >>> one, other = in_counts(np.ones((2, 2)), 2 * np.ones((2, 2)), 400.0)
    >>> float((abs(one) ** 2).sum()), float((abs(other) ** 2).sum())
    (100.0, 400.0)
    """
    unit = np.sqrt(photons / (np.abs(calibrated.astype(np.complex128)) ** 2).sum())
    return first * np.complex128(unit), calibrated * np.complex128(unit)


def probe_health(first: NDArray[np.complexfloating], calibrated: NDArray[np.complexfloating]) -> dict[str, Any]:
    """Numbers on both probes, (N, N) or (M, N, N), in the unit in which the sum of |P|^2 is counts of a frame.

    For each: photons through the probe, diameter of the disc that holds half of them [px], and shares of the power in
    the border of the window (one sixteenth of its side wide: a probe that does not fit wraps around there) and in the
    border of its far field (a detector that is too small cuts it there); and the root mean square difference of the
    strongest modes relative to the first one's, without a common phase and factor.
    """
    probes = {name: _numbers(_modes(probe)) for name, probe in (("first", first), ("calibrated", calibrated))}
    one, other = _modes(first)[0].ravel(), _modes(calibrated)[0].ravel()
    overlap = abs(np.vdot(one, other)) / (np.linalg.norm(one) * np.linalg.norm(other))
    return probes | {"difference": float(np.sqrt(max(0.0, 1 - min(1.0, overlap) ** 2)))}


def _numbers(modes: NDArray[np.complex128]) -> dict[str, float]:
    intensity, far = (np.abs(modes) ** 2).sum(axis=0), _far_field(modes)
    return {
        "photons": float(intensity.sum()),
        "diameter_px": probe_diameter_px(modes),
        "modes": len(modes),
        "power_in_window_border": _border_share(intensity),
        "power_in_far_field_border": _border_share(far),
    }


def _border_share(intensity: NDArray[np.float64]) -> float:
    width = max(1, round(BORDER * len(intensity)))
    return float(1 - intensity[width:-width, width:-width].sum() / intensity.sum())


def probe_figure(first: NDArray[np.complexfloating], calibrated: NDArray[np.complexfloating]) -> bytes:
    """Amplitude, phase and far field of both probes (N, N) or (M, N, N), strongest mode, and profiles; under 200 kB.

    Amplitudes share a scale, and so do the far fields, which are of all modes.
    """
    from matplotlib.colors import LogNorm

    probes = [_modes(probe) for probe in (first, calibrated)]
    amplitudes = [np.abs(modes[0]) for modes in probes]
    fars = [_far_field(modes) for modes in probes]
    brightest = max(float(far.max()) for far in fars)
    norm = LogNorm(brightest * 1e-6, brightest)
    figure = new_figure(11.4, 5.4)
    axes = figure.subplots(2, 4, width_ratios=[1, 1, 1, 1.15])
    for row, title, amplitude, modes, far in zip(axes, TITLES, amplitudes, probes, fars, strict=True):
        side = len(amplitude)
        extent = (0, side, side, 0)
        image = draw_picture(row[0], amplitude, "gray", extent, vmin=0, vmax=max(float(a.max()) for a in amplitudes))
        figure.colorbar(image, ax=row[0], shrink=0.8).ax.tick_params(labelsize=7)
        # The phase of the brightest part is zero: a global phase is arbitrary.
        relative = modes[0] * np.exp(-1j * np.angle((modes[0] * amplitude).sum()))
        phase = np.where(amplitude > DARK * amplitude.max(), np.angle(relative), np.nan)
        image = draw_picture(row[1], phase, "twilight", extent, vmin=-np.pi, vmax=np.pi)
        figure.colorbar(image, ax=row[1], shrink=0.8).ax.tick_params(labelsize=7)
        image = draw_picture(row[2], np.maximum(far, brightest * 1e-6), "cividis", extent, norm=norm)
        figure.colorbar(image, ax=row[2], shrink=0.8).ax.tick_params(labelsize=7)
        row[2].set(xlabel="detector column", ylabel="detector row")
        for axis, quantity in zip(row, ("amplitude", "phase [rad]", "far field [counts]"), strict=False):
            axis.set_title(f"{title}: {quantity}", fontsize=8)
    for axis, pictures, label in (
        (axes[0][3], [a**2 for a in amplitudes], "intensity at this radius [counts / px]"),
        (axes[1][3], fars, "far field at this radius [counts / px]"),
    ):
        for picture, title, style in zip(pictures, TITLES, ("--", "-"), strict=True):
            radius, mean = _radial(picture)
            axis.plot(radius, np.maximum(mean, 1e-12 * mean.max()), style, label=title, linewidth=1.2)
        axis.set_yscale("log")
        top = max(float(_radial(picture)[1].max()) for picture in pictures)
        axis.set_ylim(top * 1e-6, top * 2)
        axis.set_xlabel("distance from the middle [px]", fontsize=7)
        axis.set_title(label, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(True, alpha=0.25)
        axis.legend(fontsize=7)
    return png(figure, max_bytes=PREVIEW_BYTES)


def _modes(probe: NDArray[np.complexfloating]) -> NDArray[np.complex128]:
    return probe.reshape(-1, *probe.shape[-2:]).astype(np.complex128)


def _far_field(modes: NDArray[np.complex128]) -> NDArray[np.float64]:
    far: NDArray[np.float64] = expected_counts(modes, 1.0).sum(axis=0)
    return far


def _radial(picture: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over rings one pixel wide about the middle (N/2, N/2), up to half of the side."""
    rows, columns = np.indices(picture.shape) - len(picture) // 2
    ring = np.rint(np.hypot(rows, columns)).astype(np.int64).ravel()
    mean = np.bincount(ring, picture.ravel()) / np.bincount(ring)
    inside = len(picture) // 2
    return np.arange(inside, dtype=np.float64), mean[:inside]
