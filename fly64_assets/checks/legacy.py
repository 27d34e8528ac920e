"""``config_001``: a bundle of the legacy arm was trained with exactly the design's values, none left to a default."""

from collections.abc import Sequence

from fly64_assets.checks.factory import Subject
from fly64_assets.pinn.bundle import read_bundle
from fly64_assets.ptychopinn.training_config import disagreements
from fly64_assets.resources.legacy_config import training_job
from fly64_assets.store.sidecars import verified
from fly64_assets.study.layout import StageKey


def config_001(subject: Subject) -> Sequence[str]:
    """The legacy snapshot inside the bundle against the design, the view and the network itself."""
    key, layout = subject.record.key, subject.layout
    assert key.dose is not None
    assert key.view is not None
    assert key.gridsize is not None
    assert key.arm is not None
    view = subject.store.required(layout, StageKey("view", key.dose, key.view, repeat=key.repeat))
    bundle = layout.bundle(key.dose, key.view, key.gridsize, key.arm, key.repeat)
    verified(bundle)
    frames = int(view.values["splits"]["train"]["n_accepted"])
    job = training_job(subject.design, key.dose, key.view, key.repeat, frames)
    return list(disagreements(read_bundle(bundle).params, job))
