"""A real Ray cluster on this machine: a head without a GPU, to which tests add nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cluster.slurm_server import environment

ATTEMPTS = 5
MEMORY = {"memory": 4 * 2**30, "object_store_memory": 100 * 2**20}
HEAD = {"num_cpus": 2, "include_dashboard": True, "dashboard_port": 0, **MEMORY}
GPU = {"num_cpus": 2, "num_gpus": 1, **MEMORY}
"""A node with a pretended GPU."""


@contextmanager
def ray_cluster() -> Iterator[Any]:
    """The cluster; within the block our commands find it by the variables of this process."""
    from ray.cluster_utils import Cluster

    settings = {"RAY_JOB_START_TIMEOUT_SECONDS": "2592000", "RAY_USAGE_STATS_ENABLED": "0", "FLY64_EXECUTOR": "ray"}
    with environment(settings):
        nodes = Cluster()
        try:
            patiently(lambda: nodes.add_node(**HEAD))
            with environment({"RAY_ADDRESS": f"http://{nodes.head_node.webui_url}"}):
                yield nodes
        finally:
            nodes.shutdown()


def patiently(start: Callable[[], Any]) -> Any:
    """Start a node; again where a busy machine took longer than the half minute that Ray grants it."""
    for attempt in range(ATTEMPTS):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error) or attempt == ATTEMPTS - 1:
                raise
    return None
