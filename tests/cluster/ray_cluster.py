"""A real Ray cluster on this machine: a head without a GPU, to which tests add nodes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ATTEMPTS = 5
MEMORY = {"memory": 4 * 2**30, "object_store_memory": 100 * 2**20}
HEAD = {"num_cpus": 2, "include_dashboard": True, "dashboard_port": 0, **MEMORY}
GPU = {"num_cpus": 2, "num_gpus": 1, **MEMORY}
"""A node with a pretended GPU."""


@contextmanager
def ray_cluster() -> Iterator[tuple[Any, dict[str, str]]]:
    """The cluster, and the variables with which our commands find it. Needs the first of them when it is started."""
    from ray.cluster_utils import Cluster

    environment = {"RAY_JOB_START_TIMEOUT_SECONDS": "2592000", "RAY_USAGE_STATS_ENABLED": "0", "FLY64_EXECUTOR": "ray"}
    before = dict(os.environ)
    os.environ.update(environment)
    nodes = Cluster()
    try:
        patiently(lambda: nodes.add_node(**HEAD))
        yield nodes, environment | {"RAY_ADDRESS": f"http://{nodes.head_node.webui_url}"}
    finally:
        nodes.shutdown()
        for name in environment:
            os.environ.pop(name)
        os.environ.update(before)


def patiently(start: Callable[[], Any]) -> Any:
    """Start a node; again where a busy machine took longer than the half minute that Ray grants it."""
    for attempt in range(ATTEMPTS):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error) or attempt == ATTEMPTS - 1:
                raise
    return None
