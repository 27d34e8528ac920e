"""The reconstructions of one half of a cell, by any method without training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fly64_assets.assets.engines import adopt_pairs, numbers, pairs_seed, run_engine
from fly64_assets.assets.flow import Work, picture
from fly64_assets.contract.npz import open_npz
from fly64_assets.engines.execution import PICTURE, RESULT, RESULT_ARRAYS, reconstruction_request
from fly64_assets.errors import EngineError
from fly64_assets.store.keys import Half, StageKey
from fly64_assets.store.sidecars import verified
from fly64_assets.store.storage import fetched
from fly64_assets.study import stages


def reconstruct(work: Work[Half]) -> Mapping[str, Any]:
    """Reconstruct the object of one half in an engine process."""
    key, layout, build, half = work.key, work.layout, work.build, work.at
    frames = layout.view_frames(half)
    verified(frames)
    view = work.store.required(layout, StageKey("view", half.cell))
    parameters = stages.parameters(work.design, key)
    start = start_pairs = None
    if "start" in parameters:
        other = StageKey("inference", half.cell, parameters["start"])
        start = layout.result(other, half.split)
        pairs = fetched(layout.pairs(other, half.split))
        start_pairs = pairs if pairs.is_file() else None
    metadata = {
        "dose": half.dose,
        "view": half.view,
        "split": half.split,
        "frames": view.values["splits"][half.split]["n_accepted"],
    }
    settings, seed = parameters[work.stage.section], work.design.repeat_seeds(key.repeat)["grouping"]
    network = work.design.pretrained.file(work.design.folder) if work.stage.section == "pretrained" else None
    request = reconstruction_request(
        frames, build.scratch, settings, seed, work.execution, metadata, start, pairs_seed(work), start_pairs, network
    )
    build.note({"returncode": 1, "algorithm": key.method.upper()})
    facts = run_engine(work, "reconstruct_job", request, layout.output(key, "ptychi.log"))
    checked_results(build.scratch, work.stage.engine)
    figure = (build.scratch / PICTURE).read_bytes()
    build.adopt(build.scratch / RESULT, layout.result(key))
    build.adopt(build.scratch / PICTURE, layout.output(key, PICTURE), data=False)
    adopt_pairs(work, half.split)
    for sentence in facts.get("outside_of_training", ()):
        work.context.log.warning(f"{key.label}: {sentence}")
    build.succeed(facts | {"returncode": 0, "execution": work.execution.to_dict()})
    return numbers(facts) | {"object": picture(figure)}


def checked_results(folder: Path, engine: str) -> None:
    """Raise :class:`EngineError` where a job left out a file, or an array that the comparison reads."""
    wanted = f"see `reconstruction_request` for what {engine}.reconstruct_job must write"
    for name in (RESULT, PICTURE):
        if not (folder / name).is_file():
            raise EngineError(f"{engine} ended without writing {name} in {folder}; {wanted}")
    arrays = open_npz(folder / RESULT)
    if missing := [name for name in RESULT_ARRAYS if name not in arrays]:
        raise EngineError(f"{engine}: {RESULT} lacks {', '.join(missing)}; found {', '.join(arrays)}; {wanted}")
