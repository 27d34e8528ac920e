"""The photon limit of a comparison: from a cell that has it already, or sought anew.

Belongs here: where bounds lie among the study's files. Does not belong here: the bound itself.
"""

from pathlib import Path

from fly64_assets.assets.flow import Work
from fly64_assets.contract.npz import open_npz, write_npz
from fly64_assets.errors import Fly64Error
from fly64_assets.evaluation.bound.limit import LimitProblem, UnitLimit, dose_limit, limit_arrays, limit_from_arrays
from fly64_assets.evaluation.scores.compare import LimitSource
from fly64_assets.store.sidecars import verified
from fly64_assets.study import stages
from fly64_assets.study.layout import StageKey


def shared_limits(work: Work, found: dict[str, UnitLimit]) -> LimitSource:
    """Bounds for one cell; ``found`` collects them by the SHA256 of their problems.

    A bound does not depend on the dose, so that a cell takes it from the comparison of another dose or repeat where the
    problem is the same to the last bit.
    """

    def limit(problem: LimitProblem) -> UnitLimit:
        digest = problem.sha256()
        for path in _other_limits(work):
            shared = _read(path, digest)
            if shared is not None:
                work.context.log.info(f"{work.key.label}: photon limit taken from {path.parent.name} ({path.name})")
                found[digest] = shared
                return shared
        found[digest] = dose_limit(problem)
        return found[digest]

    return limit


def write_limit(work: Work, name: str, limit: UnitLimit, digest: str) -> None:
    """Keep a bound beside the comparison, for this cell and for others."""
    arrays = limit_arrays(limit, digest)
    work.build.write(work.layout.output(work.key, name), lambda file: write_npz(file, arrays))


def _other_limits(work: Work) -> list[Path]:
    """Files of bounds in the comparisons of the same view at other doses and in other repeats."""
    layout, design = work.layout, work.design
    paths = []
    for dose in design.doses:
        for key in stages.repeats(design, StageKey("comparison", dose, work.key.view)):
            record = None if key == work.key else work.store.record(layout, key)
            names = record.outputs if record else ()
            paths += [layout.folder / name for name in names if Path(name).name.startswith("limit_")]
    return [path for path in paths if path.suffix == ".npz"]


def _read(path: Path, digest: str) -> UnitLimit | None:
    try:
        verified(path)
        return limit_from_arrays(open_npz(path), digest)
    except Fly64Error:
        # Damaged, or being rebuilt at this moment: the bound is sought anew.
        return None
