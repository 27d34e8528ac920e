"""The learning rate over a training, for every backend.

Belongs here: a number for a step. Does not belong here: optimisers, torch, tensorflow.
"""

from __future__ import annotations

import math
from typing import Final

WARM_UP_STEPS: Final = 50
LEAST_RATE: Final = 0.02
"""Last learning rate, relative to the first."""


def relative_rate(step: int, steps: int) -> float:
    """Learning rate at a step, relative to the first: a short warm-up and a cosine decay over all ``steps``."""
    decay = 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / steps)))
    return min(1.0, (step + 1) / WARM_UP_STEPS) * (LEAST_RATE + (1.0 - LEAST_RATE) * decay)
