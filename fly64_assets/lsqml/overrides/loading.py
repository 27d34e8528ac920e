"""Frames of a minibatch read at once, and no default device where the default is the CPU anyway.

The library reads minibatches through a ``DataLoader``: one Python call, one index tensor and one copy per frame, and
then a stack. Frames lie in one array; one indexing gives the same minibatch. And it declares the CPU torch's default
device, which leads every torch call through a Python function that changes nothing (torch's documentation of
``set_default_device`` says so); undeclared, the CPU is still the default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import torch
from torch import Tensor


class WholeBatches:
    """Minibatches (indices, frames) of a data set in the order of a batch sampler.

    Parameters
    ----------
    dataset : ptychi.io_handles.PtychographyDataset
    batch_sampler : iterable of (b,) int64
    """

    def __init__(self, dataset: Any, batch_sampler: Any) -> None:
        self.dataset = dataset
        self.batch_sampler = batch_sampler

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for indices in self.batch_sampler:
            yield indices, self.dataset.patterns[indices]


def build_dataloader(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Patch of ``IterativeReconstructor.build_dataloader`` where a batch sampler is given (COMPACT, UNIFORM).

    RANDOM batches come from the ``DataLoader``'s own generator; they stay with it, and so keep their order.
    """

    @wraps(stock)
    def build(self: Any, batch_sampler: Any = None) -> None:
        stock(self, batch_sampler=batch_sampler)
        if batch_sampler is not None:
            self.dataloader = WholeBatches(self.dataset, batch_sampler)

    return build


def build_default_device(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Patch of ``PtychographyTask.build_default_device``: a declared CPU is undeclared again."""

    @wraps(stock)
    def build(self: Any) -> None:
        stock(self)
        if torch.get_default_device().type == "cpu":
            torch.set_default_device(None)

    return build
