"""Settings of ``pretrained``: which network reconstructs; no torch, no file is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from pydantic import ConfigDict

from fly64_assets.physics.quantities import NO_OTHER_FIELDS, Flag, Rule, Text

GENERAL: Final = "general"
"""Name of the network that is part of the package."""
_GENERAL_FILE: Final = Path(__file__).with_name("general.zip")


@dataclass(frozen=True)
class PretrainedSettings:
    """Which network reconstructs; it was trained before, on other scans."""

    __pydantic_config__: ClassVar[ConfigDict] = NO_OTHER_FIELDS

    network: Annotated[Text, Rule("must be a path, or general", bool, {"minLength": 1})] = GENERAL
    """`general`, the network in the package, or a file of `fly64 pretrain`, relative to the design's file."""
    slow_phases: Flag = False
    """Whether slowly varying phases, which five steps do not find, are added where the counts become more likely by
    more than 0.25 nats for each of their cosines, in scans of at least as many frames as there are cosines."""

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> PretrainedSettings:
        """From plain JSON types."""
        return cls(**document)

    def parameters(self) -> dict[str, Any]:
        """What a reconstruction depends on, in plain JSON types; the stage names the content instead of the file."""
        return asdict(self)

    def file(self, folder: Path) -> Path:
        """Path of the network; ``folder`` is that of the design."""
        return bundle_file(self.network, folder)


def bundle_file(name: str, folder: Path = Path()) -> Path:
    """Path of a bundle: that of the package for ``general``, otherwise the name is the path, from ``folder`` on."""
    return _GENERAL_FILE if name == GENERAL else folder / name
