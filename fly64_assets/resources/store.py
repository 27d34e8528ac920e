"""The artifact store as a resource."""

import os
from pathlib import Path

import dagster as dg

from fly64_assets.store.artifacts import ArtifactStore

DATA_ROOT_VARIABLE = "FLY64_DATA_ROOT"


def default_data_root() -> str:
    """The folder named by the environment variable ``FLY64_DATA_ROOT``, else ``data`` in the working folder."""
    return os.environ.get(DATA_ROOT_VARIABLE) or "data"


class ArtifactStoreResource(dg.ConfigurableResource[ArtifactStore]):
    """Where artifacts live: atomic writes, sidecars with SHA256, verified reads."""

    data_root: str = "data"

    def store(self, study: str) -> ArtifactStore:
        """The store of one study."""
        return ArtifactStore(Path(self.data_root).resolve(), study)
