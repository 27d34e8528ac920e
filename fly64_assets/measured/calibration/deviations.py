"""What the residual of the calibrated frames is made of: a background, or light that is not coherent.

Each is fitted to all counts beside the calibrated object and probe; the deviance says what it explains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.evaluation.counts.background import fitted_background
from fly64_assets.lsqml.count_split import FITTED_FRAMES, deviance, expected_deviance
from fly64_assets.measured.calibration.reference import all_modes
from fly64_assets.physics.counts import RATE_FLOOR
from fly64_assets.physics.forward import patch_counts
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.probe_modes import orthogonal_modes, power_shares
from fly64_assets.physics.scan import evenly_spread
from fly64_assets.physics.windows import read

ITERATIONS: Final = 60
"""Of expectation maximisation for a background, and of L-BFGS for modes."""
FITTED_PIXELS: Final = 2**21
"""Detector pixels of the frames to which modes are fitted, and at least :data:`LEAST_FRAMES`."""
LEAST_FRAMES: Final = 32
FIRST_SHARE: Final = 0.02
"""Share of the power with which the further mode starts."""
LITTLE: Final = 0.05
"""Share of the excess deviance below which a deviation explains next to nothing of it."""
LEAST_EXCESS: Final = 0.02
"""Excess deviance over its expectation below which there is none to explain."""


def backgrounds(obj: NDArray[np.complexfloating], measurement: Measurement) -> dict[str, Any]:
    """A constant and a smooth background, the same in all frames, beside the calibrated counts.

    Returns the deviance per measured pixel before and after each, and its expectation; ``counts`` is what each adds to
    a frame. Fitted to at most :data:`FITTED_FRAMES` frames, evenly spread over the scan.
    """
    chosen = evenly_spread(measurement.frames, FITTED_FRAMES)
    rates = patch_counts(obj, measurement.modes, measurement.scan[chosen], measurement.intensity_scale)
    counts, bad = measurement.counts(chosen), measurement.bad_pixels
    good = np.ones(rates.shape[1:], np.bool_) if bad is None else ~bad
    constant = _constant(rates[:, good], counts[:, good])
    smooth = fitted_background(rates, counts, bad)
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
    """Deviances, and the part of the excess over the expectation that is explained; None without an excess."""
    excess, left = before[0] - before[1], after[0] - after[1]
    explained = min(max(1 - left / excess, 0.0), 1.0) if excess > LEAST_EXCESS * before[1] else None
    return {"before": before[0], "after": after[0], "expected": after[1], "explained": explained}


def further_mode(obj: NDArray[np.complexfloating], measurement: Measurement) -> dict[str, Any]:
    """One incoherent mode of the probe more, beside the calibrated object.

    The probe as it is and the probe with the further mode are fitted to the counts alike (maximum Poisson likelihood by
    L-BFGS), so that what the mode explains is told apart from what another fit does. The object stays: what partial
    coherence has done to it is not undone, and the share of the mode is a lower bound. (LSQML moves a weak mode too
    slowly: from 2 % of the power it had found nothing of a mode with 10 % in 40 epochs.)
    """
    most = max(LEAST_FRAMES, FITTED_PIXELS // measurement.patch_size**2)
    chosen = evenly_spread(measurement.frames, min(FITTED_FRAMES, most))
    counts = measurement.counts(chosen)
    patches = read(obj.astype(np.complex64), measurement.scan[chosen]).astype(np.complex64)
    modes = all_modes(measurement) * measurement.intensity_scale
    bad = measurement.bad_pixels
    before, _ = _fitted_probe(modes, patches, counts, bad)
    after, found = _fitted_probe(_with_further(modes), patches, counts, bad)
    ordered = orthogonal_modes(found)
    return _described(before, after) | {
        "share": float(power_shares(ordered)[-1]),
        "modes": (ordered / measurement.intensity_scale).astype(np.complex64),
    }


def _fitted_probe(
    modes: NDArray[np.complexfloating],
    patches: NDArray[np.complex64],
    counts: NDArray[np.float64],
    bad: NDArray[np.bool_] | None,
) -> tuple[tuple[float, float], NDArray[np.complexfloating]]:
    """Deviance and its expectation, and the modes (M, N, N) in roots of photons, of the largest Poisson likelihood."""
    import torch

    good = np.fft.ifftshift(np.ones(counts.shape[1:], np.bool_) if bad is None else ~bad)
    measured = torch.from_numpy(np.fft.ifftshift(counts, axes=(-2, -1))[:, good].astype(np.float32))
    windows, mask = torch.from_numpy(patches), torch.from_numpy(good)
    probe = torch.from_numpy(modes.astype(np.complex64)).requires_grad_()

    def rates() -> torch.Tensor:
        fields = [torch.fft.fft2(windows * mode, norm="ortho")[:, mask] for mode in probe]
        return torch.stack([field.real.square() + field.imag.square() for field in fields]).sum(0)

    def loss() -> torch.Tensor:
        minimiser.zero_grad()
        expected = rates() + RATE_FLOOR
        total = (expected - measured * torch.log(expected)).mean(dtype=torch.float64)
        total.backward()  # type: ignore[no-untyped-call]
        return total

    # The unit of length of the first step is the root of the photons of a pixel.
    minimiser = torch.optim.LBFGS(
        [probe], max_iter=ITERATIONS, history_size=10, line_search_fn="strong_wolfe", tolerance_change=1e-12
    )
    minimiser.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        found = rates().double().numpy()
    return _deviances(found, measured.double().numpy()), probe.detach().numpy()


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
    if share is None:
        return f"{name}: the deviance per pixel, {one['before']:.4f} without it, has no excess that it could explain"
    result = (
        f"{name}{amount} changes the deviance per pixel from {one['before']:.4f} to {one['after']:.4f} "
        f"({one['expected']:.4f} expected)"
    )
    if share < LITTLE:
        return f"{result}: it explains next to nothing of the excess"
    return f"{result}: it explains {share:.0%} of the excess"
