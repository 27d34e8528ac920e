"""``learned``: a trained network is finite and not collapsed to a constant. Judged without the truth."""

import math
from collections.abc import Sequence

from fly64_assets.checks.factory import Subject


def learned(subject: Subject) -> Sequence[str]:
    """Losses of the training record and its own finding about collapse."""
    values = subject.record.values
    problems = []
    if not math.isfinite(values["final_loss"]):
        problems.append(f"the final loss is {values['final_loss']}")
    if values["collapsed"]:
        problems.append(str(values["finding"]))
    return problems
