"""How assets train a network and reconstruct with it, whatever the backend.

Belongs here: the course from verified frames to adopted files. Does not belong here: assets, requests of one backend.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fly64_assets.assets.engines import numbers, run_engine
from fly64_assets.assets.flow import Work, picture
from fly64_assets.contract.npz import open_npz
from fly64_assets.engines.execution import Execution
from fly64_assets.store.keys import StageKey
from fly64_assets.store.sidecars import verified
from fly64_assets.study import stages


@dataclass(frozen=True)
class Engine:
    """A backend, and the module of its jobs ``train_job`` and ``infer_job``.

    ``several_devices``: whether it trains in as many processes as there are devices.
    """

    backend: str
    module: str
    several_devices: bool = False


def train_network(
    work: Work,
    execution: Execution,
    engine: Engine,
    settings: Mapping[str, Any],
    further: Mapping[str, Any] | None = None,
) -> Mapping[str, Any]:
    """Train the network of one cell in an engine process; ``further`` goes into the request."""
    key, layout, build = work.key, work.layout, work.build
    assert key.dose is not None
    assert key.view is not None
    assert key.gridsize is not None
    assert key.arm is not None
    frames = layout.view_frames(key.dose, key.view, "train", key.repeat)
    work.dataset(frames)
    request = {
        "measurement": str(frames),
        "output_folder": str(build.scratch),
        "arm": key.arm,
        "settings": settings,
        "gridsize": key.gridsize,
        "neighbor_count": work.design.neighbor_count,
        "seeds": work.design.repeat_seeds(key.repeat),
        "provenance": {
            "design_sha256": work.design.sha256(),
            "data_sha256": verified(frames).sha256,
            "code_version": stages.CODE_VERSIONS["training"],
        },
        **(further or {}),
    }
    log, processes = layout.output(key, "train.log"), execution.devices if engine.several_devices else 1
    facts = run_engine(work, f"{engine.module}:train_job", request, execution, log, processes=processes)
    curve = (build.scratch / "loss.png").read_bytes()
    build.adopt(build.scratch / "wts.h5.zip", layout.bundle(key.dose, key.view, key.gridsize, key.arm, key.repeat))
    build.adopt(build.scratch / "history.csv", layout.output(key, "history.csv"))
    build.adopt(build.scratch / "loss.png", layout.output(key, "loss.png"), data=False)
    build.succeed(facts | {"backend": engine.backend, "execution": execution.to_dict()})
    return numbers(facts) | {"learning_curve": picture(curve)}


def reconstruct_with_network(work: Work, execution: Execution, engine: Engine) -> Mapping[str, Any]:
    """Run the cell's bundle on both halves, each in an engine process."""
    key, layout, build = work.key, work.layout, work.build
    assert key.dose is not None
    assert key.view is not None
    assert key.arm is not None
    view = work.store.required(layout, StageKey("view", key.dose, key.view, repeat=key.repeat))
    bundle = layout.bundle(key.dose, key.view, work.design.gridsize(key.view), key.arm, key.repeat)
    verified(bundle)
    shown: dict[str, Any] = {}
    values: dict[str, Any] = {"execution": execution.to_dict(), "splits": {}}
    for split in stages.existing_splits(view):
        frames = layout.view_frames(key.dose, key.view, split, key.repeat)
        work.dataset(frames)
        request = {
            "bundle": str(bundle),
            "measurement": str(frames),
            "output": str(build.scratch / f"{split}.npz"),
            "figure": str(build.scratch / f"{split}.png"),
        }
        log = layout.output(key, f"{split}.log")
        facts = run_engine(work, f"{engine.module}:infer_job", request, execution, log, f"{key.label} {split}")
        shown[f"object_{split}"] = picture((build.scratch / f"{split}.png").read_bytes())
        build.adopt(build.scratch / f"{split}.png", layout.output(key, f"{split}.png"), data=False)
        result = layout.inference(key.dose, key.view, key.arm, split, key.repeat)
        build.adopt(build.scratch / f"{split}.npz", result)
        open_npz(result)
        values["splits"][split] = facts
        shown |= {f"{name}_{split}": value for name, value in numbers(facts).items()}
    build.succeed(values)
    return shown
