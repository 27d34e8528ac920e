"""Any method of a study on frames in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from fly64_assets.engines.execution import Execution, torch_settings
from fly64_assets.errors import EngineError
from fly64_assets.lsqml.settings import LsqmlSettings
from fly64_assets.physics.measurement import Measurement
from fly64_assets.pinn.pretrained.pretrained_spec import Applicability, read_pretrained
from fly64_assets.pinn.pretrained.settings import PretrainedSettings
from fly64_assets.pinn.settings import CnnSettings, UnrolledSettings
from fly64_assets.study.documents import adapter, broken_fields
from fly64_assets.tv_ml.settings import TvMlSettings

CNN_FRAMES: Final = 2
"""Side g of the groups of g^2 frames of ``cnn``, and from how many neighbours they are drawn."""
CNN_NEIGHBOURS: Final = 7


@dataclass(frozen=True)
class Reconstruction:
    """Result of a method.

    Attributes
    ----------
    object : (H, W) complex64
        On the grid of the measurement; 1 where nothing was illuminated.
    coverage : (H, W) float
        Illumination by all frames; for a network weighted to one for a frame at the probe's peak.
    probe : (N, N) or (M, N, N) complex
        The known probe, or the refined one.
    facts : mapping
        What the method says of its run: ``stop_reason``, ``seconds``, and others.
    """

    object: NDArray[np.complex64]
    coverage: NDArray[np.floating]
    probe: NDArray[np.complexfloating]
    facts: Mapping[str, Any] = field(default_factory=dict)


def reconstruct(
    measurement: Measurement,
    method: str = "tv_ml",
    *,
    seed: int = 0,
    threads: int | None = None,
    accelerator: str = "cpu",
    **settings: Any,
) -> Reconstruction:
    """Reconstruct the object from all frames of a measurement. No method sees a truth.

    Parameters
    ----------
    measurement : Measurement
        From :func:`simulate`, :func:`read`, or a study.
    method : ``lsqml``, ``tv_ml``, ``pinn``, ``cnn`` or ``pretrained``
        The iterative solver, regularised maximum likelihood, or a network: ``pinn`` and ``cnn`` are trained on these
        frames first, ``pretrained`` was trained before, on other scans (setting ``network``: a file, or ``general``,
        the one in the package). What of the scan lies outside of its training is in the facts.
    seed : int
        Of everything random; equal arguments give equal bytes on one machine.
    threads : int, optional
        CPU threads; by default all that this process may use.
    accelerator : ``cpu`` or ``cuda``
    **settings
        Settings of the method, as in the section of that name of a design.

    Raises
    ------
    EngineError
        For an unknown method, an unknown setting or a value out of its range; if the measurement is unfit, or the
        result is not finite.

    Examples
    --------
    >>> from fly64_assets.api.frames import simulate
    >>> probe = np.exp(-((np.mgrid[-16:16, -16:16] / 6.0) ** 2).sum(axis=0)).astype(complex)
    >>> y, x = (grid.ravel() + 24.0 for grid in np.mgrid[0:32:8, 0:32:8])
    >>> frames = simulate(np.exp(0.5j * np.ones((80, 80))), probe, x, y, dose=10_000)
    >>> reconstruct(frames, "lsqml", epochs=3).object.shape
    (80, 80)
    """
    if method not in METHODS:
        raise EngineError(f"method = {method!r}: must be one of {', '.join(METHODS)}")
    cls, run = METHODS[method]
    if broken := broken_fields(cls, settings):
        raise EngineError(f"settings of {method}: {'; '.join(broken.values())}")
    execution = Execution(accelerator=accelerator, threads=threads or len(os.sched_getaffinity(0)))
    return run(measurement, adapter(cast(Any, cls)).validate_python(settings), execution, seed)


def _silent(_done: int, _total: int, _values: Mapping[str, float]) -> None:
    """Progress is not reported."""


def _lsqml(measurement: Measurement, settings: LsqmlSettings, execution: Execution, seed: int) -> Reconstruction:
    from fly64_assets.lsqml import engine

    found = engine.reconstruct(measurement, settings, execution, seed, _silent)
    facts = {"stop_reason": found.stop_reason, "kept_epoch": found.kept_epoch, "seconds": found.seconds}
    return Reconstruction(found.object, found.coverage, found.probe, facts)


def _tv_ml(measurement: Measurement, settings: TvMlSettings, execution: Execution, seed: int) -> Reconstruction:
    from fly64_assets.tv_ml import solver

    with tempfile.TemporaryDirectory() as scratch:
        found = solver.reconstruct(measurement, settings, execution, seed, _silent, scratch=Path(scratch))
    facts = {"stop_reason": found.stop_reason, "level": found.level, "seconds": found.seconds}
    return Reconstruction(found.object, found.coverage, measurement.probe, facts)


def _network(
    measurement: Measurement, settings: UnrolledSettings | CnnSettings, execution: Execution, seed: int
) -> Reconstruction:
    from fly64_assets.pinn.bundle import Bundle
    from fly64_assets.pinn.inference import reconstruct as apply_network
    from fly64_assets.pinn.training import train

    groups = (CNN_FRAMES, CNN_NEIGHBOURS) if isinstance(settings, CnnSettings) else (1, CNN_NEIGHBOURS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        trained = train(measurement, settings, *groups, seed, execution, _silent, scratch=folder)
        bundle = Bundle({}, {"network": trained.spec.to_dict()}, trained.weights, trained.history)
        with torch_settings(execution):
            found = apply_network(bundle, measurement, execution.accelerator, folder, _silent)
    return Reconstruction(found.object, found.coverage, measurement.probe, trained.to_facts())


def _pretrained(
    measurement: Measurement, settings: PretrainedSettings, execution: Execution, _seed: int
) -> Reconstruction:
    from fly64_assets.pinn.pretrained.files import network_of
    from fly64_assets.pinn.pretrained.inference import reconstruct as apply_network

    bundle = read_pretrained(settings.network)
    outside = [sentence for sentence, _ in Applicability.of(bundle, settings.network).findings(measurement)]
    with torch_settings(execution):
        network = network_of(bundle, settings.network)
        found = apply_network(network, measurement, execution.accelerator, slow_phases=settings.slow_phases)
    facts = {"outside_of_training": outside, "gain_of_slow_phases": found.gain_of_slow_phases}
    return Reconstruction(found.object, found.coverage, measurement.probe, facts)


METHODS: Final[Mapping[str, tuple[type[Any], Callable[..., Reconstruction]]]] = {
    "lsqml": (LsqmlSettings, _lsqml),
    "tv_ml": (TvMlSettings, _tv_ml),
    "pinn": (UnrolledSettings, _network),
    "cnn": (CnnSettings, _network),
    "pretrained": (PretrainedSettings, _pretrained),
}
"""Settings and function of every method."""
