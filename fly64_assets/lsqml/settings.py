"""Settings of the iterative reconstruction with pty-chi."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ENGINES: Final = ("lsqml", "epie", "rpie", "dm", "autodiff")
"""Engines of pty-chi by which the iterative arm can be computed; LSQML is the study's."""


@dataclass(frozen=True)
class LsqmlSettings:
    """Hyperparameters of the iterative arm (spec 06).

    Of all engines: ``epochs``, the most there may be; ``stopping`` (``held_out``, ``discrepancy``, ``epochs``);
    ``probe`` (``fixed``, ``refined``); ``windows``, how the object is read between pixels: ``bilinear`` as in the
    forward model of the study, or ``fourier``, the library's own shift of the probe. ``fast_shift`` replaces inner
    loops of the library by faster ones of the same result.

    Of ``lsqml``: ``batching`` (``compact``, ``random``, ``uniform``), ``batch_size`` in frames, ``momentum``, the gain
    of the acceleration; ``noise_model`` (``gaussian``, or ``poisson`` after ``gaussian_epochs`` epochs of the Gaussian
    one); ``total_variation``, the weight of a total variation of the object after every epoch (0: none).
    """

    engine: str = "lsqml"
    epochs: int = 100
    stopping: str = "held_out"
    probe: str = "fixed"
    windows: str = "bilinear"
    batching: str = "compact"
    batch_size: int = 64
    momentum: float = 2.0
    noise_model: str = "gaussian"
    gaussian_epochs: int = 5
    total_variation: float = 0.0
    fast_shift: bool = True
