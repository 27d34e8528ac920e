"""Thin resources: the study's design, its artifact store, the watched folder."""

from pathlib import Path

import dagster as dg

from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.study.design import StudyDesign, load_design


class StudyResource(dg.ConfigurableResource[StudyDesign]):
    """The study design, by the path of a YAML file or the name of a shipped one."""

    study: str = "demo"

    def design(self) -> StudyDesign:
        """The design, read anew. Raises :class:`DesignError` if it is not valid."""
        return load_design(self.study)


class ArtifactStoreResource(dg.ConfigurableResource[ArtifactStore]):
    """Where artifacts live: atomic writes, sidecars with SHA256, verified reads."""

    data_root: str = "data"

    def store(self, study: str) -> ArtifactStore:
        """The store of one study."""
        return ArtifactStore(Path(self.data_root).resolve(), study)


class InboxResource(dg.ConfigurableResource[Path]):
    """The watched folder for new base files."""

    inbox: str = "data/inbox"

    def folder(self) -> Path:
        """The folder; it need not exist."""
        return Path(self.inbox).absolute()
