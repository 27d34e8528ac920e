"""What the networks are built from, and how their initial weights are drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def initialised(build: Callable[[], Network], seed: int) -> Network:
    """A network whose initial weights depend on the seed alone; torch's global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def convolutions(channels_in: int, channels_out: int, activation: Callable[[], nn.Module]) -> nn.Sequential:
    """Two 3 x 3 convolutions, each followed by an activation."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1),
        activation(),
        nn.Conv2d(channels_out, channels_out, 3, padding=1),
        activation(),
    )


def doubled(images: torch.Tensor) -> torch.Tensor:
    """Images (b, c, 2 h, 2 w): every pixel of (b, c, h, w) becomes 2 x 2 equal ones."""
    return nn.functional.interpolate(images, scale_factor=2.0, mode="nearest")
