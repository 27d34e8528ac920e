"""Training of the network ``pretrained`` on simulated scans: losses, schedule, averaged weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch.nn import functional

from fly64_assets.errors import EngineError
from fly64_assets.pinn.layers import initialised
from fly64_assets.pinn.pretrained.network import PretrainedNetwork
from fly64_assets.pinn.pretrained.pretrained_spec import PretrainedSpec
from fly64_assets.pinn.pretrained.scans import Family, Pool, Scans

NEARBY: Final = 24
"""Side of the squares over which the phase of the object may turn by itself in the local error [px]."""
MEASURED: Final = 0.1
"""Illumination, in units of a frame at the probe's peak, from which a pixel counts fully in the error."""
AVERAGE: Final = 0.998
"""Memory of the averaged weights, per step."""
EARLIER: Final = 0.1
"""Weight of the errors after the earlier steps, relative to that after the last."""
LEAST_ERROR: Final = 1e-6
"""Added to mean squared errors before their logarithm is taken."""
WEIGHT_DECAY: Final = 1e-4
WARM_PART: Final = 0.02
"""Part of the training over which the learning rate rises."""
LARGEST_GRADIENT: Final = 1.0
MOST_REFUSED: Final = 10
"""Steps without a finite gradient, one after the other, that end a training."""
ROW_STEPS: Final = 100


@dataclass(frozen=True)
class PretrainingSettings:
    """How a network is trained.

    ``batch`` scans make an optimisation step; they are put together from so many ``fields``. The learning rate falls
    from its largest value to nearly zero over the whole training.
    """

    seconds: float = 420.0
    batch: int = 16
    learning_rate: float = 1.5e-3
    fields: int = 4000
    seed: int = 1


@dataclass(frozen=True)
class Pretrained:
    """A trained network with averaged weights, its optimisation steps, and its errors, a row for every 100 steps.

    ``error`` is the root of the geometric mean of the training scans' mean squared errors of the complex object.
    """

    network: PretrainedNetwork
    steps: int
    history: list[dict[str, float]]


def errors(objects: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squared errors (b,) of objects (b, h, w) after one phase is taken away, and after one for every square.

    Where the frames of a scan hardly touch, they do not determine the phases of the parts relative to each other: the
    second error leaves them free.
    """
    product = weight * objects.conj() * truth
    turn = product.sum((1, 2), keepdim=True)
    whole = _squared(objects * turn / turn.abs().clamp_min(1e-12), truth, weight)
    images = torch.stack([product.real, product.imag], 1)
    # One axis after the other: 50 additions for each pixel instead of 625.
    for side, edge in (((1, NEARBY + 1), (0, NEARBY // 2)), ((NEARBY + 1, 1), (NEARBY // 2, 0))):
        images = functional.avg_pool2d(images, side, stride=1, padding=edge)
    local = torch.complex(images[:, 0], images[:, 1])
    near = _squared(objects * local / local.abs().clamp_min(1e-12), truth, weight)
    return whole, near


def _squared(objects: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    difference = objects - truth
    squared = difference.real.square() + difference.imag.square()
    return (weight * squared).sum((1, 2)) / weight.sum((1, 2))


def loss_of(network: PretrainedNetwork, scans: Scans) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean logarithm of the errors, so that every dose counts alike, and the whole errors (b,) after the last step."""
    illumination = scans.illumination()
    objects = network(scans.start(illumination), scans.direction, scans.illuminated(illumination))
    weight = (illumination / MEASURED).clamp(max=1.0)
    total = torch.zeros((), device=weight.device)
    for number, obj in enumerate(objects):
        whole, near = errors(obj, scans.objects, weight)
        part = 0.5 * (whole + LEAST_ERROR).log().mean() + 0.5 * (near + LEAST_ERROR).log().mean()
        total = total + (1.0 if number == len(objects) - 1 else EARLIER) * part
    return total, whole.detach()


def train(
    spec: PretrainedSpec,
    settings: PretrainingSettings,
    family: Family,
    device: str,
    notify: Callable[[str], None],
    start: Mapping[str, torch.Tensor] | None = None,
) -> Pretrained:
    """Train a network for ``settings.seconds`` on a device, from random weights or from those of another.

    The time decides how many optimisation steps there are, so that two trainings differ.

    Raises
    ------
    EngineError
        If the loss is not finite in ten steps one after the other, or the time does not suffice for one.
    """
    where = torch.device(device)
    network = initialised(lambda: PretrainedNetwork(spec), settings.seed).to(where)
    if start is not None:
        network.load_state_dict(dict(start))
    pool = Pool(family, settings.fields, settings.seed, where)
    notify(f"{len(pool.fields)} fields are made")
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=WEIGHT_DECAY, fused=where.type == "cuda"
    )
    averaged = {name: value.detach().clone() for name, value in network.state_dict().items()}
    step, refused, recent, history = 0, 0, [], []
    scans = pool.scans(settings.batch)
    began = time.monotonic()
    while (done := (time.monotonic() - began) / settings.seconds) < 1:
        for group in optimiser.param_groups:
            warm = min(1.0, done / WARM_PART)
            group["lr"] = settings.learning_rate * warm * (0.5 + 0.5 * math.cos(math.pi * done))
        loss, whole = loss_of(network, scans)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        scans = pool.scans(settings.batch)  # its objects are put together while a GPU still works on the gradient
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        if not bool(torch.isfinite(norm)):
            refused += 1
            if refused == MOST_REFUSED:
                raise EngineError(f"the loss was not finite in {refused} steps: lower learning_rate")
            continue
        refused = 0
        optimiser.step()
        step += 1
        memory = min(AVERAGE, step / (step + 9))
        with torch.no_grad():
            torch._foreach_lerp_(list(averaged.values()), list(network.state_dict().values()), 1 - memory)
        recent.append(whole.log().mean())
        if step % ROW_STEPS == 0:
            error = math.exp(float(torch.stack(recent[-ROW_STEPS:]).mean()) / 2)
            history.append({"step": float(step), "error": error})
            notify(f"step {step}, {time.monotonic() - began:.0f} s: error {error:.4f}")
    if not step:
        raise EngineError(f"no step was finished in {settings.seconds:g} s, so nothing is trained: give more time")
    network.load_state_dict(averaged)
    return Pretrained(network.eval(), step, history)
