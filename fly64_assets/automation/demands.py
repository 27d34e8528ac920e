"""What the steps of a run request from a cluster: processors, GPUs and memory, as tags that each engine reads.

Does not belong here: where they get it (``executors``, ``slurm``, an instance's ``dagster.yaml``).
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from fly64_assets.errors import Fly64Error
from fly64_assets.resources.environment import STEP_CPUS_VARIABLE, STEP_GPUS_VARIABLE, STEP_MEMORY_VARIABLE
from fly64_assets.study.table import Stage

DEMAND_TAG: Final = "fly64/demand"
"""Tag of a step, with its demand as a JSON document; the Slurm launcher reads it from the plan of a run."""
GIB: Final = 1024**3


@dataclass(frozen=True)
class Demand:
    """What one step or one run needs while it works."""

    cpus: int
    gpus: int
    memory_gib: int

    @classmethod
    def of_tags(cls, tags: Mapping[str, str]) -> "Demand":
        """The demand in the tags of a step; that of a step which only reads and writes files where they name none."""
        return cls(**json.loads(tags[DEMAND_TAG])) if DEMAND_TAG in tags else MODEST

    def tags(self) -> dict[str, Any]:
        """The tags that dagster-ray, dagster-k8s and the Slurm launcher read. No GPU is named where none is needed."""
        kubernetes: dict[str, Any] = {"requests": {"cpu": str(self.cpus), "memory": f"{self.memory_gib}Gi"}}
        ray: dict[str, Any] = {"num_cpus": self.cpus, "memory": self.memory_gib * GIB}
        if self.gpus:
            kubernetes["limits"] = {"nvidia.com/gpu": str(self.gpus)}
            ray["num_gpus"] = self.gpus
        return {
            DEMAND_TAG: asdict(self),
            "dagster-k8s/config": {"container_config": {"resources": kubernetes}},
            "dagster-ray/config": ray,
        }


MODEST: Final = Demand(cpus=1, gpus=0, memory_gib=2)
"""Of a check, and of a step that says nothing."""


def demand_of(stage: Stage, *, engine: bool) -> Demand:
    """What a step of a stage needs: of the table of stages, for an engine as the environment says.

    Raises :class:`Fly64Error` if a variable is not a whole number in its range.
    """
    if not engine:
        return Demand(stage.cpus, 0, stage.memory_gib)
    return Demand(
        _whole_number(STEP_CPUS_VARIABLE, stage.cpus, 1, "processor cores"),
        _whole_number(STEP_GPUS_VARIABLE, 1, 0, "GPUs"),
        _whole_number(STEP_MEMORY_VARIABLE, stage.memory_gib, 1, "GiB of memory"),
    )


def largest(demands: Iterable[Demand]) -> Demand:
    """What a run needs whose steps work one after another: the largest of each."""
    every = list(demands) or [MODEST]
    return Demand(max(one.cpus for one in every), max(one.gpus for one in every), max(one.memory_gib for one in every))


def _whole_number(variable: str, default: int, least: int, what: str) -> int:
    text = os.environ.get(variable) or str(default)
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise Fly64Error(f"{variable}={text!r}: expected a whole number of {what}, {least} or more")
    return int(text)
