"""What a bundle of ``pretrained`` says of itself: the network, what it was trained on, and what it may be used on.

Belongs here: plain values, and the comparison of a scan with them; no torch. Does not belong here: layers, training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from fly64_assets.errors import ArtifactError
from fly64_assets.physics.illumination import probe_diameter_px
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.bundle import Bundle, read_bundle
from fly64_assets.pinn.pretrained.settings import GENERAL, bundle_file

ARCHITECTURE: Final = "pretrained"
ENERGY: Final = 0.9
"""Part of the probe's energy inside the disc whose diameter is compared."""
FAR: Final = 4.0
"""Outside of a range by more than this factor a network is refused."""


@dataclass(frozen=True)
class PretrainedSpec:
    """What determines the network besides its weights.

    Attributes
    ----------
    steps : int
        Learned steps; each computes the direction of the likelihood once from all frames.
    widths : tuple of int
        Channels at a half, a quarter, an eighth and a sixteenth of the resolution of the object plane.
    """

    steps: int = 5
    widths: tuple[int, int, int, int] = (16, 32, 48, 64)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, with the name of the architecture."""
        return {"architecture": ARCHITECTURE, "steps": self.steps, "widths": list(self.widths)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> PretrainedSpec:
        """Inverse of :meth:`to_dict`. Raises KeyError, TypeError or ValueError where it is none."""
        first, second, third, fourth = (int(width) for width in document["widths"])
        return cls(int(document["steps"]), (first, second, third, fourth))

    @classmethod
    def of(cls, bundle: Bundle, name: str) -> PretrainedSpec:
        """From a bundle. Raises :class:`ArtifactError` if its network is another."""
        document = bundle.params.get("network")
        if not isinstance(document, Mapping) or document.get("architecture") != ARCHITECTURE:
            found = document.get("architecture") if isinstance(document, Mapping) else None
            raise ArtifactError(
                f"{name}: a network that was trained on one scan ({found}), not one for new scans; `fly64 pretrain` "
                f"makes those, and `{GENERAL}` names the one in the package"
            )
        try:
            return cls.from_dict(document)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{name}: its params.json does not describe its network ({error})") from error


@dataclass(frozen=True)
class Applicability:
    """Ranges of the training scans, as they can be measured in any scan.

    Attributes
    ----------
    photons_per_frame : (low, high)
        Mean photons per frame.
    area_per_frame : (low, high)
        Area of the box of all positions over the number of frames [px^2].
    probe_diameter : (low, high)
        Diameter of the disc that holds 90 % of the probe's energy [px].
    """

    photons_per_frame: tuple[float, float]
    area_per_frame: tuple[float, float]
    probe_diameter: tuple[float, float]

    def to_dict(self) -> dict[str, list[float]]:
        """Plain JSON types."""
        return {name: list(ends) for name, ends in asdict(self).items()}

    @classmethod
    def of(cls, bundle: Bundle, name: str) -> Applicability:
        """From a bundle. Raises :class:`ArtifactError` if it does not say."""
        try:
            ranges = {key: (float(low), float(high)) for key, (low, high) in bundle.params["applicability"].items()}
            return cls(**ranges)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{name}: its params.json does not say what it was trained for ({error})") from error

    def findings(self, measurement: Measurement) -> Iterator[tuple[str, bool]]:
        """Sentences about what lies outside of the training, and whether it lies far outside."""
        labels = {
            "photons_per_frame": ("mean photons per frame", ""),
            "area_per_frame": ("scanned area per frame", " px^2"),
            "probe_diameter": (f"diameter of the disc with {ENERGY:.0%} of the probe's energy", " px"),
        }
        for name, value in measured_terms(measurement).items():
            low, high = getattr(self, name)
            if not low <= value <= high:
                label, unit = labels[name]
                far = value < low / FAR or value > high * FAR
                yield f"{label} is {value:.4g}{unit}, the network was trained for {low:.4g} to {high:.4g}{unit}", far
        if measurement.further_modes is not None:
            yield "the probe has several incoherent modes, the network knows one", True


def measured_terms(measurement: Measurement) -> dict[str, float]:
    """What :class:`Applicability` compares, of a measurement."""
    photons = float(np.concatenate([counts.sum(axis=(1, 2)) for _, counts in measurement.count_blocks()]).mean())
    return {
        "photons_per_frame": photons,
        "area_per_frame": float(np.ptp(measurement.x) * np.ptp(measurement.y)) / measurement.frames,
        "probe_diameter": probe_diameter_px(measurement.probe, ENERGY),
    }


def read_pretrained(name: str) -> Bundle:
    """Read and verify a bundle by its path or as ``general``. Raises :class:`ArtifactError` if there is none."""
    path = bundle_file(name)
    if not path.is_file():
        raise ArtifactError(f"{name}: no such file; `{GENERAL}` names the network in the package")
    return read_bundle(path)
