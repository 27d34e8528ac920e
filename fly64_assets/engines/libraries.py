"""What the engine library that this process has loaded computes with; for the sidecars of its results."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from typing import Final

_MKL: Final = re.compile(r"Math Kernel Library Version (\S+)")


def engine_libraries() -> dict[str, str]:
    """What the engine library that this process has loaded computes with; empty if it has loaded none."""
    found: dict[str, str] = {}
    torch = sys.modules.get("torch")
    if torch is not None:
        mkl = _MKL.search(torch.__config__.show())
        name = f"MKL {mkl.group(1)}" if mkl else ""
        found["torch_vector_instructions"] = torch.backends.cpu.get_cpu_capability()
        found["torch_blas"] = name or "the system's"
        found["torch_fft"] = name if torch.backends.mkl.is_available() else "pocketfft"
        if torch.cuda.is_initialized():
            found["gpu"] = torch.cuda.get_device_name()
            found["cuda"] = str(torch.version.cuda)
    if "tensorflow" in sys.modules:
        found["tensorflow_blas_and_fft"] = f"Eigen, oneDNN and ducc of tensorflow {metadata.version('tensorflow')}"
    return found
