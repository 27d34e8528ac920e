"""How an asset runs an engine: in its own process, with its progress reported, and its log kept even if it fails."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from fly64_assets.assets.flow import Work
from fly64_assets.assets.live import Curves
from fly64_assets.automation.runs import progress_listener
from fly64_assets.engines.preview import FILE, further_tenth
from fly64_assets.engines.process import Progress, run_isolated
from fly64_assets.measured.pairs import PAIRS
from fly64_assets.study import stages


def run_engine(
    work: Work[Any], job: str, request: Mapping[str, Any], log: Path, label: str = "", processes: int = 1
) -> dict[str, Any]:
    """Run a job of the stage's engine and return its facts; what it printed becomes the artifact ``log``."""
    scratch = work.build.scratch / log.name
    try:
        return run_isolated(
            f"{work.stage.engine}:{job}",
            {**request, "execution": work.execution.to_dict()},
            execution=work.execution,
            log_path=scratch,
            progress=reporter(work.context, label or work.key.label, work.build.scratch),
            processes=processes,
            libraries=work.build.computed_with,
        )
    finally:
        if scratch.exists():
            work.build.adopt(scratch, log, data=False)


def pairs_seed(work: Work[Any]) -> int | None:
    """The seed by which a method divides its measurement into halves; None where the stage has none to reconstruct."""
    asked = stages.parameters(work.design, work.key).get("pairs")
    return work.design.repeat_seeds(work.key.repeat)["simulation"] if asked else None


def adopt_pairs(work: Work[Any], split: str) -> None:
    """Keep the objects of halves of a split, if the job has made any."""
    made = work.build.scratch / PAIRS
    if made.is_file():
        work.build.adopt(made, work.layout.pairs(work.key, split))


def reporter(context: dg.AssetExecutionContext, label: str, scratch: Path | None = None) -> Progress:
    """Pass progress on: to the process that launched the run, and at every tenth into Dagster's log.

    Beside the log's line stands an observation of the asset with the curves so far, and the object so far where the
    engine has drawn it in its folder ``scratch``, so that a running engine can be watched in its run.
    """
    listener = progress_listener.get()
    before, curves = 0, Curves()

    def report(done: int, total: int, values: Mapping[str, float]) -> None:
        nonlocal before, curves
        if listener:
            listener(done, total, values, label=label)
        if done < before:
            before, curves = 0, Curves()  # a further reconstruction begins, of a half
        curves.add(values)
        if further_tenth(before, done, total):
            numbers = ", ".join(f"{name} {value:.6g}" for name, value in values.items())
            context.log.info(f"{label}: {done} of {total} ({numbers})" if numbers else f"{label}: {done} of {total}")
            if numbers:
                context.log_event(curves.observation(context, label, done, total, _taken(scratch)))
        before = done

    return report


def _taken(scratch: Path | None) -> bytes | None:
    """The picture that an engine has drawn in a folder; it is removed, so that each is shown once."""
    if scratch is None:
        return None
    path = scratch / FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    path.unlink(missing_ok=True)
    return content


def numbers(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that Dagster can plot or show as short text, with their unit in the name where they have one."""
    plain = {name: value for name, value in facts.items() if isinstance(value, (int, float, str)) and value != ""}
    return {"phase_std_rad" if name == "phase_std" else name: value for name, value in plain.items()}
