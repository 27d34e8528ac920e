"""How good an object is: by a truth, by counts that were kept aside, and by what the photons allow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fly64_assets.errors import ContractError
from fly64_assets.evaluation.settings import EvaluationSettings, MetricsConfig
from fly64_assets.physics.measurement import Measurement

if TYPE_CHECKING:
    import pandas as pd

Objects = Mapping[str, NDArray[np.complexfloating]]
"""Reconstructions (H, W) on the grid of a measurement, by name."""


def judge(measurement: Measurement, objects: Objects, truth: NDArray[np.complexfloating]) -> pd.DataFrame:
    """Scores of objects against the truth, a row for each score, by the procedure of a study.

    Every object is registered and brought to the truth's scale and phase in the same way, and scored where the frames
    illuminate enough; a uniform object is scored beside them under the name ``flat``.

    Parameters
    ----------
    measurement : Measurement
        The frames: they say which pixels count.
    objects : mapping of name to (H, W) complex
    truth : (H, W) complex

    Returns
    -------
    DataFrame
        ``method``, ``part`` (amplitude, phase, complex), ``metric``, ``value``, and ``reason`` where there is none.

    Examples
    --------
    >>> from fly64_assets.api.frames import simulate
    >>> truth, probe = np.exp(0.3j * (np.arange(96)[:, None] % 2) * np.ones(96)), np.ones((32, 32), complex)
    >>> grid = np.mgrid[0:48:12, 0:48:12].reshape(2, -1) + 20.0
    >>> table = judge(simulate(truth, probe, *grid, dose=1000), {"right": 2j * truth}, truth)
    >>> scores = table.set_index(["method", "part", "metric"])["value"]
    >>> bool(scores["right", "phase", "rmse"] < 1e-6), bool(scores["flat", "phase", "rmse"] > 0.1)
    (True, True)
    """
    import pandas as pd

    from fly64_assets.evaluation.scores.compare import SplitInput, compare_split
    from fly64_assets.evaluation.scores.region import scan_box

    for name, obj in {"the truth": truth, **objects}.items():
        _require_grid(name, obj, measurement)
    compared = compare_split(
        "all", np.asarray(truth), SplitInput(measurement, dict(objects), scan_box(measurement.scan)),
        evaluation=EvaluationSettings(), metrics=MetricsConfig(), limit=_no_limit,
    )  # fmt: skip
    rows = [(row.method, row.part, row.metric, row.value, row.reason) for row in compared.rows]
    table = pd.DataFrame(rows, columns=["method", "part", "metric", "value", "reason"])
    return table[(table["method"] != "truth") & (table["metric"] != "efficiency")].reset_index(drop=True)


def predict(kept_aside: Measurement, objects: Objects) -> pd.DataFrame:
    """How well objects predict counts that no method has seen, the best first; no truth is needed.

    Parameters
    ----------
    kept_aside : Measurement
        The second part of :func:`split_counts`, whose first part the objects were found from.
    objects : mapping of name to (H, W) complex

    Returns
    -------
    DataFrame
        By ``method``: ``nll``, the negative log-likelihood per frame [nats] up to a constant of the data;
        ``above_best``, its mean difference from the best one's; ``error`` and ``p``, the standard error of that mean
        and the probability of one so large by chance. Frames that share light count together, and the probabilities
        are Holm's over the objects; with fewer than three independent areas there are none. What an object leaves
        unexplained is a smooth background, fitted to every other frame, as in a study of measured frames.

    Examples
    --------
    >>> from fly64_assets.api.frames import simulate, split_counts
    >>> truth, probe = np.exp(0.5j * (np.arange(96)[:, None] % 2) * np.ones(96)), np.ones((32, 32), complex)
    >>> grid = np.mgrid[0:48:12, 0:48:12].reshape(2, -1) + 20.0
    >>> fitted, kept_aside = split_counts(simulate(truth, probe, *grid, dose=1000))
    >>> list(predict(kept_aside, {"uniform": np.ones_like(truth), "right": truth})["method"])
    ['right', 'uniform']
    """
    import pandas as pd

    from fly64_assets.evaluation.counts.contests import adjusted_probabilities
    from fly64_assets.evaluation.counts.likelihood import predicted
    from fly64_assets.evaluation.counts.paired import SharedLight

    if not objects:
        raise ContractError("there is no object to judge; expected at least one")
    for name, obj in objects.items():
        _require_grid(name, obj, kept_aside)
    by_frame = predicted(objects, kept_aside, kept_aside.counts, kept_aside.intensity_scale)[0]
    for name, per_frame in by_frame.items():
        if unpredicted := int((~np.isfinite(per_frame)).sum()):
            raise ContractError(
                f"{name} predicts no finite counts in {unpredicted} of {len(per_frame)} frames; expected finite values "
                "wherever the frames illuminate the object"
            )
    ranked = sorted(by_frame, key=lambda name: float(by_frame[name].mean()))
    light = SharedLight(kept_aside.modes, kept_aside.scan)
    tests = [light.test(by_frame[name] - by_frame[ranked[0]]) for name in ranked[1:]]
    rows: list[tuple[Any, ...]] = [(ranked[0], float(by_frame[ranked[0]].mean()), 0.0, None, None)]
    for name, test, p in zip(ranked[1:], tests, adjusted_probabilities(tests), strict=True):
        rows.append((name, float(by_frame[name].mean()), test.mean, test.error, p))
    return pd.DataFrame(rows, columns=["method", "nll", "above_best", "error", "p"])


def photon_limit(measurement: Measurement, obj: NDArray[np.complexfloating]) -> dict[str, Any]:
    """The least error that the photons of a scan allow an unbiased estimate of an object (Cramér-Rao bound).

    Parameters
    ----------
    measurement : Measurement
        Probe, positions, dose and bad pixels.
    obj : (H, W) complex
        The object at which the bound is evaluated: the truth, or a good reconstruction.

    Returns
    -------
    dict
        ``state`` (regular, singular, none) with its ``reason``, ``phase_rad`` and ``amplitude``, the root of the mean
        bound over the evaluated pixels, and ``photon_floor_rad``, the root of the mean of 1 / (4 n), which always
        exists.

    Examples
    --------
    >>> from fly64_assets.api.frames import simulate
    >>> obj, probe = np.ones((64, 64), complex), np.ones((16, 16), complex)
    >>> grid = np.mgrid[0:32:4, 0:32:4].reshape(2, -1) + 12.0
    >>> limit = photon_limit(simulate(obj, probe, *grid, dose=1000), obj)
    >>> limit["photon_floor_rad"] < 0.2, limit["state"] in ("regular", "singular")
    (True, True)
    """
    from fly64_assets.evaluation.bound.limit import dose_limit
    from fly64_assets.evaluation.scores.photons import limit_at, photon_budget
    from fly64_assets.evaluation.scores.region import evaluation_region, scan_box

    _require_grid("the object", obj, measurement)
    m, obj = measurement, np.asarray(obj)
    threshold = EvaluationSettings().coverage_threshold
    region = evaluation_region(m.modes, m.scan, threshold=threshold, scan_box=scan_box(m.scan))
    photons = photon_budget(region.illumination, obj, region.mask, m.intensity_scale, m.frames)
    limit = limit_at(obj, m, region, dose_limit, photons.phase_floor_rad).to_dict()
    return {name: limit[name] for name in ("state", "reason", "phase_rad", "amplitude", "photon_floor_rad")}


def _no_limit(_problem: object) -> Any:
    raise ValueError("see photon_limit")


def _require_grid(name: str, obj: NDArray[Any], measurement: Measurement) -> None:
    if np.shape(obj) != tuple(measurement.object_shape):
        raise ContractError(
            f"{name} has shape {np.shape(obj)}; expected {tuple(measurement.object_shape)}, the grid of the frames"
        )
