"""A bound as arrays of an NPZ file, so that cells that differ in dose alone share it.

Belongs here: bound to arrays and back. Does not belong here: files and where they lie.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fly64_assets.evaluation.bound.limit import Bound, UnitLimit


def limit_arrays(limit: UnitLimit, digest: str) -> dict[str, NDArray[Any]]:
    """Arrays of a bound: ``phase_variance`` and ``amplitude_variance`` (H, W) float32 for s = 1, ``_metadata`` (JSON).

    Parameters
    ----------
    digest : str
        SHA256 of the problem, see ``LimitProblem.sha256``.
    """
    document = {"problem_sha256": digest, "limit": limit.to_dict()}
    arrays: dict[str, NDArray[Any]] = {"_metadata": np.array(json.dumps(document, sort_keys=True))}
    for name, picture in (("phase_variance", limit.phase_map), ("amplitude_variance", limit.amplitude_map)):
        if picture is not None:
            arrays[name] = picture.astype(np.float32)
    return arrays


def limit_from_arrays(arrays: Mapping[str, NDArray[Any]], digest: str) -> UnitLimit | None:
    """The bound of the problem with this digest; None if the arrays are those of another problem."""
    document = json.loads(str(arrays["_metadata"][()]))
    if document["problem_sha256"] != digest:
        return None
    facts = document["limit"]
    for part in ("phase", "amplitude"):
        facts[part] = None if facts[part] is None else Bound(**facts[part])
        picture = arrays.get(f"{part}_variance")
        facts[f"{part}_map"] = None if picture is None else np.asarray(picture, dtype=np.float64)
    return UnitLimit(**(facts | {"singular": tuple(facts["singular"])}))
