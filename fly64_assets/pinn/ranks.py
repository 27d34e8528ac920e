"""Several devices for one training: a process for each, and what the processes send each other before it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import distributed

from fly64_assets.engines.execution import Execution
from fly64_assets.errors import EngineError

MEETING_POINT: Final = "ranks"
"""File in the scratch folder through which the processes connect."""


@dataclass(frozen=True)
class Ranks:
    """Place of a process among those of a training: ``device`` is ``cpu``, ``cuda`` or ``cuda:RANK``."""

    rank: int
    """From 0; the first writes the results."""
    count: int
    device: str

    @property
    def strategy(self) -> str:
        """Lightning's name for how the processes work together."""
        return "auto" if self.count == 1 else "ddp"

    def owns(self, number: int) -> bool:
        """Whether this process computes piece ``number`` of the work that the processes divide."""
        return number % self.count == self.rank

    def share(self, number: int, made: list[torch.Tensor]) -> list[torch.Tensor]:
        """The tensors of a piece, which its owner made, on all processes; the others pass an empty list.

        All processes share the same pieces in the same order.
        """
        if self.count == 1:
            return made
        source = number % self.count
        described = [[(tuple(tensor.shape), tensor.dtype) for tensor in made]]
        distributed.broadcast_object_list(described, source)
        tensors = made or [torch.empty(shape, dtype=dtype, device=self.device) for shape, dtype in described[0]]
        for tensor in tensors:
            distributed.broadcast(torch.view_as_real(tensor) if tensor.is_complex() else tensor, source)
        return tensors


@contextmanager
def ranks(execution: Execution, scratch: Path) -> Iterator[Ranks]:
    """Place of this process among ``execution.devices`` processes, from the environment variables RANK and WORLD_SIZE.

    Raises
    ------
    EngineError
        If the process was not started as one of so many.
    """
    if execution.devices == 1:
        yield Ranks(0, 1, execution.accelerator)
        return
    size = os.environ.get("WORLD_SIZE", "1")
    if size != str(execution.devices):
        raise EngineError(
            f"devices = {execution.devices}, but this process is one of {size}: a training on several devices is "
            "started with as many processes"
        )
    rank = int(os.environ["RANK"])
    cuda = execution.accelerator == "cuda"
    if cuda:
        torch.cuda.set_device(rank)
    distributed.init_process_group(
        "nccl" if cuda else "gloo",
        init_method=(scratch / MEETING_POINT).resolve().as_uri(),
        rank=rank,
        world_size=execution.devices,
    )
    try:
        yield Ranks(rank, execution.devices, f"cuda:{rank}" if cuda else execution.accelerator)
    finally:
        distributed.destroy_process_group()
