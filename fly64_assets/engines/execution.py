"""How an engine is executed: device, precision, threads. Never part of a study's parameters (CONFIG-002)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

ACCELERATORS: Final = ("auto", "cpu", "gpu", "cuda")
"""What may be asked for; ``gpu`` and ``cuda`` are the same."""

PRECISIONS: Final = ("32-true", "bf16-mixed", "16-mixed")
"""Lightning's names of the arithmetic in which a network can train; the physics stays in single precision."""


@dataclass(frozen=True)
class Execution:
    """Execution settings handed to every engine.

    ``accelerator`` is ``cpu`` or ``cuda`` (already resolved, never ``auto``), ``threads`` the number of CPU
    threads of one engine process: results are reproducible at equal ``threads`` on equal machines.
    """

    accelerator: str = "cpu"
    devices: int = 1
    precision: str = "32-true"
    deterministic: bool = True
    threads: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; ``Execution(**document)`` is the inverse."""
        return asdict(self)
