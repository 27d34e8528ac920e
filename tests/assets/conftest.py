"""A tiny study in a temporary folder, and its asset graph on an ephemeral Dagster instance."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import dagster as dg
import pytest

from fly64_assets.assets.flow import COMMAND_TAG, RESUME
from fly64_assets.definitions import build_definitions
from fly64_assets.resources.gpu import GpuResource
from fly64_assets.resources.inbox import InboxResource
from fly64_assets.resources.store import ArtifactStoreResource
from fly64_assets.resources.study import StudyResource
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.study.design import StudyDesign, load_design

TINY = """
name: tiny
dose_list: [1e3, 1e4]
base: {amplitude: coins, phase: grass, object_size: 160, positions: 200}
pinn: {epochs: 2}
lsqml: {epochs: 6}
"""

SMALL = """
name: small
dose_list: [1e3, 1e4]
base: {amplitude: coins, phase: grass, object_size: 132, positions: 60}
"""


@dataclass
class Graph:
    """The asset graph of a study on its own instance and data root."""

    design: StudyDesign
    store: ArtifactStore
    definitions: dg.Definitions
    instance: dg.DagsterInstance

    def run(
        self,
        *assets: str,
        partition: str | None = None,
        resume: bool = False,
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> dg.ExecuteInProcessResult:
        """Materialise assets of one partition, as the UI would, or as ``fly64 run`` does."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(asset) for asset in assets],
            partition_key=partition,
            tags={**tags, **({COMMAND_TAG: RESUME} if resume else {})},
            raise_on_error=False,
        )

    @property
    def folder(self) -> Path:
        """Folder of the active base."""
        return self.store.layout(self.store.active_base().base_id).folder


def make_graph(folder: Path, instance: dg.DagsterInstance, text: str = TINY) -> Graph:
    """A graph whose data and design live in ``folder``."""
    path = folder / "study.yaml"
    path.write_text(text)
    design = load_design(path)
    root = folder / "data"
    definitions = build_definitions(
        design=design,
        resources={
            "study": StudyResource(study=str(path)),
            "store": ArtifactStoreResource(data_root=str(root)),
            "gpu": GpuResource(accelerator="cpu"),
            "inbox": InboxResource(inbox=str(folder / "inbox")),
        },
    )
    return Graph(design, ArtifactStore(root, design.name), definitions, instance)


@pytest.fixture
def graph(tmp_path):
    """A graph on which nothing has run."""
    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path / "instance")) as instance:
        yield make_graph(tmp_path, instance)


@pytest.fixture
def small_graph(tmp_path):
    """The same over fewer frames and a smaller object."""
    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path / "instance")) as instance:
        yield make_graph(tmp_path, instance, SMALL)


@pytest.fixture
def slotted_graph(tmp_path):
    """The same on an instance on disk with one GPU slot, where two runs can meet."""
    (tmp_path / "instance").mkdir()
    overrides = {"concurrency": {"pools": {"default_limit": 1, "granularity": "op"}}}
    with dg.DagsterInstance.local_temp(str(tmp_path / "instance"), overrides=overrides) as instance:
        yield make_graph(tmp_path, instance, SMALL)


@pytest.fixture(autouse=True)
def dagster_previews():
    """Dagster announces that check partitions and multi-dimension mappings are previews; the project pins it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        warnings.simplefilter("ignore", dg.BetaWarning)
        yield
