"""A reconstructor of the library with its own functions, at the start of its first epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fly64_assets.engines.execution import Execution
from fly64_assets.lsqml import engine
from fly64_assets.lsqml.count_split import Photons
from fly64_assets.lsqml.settings import LsqmlSettings


@pytest.fixture
def started(scanned):
    """Builder: ``started(noise, **settings)`` gives a reconstructor and its first minibatch (indices, counts)."""

    def build(noise: str = "GAUSSIAN", windows: str = "fourier", **settings):
        scan = scanned(n=24, dose=1e5)
        rng = np.random.default_rng(4)
        obj = scan.object + 0.05 * rng.standard_normal(scan.object.shape)
        task = engine._task(
            scan.measurement,
            Photons(scan.measurement, 0.0, 1),
            LsqmlSettings(batch_size=8, subpixel=windows, **settings),
            Execution(),
            1,
            obj.astype(np.complex64),
            noise,
            scan.measurement.probe,
        )
        torch.set_default_device(None)
        reconstructor = task.reconstructor
        with torch.no_grad():
            reconstructor.run_pre_run_hooks()
            reconstructor.run_pre_epoch_hooks()
        indices = next(iter(reconstructor.dataloader.batch_sampler))
        return reconstructor, indices, reconstructor.dataset.patterns[indices]

    with torch.no_grad():
        yield build
