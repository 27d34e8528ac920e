"""Scores of an aligned reconstruction against the truth.

Belongs here: one function per metric, on arrays that are already aligned. Does not belong here: alignment
(``align``), correlation in Fourier space (``resolution``), and which arms and splits are scored (``compare``).

A metric without a value is a :class:`Score` with ``value`` None and the reason; no function returns NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from fly64_assets.evaluation.frame import Rectangle, no_rectangle_reason
from fly64_assets.physics.counts import RATE_FLOOR
from fly64_assets.physics.forward import patch_counts
from fly64_assets.physics.measurement import Measurement

PERFECT: Final = 1e-10
"""RMSE relative to the data range at which a match counts as perfect (rounding of a fitted factor stays below)."""

MS_SSIM_WEIGHTS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the five scales, finest first (Wang, Simoncelli and Bovik, Asilomar 2003, section 3.2)."""

LIKELIHOOD_FRAMES: Final = 128
"""Frames per block of the likelihood; the sum does not depend on it."""

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


@dataclass(frozen=True)
class Score:
    """Value of a metric, or None with the reason; a value may carry a remark in ``reason`` as well."""

    value: float | None
    reason: str | None = None


def no_score(reason: str) -> Score:
    """A metric that has no value."""
    return Score(None, reason)


@dataclass(frozen=True)
class Part:
    """One real picture of the object (its amplitude or its phase) and the same of a reconstruction.

    Attributes
    ----------
    truth, estimate : (H, W) float64
        For the phase [rad], ``estimate`` is truth + angle(reconstruction conj(truth)): wraps cost nothing.
    mask : (H, W) bool
    rectangle : Rectangle or None
    data_range : float
        Maximum less minimum of the truth over the mask.
    """

    truth: Real
    estimate: Real
    mask: NDArray[np.bool_]
    rectangle: Rectangle | None
    data_range: float

    @property
    def error(self) -> Real:
        """Estimate less truth on the evaluated pixels, (pixels,)."""
        return (self.estimate - self.truth)[self.mask]

    def windows(self) -> tuple[Real, Real]:
        """Truth and estimate in the rectangle. Raises ``ValueError`` where there is none."""
        if self.rectangle is None:
            raise ValueError(no_rectangle_reason())
        return self.truth[self.rectangle.slices], self.estimate[self.rectangle.slices]


def amplitude_part(field: Complex, truth: Complex, mask: NDArray[np.bool_], rectangle: Rectangle | None) -> Part:
    """Amplitudes |O| of truth and reconstruction."""
    picture = np.abs(truth)
    return Part(picture, np.abs(field), mask, rectangle, float(np.ptp(picture[mask])))


def phase_part(field: Complex, truth: Complex, mask: NDArray[np.bool_], rectangle: Rectangle | None) -> Part:
    """Phases [rad]; the truth's is unwrapped about its mean direction over the mask."""
    mean = complex(truth[mask].sum())
    direction = mean / abs(mean) if abs(mean) > 0 else 1.0
    picture = np.angle(truth * np.conj(direction)) + float(np.angle(direction))
    estimate = picture + np.angle(field * truth.conj())
    return Part(picture, estimate, mask, rectangle, float(np.ptp(picture[mask])))


def mae(part: Part) -> Score:
    """Mean absolute error over the mask."""
    return Score(float(np.abs(part.error).mean()))


def rmse(part: Part) -> Score:
    """Root of the mean squared error over the mask."""
    return Score(float(np.sqrt(np.mean(part.error**2))))


def psnr(part: Part) -> Score:
    """Peak signal-to-noise ratio over the mask [dB], the truth's range as peak."""
    from skimage.metrics import peak_signal_noise_ratio

    if not part.data_range > 0:
        return no_score("the truth is constant over the evaluated region, so that there is no peak")
    if _is_perfect(part):
        return no_score("perfect match: the error is zero and the ratio infinite")
    truth, estimate = part.truth[part.mask], part.estimate[part.mask]
    return Score(float(peak_signal_noise_ratio(truth, estimate, data_range=part.data_range)))


def ssim(part: Part) -> Score:
    """Structural similarity (Wang et al., IEEE Trans. Image Process. 13, 600, 2004), 7-px windows, rectangle."""
    from skimage.metrics import structural_similarity

    if part.rectangle is None:
        return no_score(no_rectangle_reason())
    if not part.data_range > 0:
        return no_score("the truth is constant over the evaluated region, so that it has no structure")
    truth, estimate = part.windows()
    return Score(float(structural_similarity(truth, estimate, win_size=7, data_range=part.data_range)))


def ms_ssim(part: Part, sigma: float) -> Score:
    """Multi-scale structural similarity in the rectangle, Gaussian windows of width ``sigma`` px.

    Contrast-structure terms at every scale, the luminance term at the coarsest (Wang, Simoncelli and Bovik, 2003,
    eq. 7); as many of the five standard scales as the rectangle holds, their weights renormalised to 1. The reason
    of the score states the number of scales. A product with a negative term has no value.
    """
    if part.rectangle is None:
        return no_score(no_rectangle_reason())
    if not part.data_range > 0:
        return no_score("the truth is constant over the evaluated region, so that it has no structure")
    truth, estimate = part.windows()
    radius = int(3.5 * sigma + 0.5)
    window = 2 * radius + 1
    scales = 0
    while scales < len(MS_SSIM_WEIGHTS) and min(truth.shape) // 2**scales >= window:
        scales += 1
    if scales == 0:
        return no_score(f"the rectangle of {truth.shape[0]} x {truth.shape[1]} px is smaller than a {window}-px window")
    weights = np.array(MS_SSIM_WEIGHTS[:scales]) / sum(MS_SSIM_WEIGHTS[:scales])
    log_value = 0.0
    for scale, weight in enumerate(weights):
        luminance, structure = _similarity_terms(truth, estimate, part.data_range, sigma, radius)
        term = float((luminance * structure).mean() if scale == scales - 1 else structure.mean())
        if term < 0:
            return no_score(f"the structure is anti-correlated at scale {scale + 1} of {scales} ({term:.3g})")
        if term == 0:
            return Score(0.0, f"{scales} scales")
        log_value += float(weight) * math.log(term)
        truth, estimate = _halved(truth), _halved(estimate)
    return Score(math.exp(log_value), f"{scales} scales")


def correlation(truth: NDArray[np.inexact], estimate: NDArray[np.inexact]) -> Score:
    """Correlation coefficient after mean subtraction, (pixels,) real or complex; of complex fields the real part.

    The global phase has been removed before, so that a phase between the fields lowers the coefficient.
    """
    a, b = truth - truth.mean(), estimate - estimate.mean()
    for field, name, whole in ((a, "truth", truth), (b, "reconstruction", estimate)):
        if np.linalg.norm(field) <= PERFECT * max(1e-300, float(np.linalg.norm(whole))):
            return no_score(f"the {name} is constant over the evaluated region")
    value = float(np.real(np.vdot(a, b)) / (np.linalg.norm(a) * np.linalg.norm(b)))
    return Score(min(1.0, max(-1.0, value)))


def nll_excess(fields: dict[str, Complex], truth: Complex, measurement: Measurement) -> dict[str, Score]:
    """Negative log-likelihood of each object less that of the truth, photon counts of all frames, per frame.

    Poisson: sum over pixels of lambda - c log lambda, with the known probe and the aligned objects. Near 0 fits the
    counts as the truth does; a negative value fits them *better* than the truth, which is fitting noise.

    Parameters
    ----------
    fields : name -> (H, W) complex128
        Aligned objects.
    truth : (H, W) complex128
    measurement : Measurement
        Frames of the split; read in blocks.
    """
    sums: dict[str, list[float]] = {name: [] for name in fields}
    scores = {
        n: no_score("the reconstruction is not finite outside the region") for n in fields if not _finite(fields[n])
    }
    for part, counts in measurement.count_blocks(LIKELIHOOD_FRAMES):
        best = _negative_log_likelihood(truth, measurement, part, counts)
        for name, field in fields.items():
            if name not in scores:
                excess = _negative_log_likelihood(field, measurement, part, counts) - best
                sums[name] += excess.tolist()
    return {n: scores.get(n) or Score(math.fsum(sums[n]) / measurement.frames) for n in fields}


def _finite(field: Complex) -> bool:
    return bool(np.all(np.isfinite(field)))


def _negative_log_likelihood(obj: Complex, measurement: Measurement, part: slice, counts: Real) -> Real:
    """Per frame (b,), up to a constant of the data."""
    m = measurement
    rates = np.maximum(patch_counts(obj, m.probe, m.x[part], m.y[part], m.intensity_scale), RATE_FLOOR)
    total: Real = (rates - counts * np.log(rates)).sum(axis=(-2, -1))
    return total


def _is_perfect(part: Part) -> bool:
    return bool(np.sqrt(np.mean(part.error**2)) <= PERFECT * part.data_range)


def _similarity_terms(truth: Real, estimate: Real, data_range: float, sigma: float, radius: int) -> tuple[Real, Real]:
    """Luminance and contrast-structure maps, without the border that the window does not fill."""

    def blur(picture: Real) -> Real:
        blurred: Real = scipy.ndimage.gaussian_filter(picture, sigma, radius=radius)
        return blurred[radius:-radius, radius:-radius]

    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_t, mean_e = blur(truth), blur(estimate)
    var_t, var_e = blur(truth**2) - mean_t**2, blur(estimate**2) - mean_e**2
    covariance = blur(truth * estimate) - mean_t * mean_e
    luminance = (2 * mean_t * mean_e + c1) / (mean_t**2 + mean_e**2 + c1)
    return luminance, (2 * covariance + c2) / (var_t + var_e + c2)


def _halved(picture: Real) -> Real:
    """Mean over blocks of 2 x 2 pixels; an odd last row or column is dropped."""
    rows, columns = (n - n % 2 for n in picture.shape)
    halved: Real = picture[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3))
    return halved
