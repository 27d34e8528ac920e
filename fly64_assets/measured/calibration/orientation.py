"""Which of the eight orientations of the frames fits their positions, by counts that are kept aside.

Turning all frames is turning the scan the other way. Frames that are turned by half a turn are explained as well by the
conjugates of probe and object (the far field of a conjugate wave is the inverted one), so that the orientations come in
four pairs, and the members of a pair cannot be told apart. Each orientation is reconstructed from a few neighbouring
frames, with a probe that is turned like the frames and refined; a pair is as good as the better of its two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fly64_assets.contract.orientation import TURNS, Orientation, turned
from fly64_assets.engines.execution import Execution
from fly64_assets.engines.process import Progress
from fly64_assets.errors import EngineError
from fly64_assets.lsqml.engine import reconstruct
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.measured.calibration.normalisation import with_probe
from fly64_assets.measured.calibration.reference import SEED, subset
from fly64_assets.physics.measurement import Measurement

FRAMES: Final = 100
"""Neighbouring frames that are reconstructed."""
EPOCHS: Final = 15
OWN: Final = "as stored"
LEAST_FRAMES: Final = 16
"""Frames below which orientations are not compared."""
LEAST_GAIN: Final = 100.0
"""Twice the natural logarithm of the likelihood ratio of the kept-aside counts from which it is no chance."""
LEAST_SHARE: Final = 0.02
"""Share of its deviance that the file's own orientation must lose."""

PAIRS: Final[tuple[tuple[str, str], ...]] = (
    (OWN, "rotate-180"),
    ("flip-x", "flip-y"),
    ("transpose", "antitranspose"),
    ("rotate-90", "rotate-270"),
)
"""Orientations whose members differ by half a turn."""


@dataclass(frozen=True)
class Orientations:
    """Deviances of the kept-aside counts per measured pixel, by orientation; ``pixels`` is how many there are."""

    deviances: Mapping[str, float]
    pixels: int
    frames: int

    @property
    def pairs(self) -> dict[tuple[str, str], float]:
        """The deviance of each pair: that of its better member."""
        return {pair: min(self.deviances[name] for name in pair) for pair in PAIRS}

    @property
    def better(self) -> str:
        """The orientation that fits clearly better than that of the file; empty if none does."""
        if not self.deviances:
            return ""
        pairs = self.pairs
        best = min(pairs, key=lambda pair: pairs[pair])
        own = pairs[PAIRS[0]]
        gain = (own - pairs[best]) * self.pixels
        if gain <= max(LEAST_GAIN, LEAST_SHARE * own * self.pixels):
            return ""
        return min(best, key=lambda name: self.deviances[name])

    def require_own(self) -> None:
        """Raise :class:`EngineError`, with the numbers, where another orientation is clearly better."""
        if not self.better:
            return
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in self.deviances.items())
        raise EngineError(
            f"the frames do not fit their positions as the file has them, but turned by `--orientation {self.better}`, "
            f"or with rows and columns of the positions exchanged or reversed: deviances per pixel of kept-aside "
            f"counts of {self.frames} neighbouring frames are {numbers}; import the file again with "
            f"--orientation {self.better}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"frames": self.frames, "epochs": EPOCHS, "held_out_deviance_per_pixel": dict(self.deviances)}


def compare_orientations(measurement: Measurement, execution: Execution, progress: Progress) -> Orientations:
    """Reconstruct neighbouring frames in all eight orientations; none for very few frames."""
    chosen = neighbours(measurement, FRAMES)
    bad = measurement.bad_pixels
    pixels = len(chosen) * (measurement.patch_size**2 - (0 if bad is None else int(bad.sum())))
    found: dict[str, float] = {}
    if len(chosen) < LEAST_FRAMES:
        return Orientations({}, pixels, len(chosen))
    own = _compact(subset(measurement, chosen))
    settings = LsqmlSettings(epochs=EPOCHS, probe="refined")
    turns: list[Orientation | None] = [None, *TURNS]
    for number, turn in enumerate(turns):

        def report(done: int, _total: int, values: Mapping[str, float], number: int = number) -> None:
            progress(number * EPOCHS + done, (1 + len(TURNS)) * EPOCHS, values)

        one = own if turn is None else _turned(own, turn)
        found[turn or OWN] = float(reconstruct(one, settings, execution, SEED, report, refit=False).held_out.min())
    return Orientations(found, pixels, len(chosen))


def neighbours(measurement: Measurement, most: int) -> NDArray[np.int64]:
    """Indices (b,) of the frames nearest to the middle of the scan, in the order of the file."""
    x, y = measurement.x, measurement.y
    distance = np.hypot(x - np.median(x), y - np.median(y))
    return np.sort(np.argsort(distance, kind="stable")[:most])


def _compact(measurement: Measurement) -> Measurement:
    """The same frames on the smallest grid that holds their windows."""
    grid = measurement.scan.tight(margin=1)
    top, left = grid.origin
    return replace(measurement, x=measurement.x - left, y=measurement.y - top, object_shape=grid.object_shape)


def _turned(own: Measurement, name: Orientation) -> Measurement:
    bad = own.bad_pixels
    turned_frames = replace(
        own,
        amplitude=np.ascontiguousarray(turned(own.measured(), name)),
        bad_pixels=None if bad is None else np.ascontiguousarray(turned(bad, name)),
    )
    return with_probe(turned_frames, turned(own.modes, name))
