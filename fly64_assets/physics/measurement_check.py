"""What a measurement must fulfil before an engine gets it, a network or an iterative one.

Engines turn most invalid input into NaN or wrong results without an error, so that it is refused here, in one
sentence: what was found, where, and what was expected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from fly64_assets.errors import EngineError
from fly64_assets.physics.forward import blocks
from fly64_assets.physics.measurement import Measurement
from fly64_assets.physics.pages import release_pages
from fly64_assets.physics.probe_modes import MODES_AXES, orthogonal_modes, power_shares

FRAMES_AT_A_TIME = 256


def checked(measurement: Measurement, *, modes: bool = False) -> Measurement:
    """The measurement as engines work on it, with a normalised probe (:meth:`Measurement.normalised`).

    ``modes`` says that the method can use several incoherent modes of a probe; others refuse them.
    What an engine would silently turn into wrong results is refused. Raises :class:`EngineError`.
    """
    _refuse(measurement, _shapes)
    if not modes:
        _refuse(measurement, _single_mode)
    _refuse(measurement, _mask, _probe, _positions, _frames)
    return measurement.normalised()


def check_scan(measurement: Measurement) -> None:
    """Refuse windows that leave the object, and positions that are all the same. Raises :class:`EngineError`."""
    _refuse(measurement, _scan)


def _refuse(measurement: Measurement, *checks: Callable[[Measurement], Iterator[str]]) -> None:
    for check in checks:
        for problem in check(measurement):
            raise EngineError(f"{problem}; nothing was computed")


def one_mode_problem(modes: NDArray[np.complexfloating], method: str = "this method") -> str:
    """Why a method that knows one mode cannot take a probe of several modes (M, N, N); empty for one mode (N, N)."""
    if modes.ndim != MODES_AXES or not (np.isfinite(modes).all() and modes.any()):
        return ""
    share = power_shares(orthogonal_modes(modes))[0]
    return (
        f"the probe has {len(modes)} incoherent modes, and {method} knows one: the strongest orthogonal one holds "
        f"{share:.1%} of the power; --probe-mode 0 at the import takes it alone"
    )


def _single_mode(m: Measurement) -> Iterator[str]:
    if problem := one_mode_problem(m.modes):
        yield problem


def _shapes(m: Measurement) -> Iterator[str]:
    if m.frames == 0:
        yield "the measurement holds no frames"
    if m.probe.ndim != 2 or m.probe.shape[0] != m.probe.shape[1]:
        yield f"the probe has the shape {m.probe.shape}; expected (N, N)"
    if m.further_modes is not None and m.further_modes.shape[1:] != m.probe.shape:
        yield f"the further modes have the shape {m.further_modes.shape}; expected (M - 1, N, N) like the probe"
    expected = (m.frames, *m.probe.shape)
    if m.amplitude.shape != expected:
        yield f"the frames have the shape {m.amplitude.shape}; {m.frames} positions and this probe need {expected}"
    if len(m.y) != m.frames:
        yield f"there are {m.frames} x and {len(m.y)} y coordinates; expected one of each per frame"


def _mask(m: Measurement) -> Iterator[str]:
    if m.bad_pixels is None:
        return
    if m.bad_pixels.dtype != np.bool_ or m.bad_pixels.shape != m.probe.shape:
        yield (
            f"bad_pixels is {m.bad_pixels.dtype} of the shape {m.bad_pixels.shape}; expected bool of the shape "
            f"{m.probe.shape}, True where the detector did not measure"
        )
    elif m.bad_pixels.all():
        yield "bad_pixels names every pixel of the detector; nothing was measured (is the mask inverted?)"


def _probe(m: Measurement) -> Iterator[str]:
    if not (math.isfinite(m.intensity_scale) and m.intensity_scale > 0):
        yield f"intensity_scale = {m.intensity_scale:g}; it must be finite and positive"
    if not np.isfinite(m.modes).all():
        yield "the probe holds NaN or infinite values"
    if not m.probe.any():
        yield "the probe is zero everywhere; nothing illuminates the object"


def _positions(m: Measurement) -> Iterator[str]:
    for name, centre in (("x", m.x), ("y", m.y)):
        bad = np.flatnonzero(~np.isfinite(centre))
        if len(bad):
            yield f"position {name}[{bad[0]}] = {centre[bad[0]]:g} is not finite ({len(bad)} such positions)"


def _scan(m: Measurement) -> Iterator[str]:
    size = m.patch_size
    height, width = m.object_shape
    for name, centre, limit in (("x", m.x, width), ("y", m.y, height)):
        bad = np.flatnonzero((centre - size / 2 < 0) | (centre + size / 2 > limit))
        if len(bad):
            yield (
                f"position {name}[{bad[0]}] = {centre[bad[0]]:g} puts a window of {size} px outside the object of "
                f"{limit} px ({len(bad)} such positions)"
            )
    if m.frames > 1 and np.ptp(m.x) == 0 and np.ptp(m.y) == 0:
        yield f"all {m.frames} positions are the same ({m.x[0]:g}, {m.y[0]:g}); a scan has different ones"


def _frames(m: Measurement) -> Iterator[str]:
    dark = True
    for part in blocks(m.frames, FRAMES_AT_A_TIME):
        amplitude = m.measured(part)
        unfit = np.any(~(np.isfinite(amplitude) & (amplitude >= 0)), axis=(1, 2))
        if unfit.any():
            j = part.start + int(np.flatnonzero(unfit)[0])
            yield f"frame {j} holds negative, NaN or infinite amplitudes"
        dark = dark and not amplitude.any()
        release_pages(m.amplitude)
    if dark:
        where = "" if m.bad_pixels is None else " on the pixels that bad_pixels leaves"
        yield f"all {m.frames} frames are dark{where}; there are no photons to reconstruct from"
