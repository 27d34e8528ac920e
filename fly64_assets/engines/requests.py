"""The request that every iterative engine understands, whoever asks: an asset or the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fly64_assets.engines.execution import Execution


def reconstruction_request(
    measurement: Path,
    output_folder: Path,
    settings: Mapping[str, Any],
    seed: int,
    execution: Execution,
    metadata: Mapping[str, Any],
    start: Path | None = None,
) -> dict[str, Any]:
    """JSON-able arguments of a job ``reconstruct_job``.

    Parameters
    ----------
    measurement : Path
        NPZ with the frames.
    output_folder : Path
        Receives the job's files.
    settings : mapping
        The method's section of the design.
    seed : int
        Seed of everything random in the method.
    execution : Execution
        Device, precision and threads.
    metadata : mapping
        Recorded in the result.
    start : Path, optional
        NPZ with the ``reconstructed_object`` to start from; by default a uniform object.
    """
    return {
        "measurement": str(measurement),
        "start": str(start) if start else None,
        "output_folder": str(output_folder),
        "settings": dict(settings),
        "seed": seed,
        "metadata": dict(metadata),
        "execution": execution.to_dict(),
    }
