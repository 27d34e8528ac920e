"""The bridge to PtychoPINN's global dictionary as a resource."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

import dagster as dg
from pydantic import Field

from fly64_assets.ptychopinn.configuration import InferenceConfig, TrainingConfig
from fly64_assets.ptychopinn.dictionary import legacy_parameters
from fly64_assets.ptychopinn.session import LegacySession, legacy_session


class LegacyConfigResource(dg.ConfigurableResource[LegacySession]):
    """Sessions on the legacy dictionary `params.cfg`: every key is set from one configuration, and put back after."""

    wait_seconds: float = Field(default=0.0, ge=0.0, description="How long a second thread waits before it is refused.")

    def session(
        self, config: TrainingConfig | InferenceConfig, others: Mapping[str, Any] | None = None
    ) -> AbstractContextManager[LegacySession]:
        """A session in this process, for own assets that call PtychoPINN's modules.

        Raises
        ------
        LegacyConfigError
            If another thread holds the dictionary for longer than ``wait_seconds``.
        """
        return legacy_session(config, others=others, wait_seconds=self.wait_seconds)

    def request(self, config: TrainingConfig, others: Mapping[str, Any]) -> dict[str, Any]:
        """What an engine process needs to open the same session; the configuration is checked here already."""
        legacy_parameters(config, others)
        return {"training_config": asdict(config), "others": dict(others), "wait_seconds": self.wait_seconds}
