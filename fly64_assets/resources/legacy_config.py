"""The bridge to PtychoPINN's global dictionary as a resource."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

from pydantic import Field

from fly64_assets.pinn.settings import cnn_settings
from fly64_assets.ptychopinn.configuration import InferenceConfig, TrainingConfig
from fly64_assets.ptychopinn.dictionary import legacy_parameters
from fly64_assets.ptychopinn.session import LegacySession, legacy_session
from fly64_assets.ptychopinn.training_config import TrainingJob
from fly64_assets.resources.checked import CheckedResource
from fly64_assets.study.design import StudyDesign


def training_job(design: StudyDesign, dose: int, view: str, repeat: int, frames: int) -> TrainingJob:
    """The values of the design that fix the training of one cell on ``frames`` frames."""
    return TrainingJob(
        dose=dose,
        frames=frames,
        patch_size=design.patch_size_pixels,
        gridsize=design.gridsize(view),
        neighbor_count=design.neighbor_count,
        seeds=design.repeat_seeds(repeat),
        settings=cnn_settings(design.pinn),
    )


class LegacyConfigResource(CheckedResource[LegacySession]):
    """Sessions on the legacy dictionary `params.cfg`: every key is set from one configuration, and put back after."""

    wait_seconds: float = Field(default=0.0, ge=0.0, description="How long a second thread waits before it is refused.")

    def session(
        self, config: TrainingConfig | InferenceConfig, others: Mapping[str, Any] | None = None
    ) -> AbstractContextManager[LegacySession]:
        """A session in this process, for own assets that call PtychoPINN's modules.

        Raises :class:`LegacyConfigError` if another thread holds the dictionary for longer than ``wait_seconds``.
        """
        return legacy_session(config, others=others, wait_seconds=self.wait_seconds)

    def request(self, config: TrainingConfig, others: Mapping[str, Any]) -> dict[str, Any]:
        """What an engine process needs to open the same session; the configuration is checked here already."""
        legacy_parameters(config, others)
        return {"training_config": asdict(config), "others": dict(others), "wait_seconds": self.wait_seconds}
