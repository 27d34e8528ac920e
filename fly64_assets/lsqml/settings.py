"""Settings of the iterative reconstruction with pty-chi."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict

from fly64_assets.physics.quantities import NO_OTHER_FIELDS, Count, Number, Whole, at_least, unit, within


@dataclass(frozen=True)
class LsqmlSettings:
    """Hyperparameters of the iterative reconstruction."""

    __pydantic_config__: ClassVar[ConfigDict] = NO_OTHER_FIELDS

    epochs: Annotated[Whole, within(1, 100)] = 100
    """Largest number of passes over all frames."""
    stopping: Literal["held_out", "discrepancy", "epochs"] = "held_out"
    """When it ends: at the best prediction of held-out counts, at the expected deviance, or after all epochs."""
    probe: Literal["fixed", "refined"] = "fixed"
    """Whether the known probe is kept, or refined with the object."""
    subpixel: Literal["bilinear", "fourier"] = "bilinear"
    """Between pixels the object is interpolated as in the study's forward model, or the library shifts the probe."""
    batching: Literal["compact", "random", "uniform"] = "compact"
    """How `lsqml` forms its batches: frames that lie together, drawn at random, or spread evenly over the scan."""
    batch_size: Count = 64
    """Largest number of frames in a batch of `lsqml`; there are at least three batches."""
    momentum: Annotated[Number, within(0, 10)] = 2.0
    """Gain of the acceleration of `lsqml` with compact batches; 0 switches it off."""
    noise_model: Literal["gaussian", "poisson"] = "gaussian"
    """Noise of the counts for `lsqml`: Gaussian amplitudes, or Poisson counts after a Gaussian beginning."""
    gaussian_epochs: Annotated[Whole, at_least(0)] = 5
    """Epochs with Gaussian noise before Poisson noise is assumed."""
    total_variation: Annotated[Number, within(0, 10), unit("square root of the photons per object pixel")] = 0.0
    """Weight of total variation, in the unit of `tv_ml.levels`; every step of `lsqml` smooths by it, 0 does not."""

    def parameters(self) -> dict[str, Any]:
        """What a reconstruction depends on, in plain JSON types."""
        return asdict(self)


def upgraded(section: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A section of an older design in today's names, with a sentence for each setting that moved.

    Examples
    --------
    >>> upgraded({"windows": "fourier"})
    ({'subpixel': 'fourier'}, ['lsqml.windows is called lsqml.subpixel now; its value was taken over'])
    """
    document, notes = dict(section), []
    if "windows" in document and "subpixel" not in document:
        document["subpixel"] = document.pop("windows")
        notes.append("lsqml.windows is called lsqml.subpixel now; its value was taken over")
    if "fast_shift" in document:
        del document["fast_shift"]
        notes.append("lsqml.fast_shift was left out: it changes no result, and the faster form always runs")
    engine = document.pop("engine", "lsqml")
    if engine != "lsqml":
        notes.append(
            f"lsqml.engine was left out: the method lsqml is LSQML alone, and {engine} is no method of a study"
        )
    return document, notes
