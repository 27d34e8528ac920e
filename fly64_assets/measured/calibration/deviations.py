"""What the residual of the calibrated frames is made of: a background, or light that is not coherent.

Each is fitted to all counts beside the calibrated object and probe; the deviance says what it explains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.engines.execution import Execution
from fly64_assets.engines.process import Progress
from fly64_assets.lsqml.count_split import FITTED_FRAMES, Deviances, deviance, expected_deviance
from fly64_assets.lsqml.engine import reconstruct
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.measured.calibration.normalisation import with_probe
from fly64_assets.measured.calibration.reference import SEED, all_modes
from fly64_assets.physics.forward import patch_counts
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.probe_modes import orthogonal_modes, power_shares
from fly64_assets.physics.scan import evenly_spread

ITERATIONS: Final = 60
"""Of expectation maximisation for a background."""
MODE_EPOCHS: Final = 15
"""From the calibrated state, with one mode and with one more."""
FIRST_SHARE: Final = 0.02
"""Share of the power with which the further mode starts."""
LITTLE: Final = 0.05
"""Share of the excess deviance below which a deviation explains next to nothing of it."""


def backgrounds(obj: NDArray[np.complexfloating], measurement: Measurement) -> dict[str, Any]:
    """A constant and a smooth background, the same in all frames, beside the calibrated counts.

    Returns the deviance per measured pixel before and after each, and its expectation; ``counts`` is what each adds to
    a frame. Fitted to at most :data:`FITTED_FRAMES` frames, evenly spread over the scan.
    """
    import torch

    from fly64_assets.pinn.unrolled.model_error import fitted_background

    chosen = evenly_spread(measurement.frames, FITTED_FRAMES)
    rates = patch_counts(obj, measurement.modes, measurement.scan[chosen], measurement.intensity_scale)
    counts, bad = measurement.counts(chosen), measurement.bad_pixels
    good = np.ones(rates.shape[1:], np.bool_) if bad is None else ~bad
    constant = _constant(rates[:, good], counts[:, good])
    corner_rates, corner_counts = (
        torch.from_numpy(np.fft.ifftshift(each, axes=(-2, -1)).astype(np.float32)) for each in (rates, counts)
    )
    masked = None if bad is None else torch.from_numpy(np.fft.ifftshift(bad))
    smooth = np.fft.fftshift(
        fitted_background(corner_rates, corner_counts, ITERATIONS, bad_pixels=masked).numpy()
    ).astype(np.float64)
    before = _deviances(rates[:, good], counts[:, good])
    found = {}
    for name, added in (("constant", np.full(good.shape, constant)), ("smooth", smooth)):
        after = _deviances((rates + added)[:, good], counts[:, good])
        found[name] = _described(before, after) | {"counts": float(added[good].sum())}
    return found | {"picture": smooth}


def _constant(rates: NDArray[np.float64], counts: NDArray[np.float64]) -> float:
    """The constant that maximises the Poisson likelihood beside rates (b, k), by expectation maximisation."""
    level = max(0.05 * float(counts.mean()), 1e-12)
    for _ in range(ITERATIONS):
        level *= float((counts / np.maximum(rates + level, 1e-12)).mean())
    return level


def _deviances(rates: NDArray[np.float64], counts: NDArray[np.float64]) -> tuple[float, float]:
    return float(deviance(counts, rates).mean()), float(expected_deviance(rates).mean())


def _described(before: tuple[float, float], after: tuple[float, float]) -> dict[str, Any]:
    excess = before[0] - before[1]
    explained = (before[0] - before[1] - (after[0] - after[1])) / excess if excess > 0 else 0.0
    return {"before": before[0], "after": after[0], "expected": after[1], "explained": explained}


def further_mode(
    obj: NDArray[np.complexfloating], measurement: Measurement, execution: Execution, progress: Progress
) -> dict[str, Any]:
    """LSQML from the calibrated state, with the probe as it is and with one incoherent mode more.

    Both go on for as many epochs, so that what the mode explains is told apart from what more epochs do.
    """
    settings = LsqmlSettings(
        epochs=MODE_EPOCHS, probe="refined", stopping="epochs", noise_model="poisson", gaussian_epochs=0
    )
    more = with_probe(measurement, _with_further(all_modes(measurement)))
    runs = []
    for number, one in enumerate((measurement, more)):

        def report(done: int, total: int, values: Mapping[str, float], number: int = number) -> None:
            progress(number * total + done, 2 * total, values)

        runs.append(reconstruct(one, settings, execution, SEED, report, start=obj))
    before, after = (_pair(run.final_deviances) for run in runs)
    shares = power_shares(runs[1].probe.reshape(-1, *measurement.probe.shape))
    return _described(before, after) | {"epochs": MODE_EPOCHS, "share": float(shares[-1]), "modes": runs[1].probe}


def _pair(found: Deviances) -> tuple[float, float]:
    return found.fitted, found.expected


def _with_further(modes: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
    """Modes (M + 1, N, N): the given ones, and the strongest one times the distance from its middle, a little of it."""
    intensity = np.abs(modes[0].astype(np.complex128)) ** 2
    rows, columns = np.indices(intensity.shape)
    y, x = (float((axis * intensity).sum() / intensity.sum()) for axis in (rows, columns))
    extra = modes[0] * ((columns - x) + 1j * (rows - y))
    power, own = float((np.abs(modes) ** 2).sum()), float((np.abs(extra) ** 2).sum())
    extra = extra * np.sqrt(FIRST_SHARE * power / own)
    both: NDArray[np.complexfloating] = orthogonal_modes(
        np.concatenate([np.sqrt(1 - FIRST_SHARE) * modes, extra[None]])
    )
    return both


def sentences(found: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """One sentence for each deviation that was fitted, by its name."""
    names = {
        "constant": "a constant background",
        "smooth": "a smooth background",
        "mode": "a further incoherent mode of the probe",
    }
    return {name: _sentence(names[name], one) for name, one in found.items()}


def _sentence(name: str, one: Mapping[str, Any]) -> str:
    amount = (
        f" of {one['counts']:.4g} counts in a frame" if "counts" in one else f" with {one['share']:.2%} of its power"
    )
    share = one["explained"]
    result = (
        f"{name}{amount} changes the deviance per pixel from {one['before']:.4f} to {one['after']:.4f} "
        f"({one['expected']:.4f} expected)"
    )
    if share < LITTLE:
        return f"{result}: it explains next to nothing of the excess"
    return f"{result}: it explains {min(share, 1.0):.0%} of the excess"
