"""The artifact store as a resource."""

from pathlib import Path

import dagster as dg

from fly64_assets.store.artifacts import ArtifactStore


class ArtifactStoreResource(dg.ConfigurableResource[ArtifactStore]):
    """Where artifacts live: atomic writes, sidecars with SHA256, verified reads."""

    data_root: str = "data"

    def store(self, study: str) -> ArtifactStore:
        """The store of one study."""
        return ArtifactStore(Path(self.data_root).resolve(), study)
