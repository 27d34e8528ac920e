"""Thin resources: the study's design, its artifact store, the watched folder."""

from pathlib import Path

import dagster as dg

from fly64_assets.errors import ArtifactError, DesignError
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.storage import is_url, local_root
from fly64_assets.study.design import StudyDesign, load_design


class StudyResource(dg.ConfigurableResource[StudyDesign]):
    """The study design, by the path of a YAML file or the name of a shipped one."""

    study: str = "demo"

    def design(self) -> StudyDesign:
        """The design, read anew. Raises :class:`DesignError` if it is not valid."""
        try:
            return load_design(self.study)
        except OSError as error:
            raise DesignError([f"study {self.study!r} cannot be read ({error.strerror})"]) from error


class ArtifactStoreResource(dg.ConfigurableResource[ArtifactStore]):
    """Where artifacts live: atomic writes, sidecars with SHA256, verified reads."""

    data_root: str = "data"

    def store(self, study: str) -> ArtifactStore:
        """The store of one study. Raises :class:`ArtifactError` for a data root that can be no folder and is no URL."""
        if is_url(self.data_root):
            return ArtifactStore(local_root(self.data_root), study)
        return ArtifactStore(possible_folder(self.data_root, "data_root"), study)


class InboxResource(dg.ConfigurableResource[Path]):
    """The watched folder for new base files."""

    inbox: str = "data/inbox"

    def folder(self) -> Path:
        """The folder; it need not exist."""
        return Path(self.inbox).absolute()


def possible_folder(text: str, name: str) -> Path:
    """The absolute path of a folder that exists or could be made; :class:`ArtifactError` for any other text."""
    try:
        path = Path(text).resolve()
        nearest = next(place for place in (path, *path.parents) if place.exists())
    except (OSError, ValueError, RuntimeError) as error:
        problem = (error.strerror if isinstance(error, OSError) else "") or str(error)
    else:
        if text and nearest.is_dir():
            return path
        problem = f"{nearest} is no folder" if text else "it is empty"
    raise ArtifactError(
        f"{name} = {text!r} names no folder ({problem}): give the path of one that exists or can be made"
    )
