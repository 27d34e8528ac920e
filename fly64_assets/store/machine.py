"""On what results are computed, and when: processor, libraries for Fourier transforms and linear algebra, time.

The last digits of a result depend on them, so that a sidecar names them. Nothing is called stale for it.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

_NAMES: Final = re.compile(r"^(?:model name|Processor|cpu model|cpu)\s*:\s*(.+)$", re.MULTILINE)


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@cache
def processor() -> str:
    """Name of the processor as the system gives it, and its architecture."""
    try:
        found = _NAMES.search(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        found = None
    name = found.group(1).strip() if found else platform.processor()
    return f"{name} ({platform.machine()})" if name and name != platform.machine() else platform.machine()


def host_load() -> dict[str, Any]:
    """Name of this host, its cores, and how busy it is: the load averages over 1, 5 and 15 minutes."""
    return {"host": platform.node(), "cores": os.cpu_count(), "load": [round(load, 1) for load in os.getloadavg()]}


@cache
def numpy_libraries() -> dict[str, str]:
    """What NumPy and SciPy compute with in this process, and the processor's vector instructions that they use."""
    import numpy as np
    import scipy

    arrays: Any = np.show_config(mode="dicts")
    science: Any = scipy.show_config(mode="dicts")
    return {
        "processor": processor(),
        "vector_instructions": " ".join(arrays["SIMD Extensions"].get("found", ())) or "baseline",
        "numpy_blas": _library(arrays, "blas"),
        "scipy_blas": _library(science, "blas"),
        "fft": f"pocketfft of numpy {np.__version__} and scipy {scipy.__version__}",
    }


def _library(configuration: Mapping[str, Any], name: str) -> str:
    library = configuration["Build Dependencies"].get(name, {})
    return " ".join(str(library[key]) for key in ("name", "version") if key in library) or "none"
