"""The networks of one cell, in either backend: training on the train half, reconstruction of both halves."""

from collections.abc import Mapping
from typing import Any

from fly64_assets.assets.engines import adopt_pairs, numbers, pairs_seed, run_engine
from fly64_assets.assets.flow import Work, picture
from fly64_assets.physics.scan import JUDGED_SPLIT
from fly64_assets.ptychopinn.training_config import training_config
from fly64_assets.resources.legacy_config import LegacyConfigResource, training_job
from fly64_assets.store.keys import Cell, StageKey
from fly64_assets.store.sidecars import verified
from fly64_assets.study import stages
from fly64_assets.study.states import existing_splits
from fly64_assets.study.table import TRAIN

TENSORFLOW = "tensorflow"


def train_network(work: Work[Cell]) -> Mapping[str, Any]:
    """Train the network of one cell in an engine process."""
    key, layout, build = work.key, work.layout, work.build
    frames = layout.view_frames(work.at.half(TRAIN))
    request = {
        "measurement": str(frames),
        "output_folder": str(build.scratch),
        "arm": key.method,
        "settings": stages.parameters(work.design, key)["pinn"],
        "gridsize": key.gridsize,
        "neighbor_count": work.design.neighbor_count,
        "seeds": work.design.repeat_seeds(key.repeat),
        "provenance": {
            "design_sha256": work.design.sha256(),
            "data_sha256": verified(frames).sha256,
            "code_version": work.stage.code_version,
        },
        **(_dictionary(work) if work.stage.tool == TENSORFLOW else {}),
    }
    # The PyTorch network trains in as many processes as there are devices.
    processes = 1 if work.stage.tool == TENSORFLOW else work.execution.devices
    facts = run_engine(work, "train_job", request, layout.output(key, "train.log"), processes=processes)
    curve = (build.scratch / "loss.png").read_bytes()
    build.adopt(build.scratch / "wts.h5.zip", layout.result(key))
    build.adopt(build.scratch / "history.csv", layout.output(key, "history.csv"))
    build.adopt(build.scratch / "loss.png", layout.output(key, "loss.png"), data=False)
    build.succeed(facts | {"backend": work.stage.tool, "execution": work.execution.to_dict()})
    return numbers(facts) | {"learning_curve": picture(curve)}


def reconstruct_with_network(work: Work[Cell]) -> Mapping[str, Any]:
    """Run the cell's bundle on both halves, each in an engine process."""
    key, layout, build, cell = work.key, work.layout, work.build, work.at
    pairs = pairs_seed(work)
    bundle = layout.result(StageKey("training", cell, key.method, work.design.gridsize(cell.view)))
    verified(bundle)
    description: dict[str, Any] = {}
    values: dict[str, Any] = {"execution": work.execution.to_dict(), "splits": {}}
    for split in existing_splits(work.store.required(layout, StageKey("view", cell))):
        frames = layout.view_frames(cell.half(split))
        verified(frames)
        request = {
            "bundle": str(bundle),
            "measurement": str(frames),
            "output": str(build.scratch / f"{split}.npz"),
            "figure": str(build.scratch / f"{split}.png"),
            "pairs": pairs if split == JUDGED_SPLIT else None,
        }
        facts = run_engine(work, "infer_job", request, layout.output(key, f"{split}.log"), f"{key.label} {split}")
        description[f"object_{split}"] = picture((build.scratch / f"{split}.png").read_bytes())
        build.adopt(build.scratch / f"{split}.png", layout.output(key, f"{split}.png"), data=False)
        build.adopt(build.scratch / f"{split}.npz", layout.result(key, split))
        adopt_pairs(work, split)
        values["splits"][split] = facts
        if "pairs_seconds" in facts:  # where the other methods record them
            values["pairs_seconds"] = facts["pairs_seconds"]
        description |= {f"{name}_{split}": value for name, value in numbers(facts).items()}
    build.succeed(values)
    return description


def _dictionary(work: Work[Cell]) -> dict[str, Any]:
    """PtychoPINN's parameters, for the dictionary that the TensorFlow network is trained through."""
    layout, cell = work.layout, work.at
    resource: LegacyConfigResource = work.context.resources.legacy_config
    view = work.store.required(layout, StageKey("view", cell))
    files = {
        split: layout.view_frames(cell.half(split)).relative_to(layout.data_root).as_posix()
        for split in existing_splits(view)
    }
    frames = int(view.values["splits"][TRAIN]["n_accepted"])
    config, others = training_config(
        training_job(work.design, cell.dose, cell.view, cell.repeat, frames),
        train_data_file=files[TRAIN],
        test_data_file=files.get("test"),
        output_dir=layout.folder_of(work.key).relative_to(layout.data_root).as_posix(),
    )
    return resource.request(config, others)
