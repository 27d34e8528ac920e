"""The form of a measurement, which all benchmarks share: a value beside its floor or peer of the same run.

Belongs here: entries, their table, the machine. Does not belong here: what is measured.
"""

from __future__ import annotations

import json
import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np


@cache
def machine() -> str:
    """Processor, Python and numpy, in one line."""
    cpu = platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        lines = information.read_text().splitlines()
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
    return f"{cpu}, {os.cpu_count()} CPUs, Python {platform.python_version()}, numpy {np.__version__}"


def entry(
    name: str, value: float, floor_or_peer: float, *, unit: str, peer: str, n: int, **further: Any
) -> dict[str, Any]:
    """One measurement.

    ``value`` and ``floor_or_peer`` are in ``unit``; ``ratio`` is the first over the second; ``peer`` says what the
    second is; ``n`` counts repetitions; the load average says how busy the machine was.
    """
    return {
        "name": name,
        "value": value,
        "floor_or_peer": floor_or_peer,
        "ratio": value / floor_or_peer,
        "unit": unit,
        "peer": peer,
        "n": n,
        **further,
        "machine": machine(),
        "load": round(os.getloadavg()[0], 1),
    }


def show(results: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print measurements for a machine, or as a table."""
    if as_json:
        print(json.dumps(results, indent=2))
        return
    for one in results:
        print(
            f"{one['name']:44} {one['value']:11.4g} {one['unit']:9} {one['ratio']:8.3g} x {one['peer']} "
            f"({one['floor_or_peer']:.4g} {one['unit']})"
        )
