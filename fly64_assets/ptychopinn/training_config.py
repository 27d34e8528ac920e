"""From the values of one training to PtychoPINN's configuration of it, and back to the values that must agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fly64_assets.pinn.cnn.samples import held_out_frames
from fly64_assets.pinn.settings import CnnSettings
from fly64_assets.ptychopinn.configuration import ModelConfig, TrainingConfig
from fly64_assets.ptychopinn.dictionary import DEFAULTS, unsupported


@dataclass(frozen=True)
class TrainingJob:
    """One training of a study, as the values that fix it.

    ``frames`` of the train half, of side ``patch_size`` [px], at ``dose`` photons per frame; samples of ``gridsize``^2
    frames, drawn from the ``neighbor_count`` nearest; the repeat's ``seeds``, ``grouping`` and ``subsampling``.
    """

    dose: int
    frames: int
    patch_size: int
    gridsize: int
    neighbor_count: int
    seeds: Mapping[str, int]
    settings: CnnSettings


def training_values(job: TrainingJob) -> dict[str, Any]:
    """What the dictionary must hold for a training, by PtychoPINN's key.

    None of these may come from a default: constants of a study that never reached its training were how results were
    lost.
    """
    settings = job.settings
    training = job.frames - held_out_frames(job.frames, job.gridsize, settings.validation_fraction)
    return {
        "N": job.patch_size,
        "gridsize": job.gridsize,
        "neighbor_count": job.neighbor_count,
        "n_groups": training * (settings.samples_per_position if job.gridsize > 1 else 1),
        "nepochs": settings.epochs,
        "batch_size": settings.batch_size,
        "nphotons": float(job.dose),
        "n_filters_scale": settings.n_filters_scale,
        "subsample_seed": job.seeds["subsampling"],
        "npseed": job.seeds["grouping"],
        "intensity_scale.trainable": False,
    }


def training_config(
    job: TrainingJob, *, train_data_file: str, test_data_file: str | None, output_dir: str
) -> tuple[TrainingConfig, dict[str, Any]]:
    """PtychoPINN's configuration of a training, and the values of keys that it has no field for."""
    values = training_values(job)
    own = ("batch_size", "nepochs", "nphotons", "n_groups", "subsample_seed", "neighbor_count")
    config = TrainingConfig(
        model=ModelConfig(**{name: values[name] for name in ("N", "gridsize", "n_filters_scale")}, probe_scale=1.0),
        train_data_file=train_data_file,
        test_data_file=test_data_file,
        output_dir=output_dir,
        enable_oversampling=job.gridsize > 1,
        intensity_scale_trainable=values["intensity_scale.trainable"],
        **{name: values[name] for name in own},
    )
    return config, {"npseed": values["npseed"], "debug": False}


def disagreements(params: Mapping[str, Any], job: TrainingJob) -> Iterator[str]:
    """Every way in which a bundle's ``params.json`` and the design's values disagree (CONFIG-001), as a sentence.

    The recorded snapshot must hold every key, the values of the training, and nothing that the network cannot honour;
    and the network must have been built and trained with what the snapshot says.
    """
    snapshot = params.get("legacy")
    if not isinstance(snapshot, Mapping):
        yield "CONFIG-001: the bundle holds no legacy snapshot; it was not trained through a session"
        return
    missing = sorted(set(DEFAULTS) - set(snapshot))
    if missing:
        yield f"CONFIG-001: the snapshot lacks {', '.join(missing)}"
    for key, value in training_values(job).items():
        if key in snapshot and snapshot[key] != value:
            yield f"CONFIG-001: {key} = {snapshot[key]!r} in the snapshot; the design says {value!r}"
    yield from (f"CONFIG-001: {problem}" for problem in unsupported(snapshot))
    network, settings = params["network"], params["settings"]
    used = {
        "N": network["patch_size"],
        "gridsize": round(network["group_frames"] ** 0.5),
        "n_filters_scale": network["n_filters_scale"],
        "neighbor_count": params["neighbor_count"],
        "n_groups": params["n_groups"],
        "npseed": params["seed"],
        "nepochs": settings["epochs"],
        "batch_size": settings["batch_size"],
        "intensity_scale": params["intensity_scale"],
    }
    for key, value in used.items():
        if snapshot.get(key) != value:
            yield f"CONFIG-001: the network was trained with {key} = {value!r}; its snapshot says {snapshot.get(key)!r}"
