"""Requests to engines: how to execute (never among a study's parameters, CONFIG-002), what to reconstruct."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal

Accelerator = StrEnum("Accelerator", ["auto", "cpu", "gpu", "cuda"])
"""Accepted names; ``gpu`` and ``cuda`` are the same."""

Precision = StrEnum("Precision", [("32-true", "32-true"), ("bf16-mixed", "bf16-mixed"), ("16-mixed", "16-mixed")])
"""Lightning's names of the arithmetic in which a network can train; the physics stays in single precision."""

ACCELERATORS: Final = tuple(one.value for one in Accelerator)
PRECISIONS: Final = tuple(one.value for one in Precision)

RESULT: Final = "ptychi_reconstruction.npz"
PICTURE: Final = "reconstruction.png"
RESULT_ARRAYS: Final = ("reconstructed_object", "loss")
"""What every iterative method writes: its result file with at least these arrays, and a picture."""


def own_threads() -> int:
    """Threads that this process may keep busy: as ``OMP_NUM_THREADS`` says, else one for each of its CPUs.

    For work whose results do not depend on their number.
    """
    said = os.environ.get("OMP_NUM_THREADS", "")
    cpus = len(os.sched_getaffinity(0))
    return min(int(said), cpus) if said.isdecimal() and int(said) else cpus


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


def reconstruction_request(
    measurement: Path,
    output_folder: Path,
    settings: Mapping[str, Any],
    seed: int,
    execution: Execution,
    metadata: Mapping[str, Any],
    start: Path | None = None,
    pairs: int | None = None,
    start_pairs: Path | None = None,
    network: Path | None = None,
) -> dict[str, Any]:
    """JSON-able arguments of every iterative engine's ``reconstruct_job(request, progress)``.

    ``measurement`` is an NPZ with the frames, ``settings`` the method's section of the design, ``metadata`` is recorded
    in the result. ``start`` is an NPZ with the ``reconstructed_object`` to start from, by default a uniform object.
    With ``pairs``, a seed, the job also reconstructs halves of the photons and of the frames
    (:func:`fly64_assets.measured.pairs.reconstruct_pairs`), each started from the object of its name in
    ``start_pairs`` where there is a ``start``. ``network`` is the bundle of a network that was trained before, for the
    method that applies one.

    The job writes into ``output_folder`` ``ptychi_reconstruction.npz``, with ``reconstructed_object`` (H, W) complex64,
    ``loss`` (steps,) and ``_metadata``, and ``reconstruction.png``. It returns facts for the stage's record:
    ``algorithm``, ``epochs_run``, ``stop_reason`` and ``num_epochs`` (those requested), and others as it likes.
    """
    return {
        "measurement": str(measurement),
        "start": str(start) if start else None,
        "pairs": pairs,
        "start_pairs": str(start_pairs) if start_pairs else None,
        "network": str(network) if network else None,
        "output_folder": str(output_folder),
        "settings": dict(settings),
        "seed": seed,
        "metadata": dict(metadata),
        "execution": execution.to_dict(),
    }


@contextmanager
def torch_settings(execution: Execution, otherwise: Literal["warn", "error"] = "warn") -> Iterator[None]:
    """Threads and determinism of torch within the block; afterwards everything is as before.

    ``otherwise`` is what happens where a deterministic execution needs an operation that is not.
    """
    import torch

    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    # Not torch.use_deterministic_algorithms: it imports torch's compiler, more than a second of a processor.
    mode = torch.get_deterministic_debug_mode()
    torch.set_num_threads(execution.threads)
    torch.set_deterministic_debug_mode(otherwise if execution.deterministic else "default")
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.set_default_device(None)
        torch.set_deterministic_debug_mode(mode)
