"""Scores of an aligned reconstruction against the truth.

Belongs here: one function per metric, on fields that are already aligned. Does not belong here: correlation in Fourier
space (``resolution``), and which methods and splits are scored (``compare``).

A metric without a value is a :class:`Score` with ``value`` None and the reason; no function returns NaN.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy
from numpy.typing import NDArray

from fly64_assets.evaluation.scores.bands import (
    Complex,
    Field,
    Moments,
    Pictures,
    bands,
    cropped,
    masked_bands,
    masked_moments,
    rows_of,
)
from fly64_assets.evaluation.scores.region import LEAST_RECTANGLE_PX, NO_RECTANGLE, Rectangle
from fly64_assets.physics.counts import negative_log_likelihood
from fly64_assets.physics.forward import blocks, patch_counts
from fly64_assets.physics.measurement import Measurement

PERFECT: Final = 1e-10
"""RMSE relative to the data range at which a match counts as perfect (rounding of a fitted factor stays below)."""

MS_SSIM_WEIGHTS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the five scales, finest first (Wang, Simoncelli and Bovik, Asilomar 2003, section 3.2)."""

LIKELIHOOD_FRAMES: Final = 128
"""Frames per block of the likelihood; the sum does not depend on it."""

Real = NDArray[np.float64]


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

    ``pictures`` gives truth and estimate on a slice of rows, (rows, W) float64 each. For the phase [rad] the estimate
    is truth + angle(reconstruction conj(truth)), so that phase wraps do not count as errors. ``data_range`` is the
    maximum less the minimum of the truth over the mask (H, W).
    """

    pictures: Pictures
    mask: NDArray[np.bool_]
    rectangle: Rectangle | None
    data_range: float

    @functools.cached_property
    def moments(self) -> Moments:
        """Sums over the evaluated pixels."""
        return masked_moments(self.pictures, self.mask)

    def windows(self) -> tuple[Pictures, tuple[int, int]] | str:
        """Truth and estimate in the rectangle, by rows of it, and its shape; or why they have no similarity."""
        if self.rectangle is None:
            return NO_RECTANGLE
        if not self.data_range > 0:
            return "the truth is constant over the evaluated region, so that it has no structure"
        return cropped(self.pictures, self.rectangle), (self.rectangle.height, self.rectangle.width)


def amplitude_part(field: Field, truth: Field, mask: NDArray[np.bool_], rectangle: Rectangle | None) -> Part:
    """Amplitudes |O| of truth and reconstruction (H, W)."""

    def pictures(part: slice) -> tuple[Real, Real]:
        return np.abs(rows_of(truth, part)), np.abs(rows_of(field, part))

    return Part(pictures, mask, rectangle, _range(lambda part: np.abs(rows_of(truth, part)), mask))


def phase_part(field: Field, truth: Field, mask: NDArray[np.bool_], rectangle: Rectangle | None) -> Part:
    """Phases [rad] of truth and reconstruction (H, W).

    The truth's phase is taken relative to the phase of its sum over the mask, so that the branch cut lies opposite.

    Examples
    --------
    A phase that is 0.1 rad off on every other column:

    >>> truth = np.exp(1j * np.linspace(0, 1, 32) * np.ones((32, 1)))
    >>> estimate = truth * np.exp(0.1j * (np.arange(32) % 2))
    >>> part = phase_part(estimate, truth, np.ones((32, 32), bool), Rectangle(0, 0, 32, 32))
    >>> round(rmse(part).value, 6) == round(0.1 / 2**0.5, 6), round(mae(part).value, 6)
    (True, 0.05)
    >>> bool(ssim(part).value < 1)
    True
    """
    mean = sum((complex(rows_of(truth, part)[mask[part]].sum()) for part in masked_bands(mask)), 0j)
    direction = mean / abs(mean) if abs(mean) > 0 else 1.0 + 0j

    def unwrapped(known: NDArray[np.complex128]) -> Real:
        picture: Real = np.angle(known * np.conj(direction)) + float(np.angle(direction))
        return picture

    def pictures(part: slice) -> tuple[Real, Real]:
        known = rows_of(truth, part)
        picture = unwrapped(known)
        return picture, picture + np.angle(rows_of(field, part) * known.conj())

    return Part(pictures, mask, rectangle, _range(lambda part: unwrapped(rows_of(truth, part)), mask))


def mae(part: Part) -> Score:
    """Mean absolute error over the mask."""
    return Score(part.moments.absolute_error / part.moments.pixels)


def rmse(part: Part) -> Score:
    """Root of the mean squared error over the mask, in the part's unit.

    Examples
    --------
    >>> truth = np.ones((8, 8), complex)
    >>> rmse(amplitude_part(truth + 0.25, truth, np.ones((8, 8), bool), None))
    Score(value=0.25, reason=None)
    """
    return Score(math.sqrt(part.moments.squared_error / part.moments.pixels))


def psnr(part: Part) -> Score:
    """Peak signal-to-noise ratio over the mask [dB], the truth's range as peak."""
    if not part.data_range > 0:
        return no_score("the truth is constant over the evaluated region, so that there is no peak")
    error = math.sqrt(part.moments.squared_error / part.moments.pixels)
    if error <= PERFECT * part.data_range:
        return no_score("perfect match: the error is zero and the ratio infinite")
    return Score(20 * math.log10(part.data_range / error))


def ssim(part: Part) -> Score:
    """Structural similarity in the rectangle, means over 7-px windows that lie inside it.

    Wang et al., IEEE Trans. Image Process. 13, 600, 2004, eq. 13; the data range is the truth's over the mask.

    Examples
    --------
    >>> truth = 1 + 0.1 * np.random.default_rng(1).normal(size=(16, 16)) + 0j
    >>> whole = Rectangle(0, 0, 16, 16)
    >>> round(ssim(amplitude_part(truth, truth, np.ones((16, 16), bool), whole)).value, 12)
    1.0
    >>> ssim(amplitude_part(truth, truth, np.ones((16, 16), bool), None)).reason
    'the evaluated region holds no rectangle of 7 x 7 px'
    """
    from skimage.metrics import structural_similarity

    windows = part.windows()
    if isinstance(windows, str):
        return no_score(windows)
    pictures, shape = windows
    border, total = LEAST_RECTANGLE_PX // 2, 0.0
    inside = (shape[0] - 2 * border, shape[1] - 2 * border)
    for rows in bands(inside):
        pair = pictures(slice(rows.start, rows.stop + 2 * border))
        similar = structural_similarity(*pair, win_size=LEAST_RECTANGLE_PX, data_range=part.data_range, full=True)[1]
        total += float(similar[border:-border, border:-border].sum())
    return Score(total / (inside[0] * inside[1]))


def ms_ssim(part: Part, sigma: float) -> Score:
    """Multi-scale structural similarity in the rectangle, Gaussian windows of width ``sigma`` px.

    Contrast-structure terms at every scale, the luminance term at the coarsest (Wang, Simoncelli and Bovik, 2003,
    eq. 7); as many of the five standard scales as the rectangle holds, their weights renormalised to 1. The reason
    of the score states the number of scales. A product with a negative term has no value.
    """
    windows = part.windows()
    if isinstance(windows, str):
        return no_score(windows)
    pictures, shape = windows
    radius = int(3.5 * sigma + 0.5)
    window = 2 * radius + 1
    scales = sum(min(shape) // 2**scale >= window for scale in range(len(MS_SSIM_WEIGHTS)))
    if scales == 0:
        return no_score(f"the rectangle of {shape[0]} x {shape[1]} px is smaller than a {window}-px window")
    weights = np.array(MS_SSIM_WEIGHTS[:scales]) / sum(MS_SSIM_WEIGHTS[:scales])
    log_value = 0.0
    for scale, weight in enumerate(weights):
        structure, both, halved = _scale(pictures, shape, part.data_range, sigma, radius)
        term = both if scale == scales - 1 else structure
        if term < 0:
            return no_score(f"the structure is anti-correlated at scale {scale + 1} of {scales} ({term:.3g})")
        if term == 0:
            return Score(0.0, f"{scales} scales")
        log_value += float(weight) * math.log(term)
        pictures, shape = functools.partial(_rows, halved), (halved[0].shape[0], halved[0].shape[1])
    return Score(math.exp(log_value), f"{scales} scales")


def correlation(moments: Moments) -> Score:
    """Correlation coefficient after mean subtraction, real or complex; of complex fields the real part.

    The global phase has been removed before, so that a phase between the fields lowers the coefficient.
    """
    for centred, power, name in zip(moments.centred, moments.power, ("truth", "reconstruction"), strict=True):
        if math.sqrt(centred) <= PERFECT * max(1e-300, math.sqrt(power)):
            return no_score(f"the {name} is constant over the evaluated region")
    value = moments.common / (math.sqrt(moments.centred[0]) * math.sqrt(moments.centred[1]))
    return Score(min(1.0, max(-1.0, value)))


def _range(picture: Callable[[slice], Real], mask: NDArray[np.bool_]) -> float:
    """Maximum less minimum over a mask."""
    ends = [(float(v.min()), float(v.max())) for part in masked_bands(mask) for v in [picture(part)[mask[part]]]]
    return max(high for _, high in ends) - min(low for low, _ in ends)


def _rows(pair: tuple[Real, Real], part: slice) -> tuple[Real, Real]:
    return pair[0][part], pair[1][part]


def _scale(
    pictures: Pictures, shape: tuple[int, int], data_range: float, sigma: float, radius: int
) -> tuple[float, float, tuple[Real, Real]]:
    """Mean terms of one scale, contrast-structure alone and times luminance, and both pictures for the next."""
    halved = (np.empty((shape[0] // 2, shape[1] // 2)), np.empty((shape[0] // 2, shape[1] // 2)))
    structure, both = 0.0, 0.0
    # In bands of an even number of rows, two at least, for halving averages pairs of rows; each band is read with the
    # rows below it that its last windows need.
    for pairs in bands((halved[0].shape[0], 2 * shape[1])):
        last = pairs.stop == halved[0].shape[0]
        start, stop = 2 * pairs.start, shape[0] if last else 2 * pairs.stop
        pair = pictures(slice(start, min(stop + 2 * radius, shape[0])))
        for small, picture in zip(halved, pair, strict=True):
            # An odd last row or column is dropped.
            square = picture[: 2 * (pairs.stop - pairs.start), : 2 * small.shape[1]]
            small[pairs] = square.reshape(pairs.stop - pairs.start, 2, small.shape[1], 2).mean(axis=(1, 3))
        if len(pair[0]) > 2 * radius:
            luminance, terms = _similarity_terms(*pair, data_range, sigma, radius)
            structure += float(terms.sum())
            both += float((luminance * terms).sum())
    count = (shape[0] - 2 * radius) * (shape[1] - 2 * radius)
    return structure / count, both / count, halved


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


def nll_excess(fields: Mapping[str, Field], truth: Field, m: Measurement) -> dict[str, Score]:
    """Negative log-likelihood of each object less that of the truth, photon counts of all frames, per frame.

    Poisson: sum over the measured pixels of lambda - c log lambda, with the known probe and the aligned objects; bad
    pixels do not count. Near 0 fits the counts as the truth does; a negative value fits them *better* than the truth,
    which is fitting noise.

    Frames are read in blocks of neighbours, so that each block needs few rows of the aligned objects (H, W).
    """
    sums: dict[str, list[float]] = {name: [] for name in fields}
    scores = {
        name: no_score("the reconstruction is not finite outside the region")
        for name, field in fields.items()
        if not all(np.all(np.isfinite(rows_of(field, part))) for part in bands(m.object_shape))
    }
    order = np.argsort(m.y, kind="stable")
    for block in blocks(m.frames, LIKELIHOOD_FRAMES):
        frames = np.sort(order[block])
        rows, counts = object_rows(m, frames), m.counts(frames)
        of_truth = _negative_log_likelihood(rows_of(truth, rows), m, frames, rows.start, counts)
        for name, field in fields.items():
            if name not in scores:
                excess = _negative_log_likelihood(rows_of(field, rows), m, frames, rows.start, counts) - of_truth
                sums[name] += excess.tolist()
    return {n: scores.get(n) or Score(math.fsum(sums[n]) / m.frames) for n in fields}


def object_rows(m: Measurement, frames: NDArray[np.int64]) -> slice:
    """Rows of the object that these frames' windows touch, at least one."""
    half, height = m.patch_size // 2, m.object_shape[0]
    y = np.floor(m.y[frames])
    top = int(np.clip(y.min() - half, 0, height - 1))
    return slice(top, int(np.clip(y.max() + half + 1, top + 1, height)))


def _negative_log_likelihood(rows: Complex, m: Measurement, frames: NDArray[np.int64], top: int, counts: Real) -> Real:
    """Per frame (b,), up to a constant of the data; ``rows`` of the object from ``top`` on."""
    scan = m.scan[frames].on((top, 0), (rows.shape[0], rows.shape[1]))
    return negative_log_likelihood(patch_counts(rows, m.modes, scan, m.intensity_scale), counts, m.bad_pixels)
