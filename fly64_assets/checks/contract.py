"""``data_001``: the data sets that an asset wrote, or read, obey the data contract. ``oversampling_001`` for views."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from fly64_assets.checks.factory import Subject
from fly64_assets.contract.npz import open_npz
from fly64_assets.contract.validate import validate, validate_base
from fly64_assets.errors import ContractError
from fly64_assets.physics.scan import SPLITS


def data_001(subject: Subject) -> Sequence[str]:
    """Every data set of the record, outputs or else inputs, against DATA-001."""
    problems: list[str] = []
    for path in data_sets(subject):
        try:
            arrays = open_npz(path)
        except ContractError as error:
            problems.append(str(error))
            continue
        if path == subject.layout.base:
            report = validate_base(arrays, patch_size=subject.design.patch_size_pixels)
        else:
            report = validate(arrays, expected=subject.design.expectations())
        problems += [f"{path.name}: {finding.code}: {finding.message}" for finding in report.errors]
    return problems


def data_sets(subject: Subject) -> Iterator[Path]:
    """Data-set files among the outputs of the base, simulation and view stages, else among the inputs."""
    record = subject.record
    written = record.outputs if record.key.stage in ("base", "simulated", "view") else {}
    names = [name for name in (*written, *record.inputs) if name.endswith(("_train.npz", "_test.npz", "base.npz"))]
    yield from (subject.layout.folder / name for name in dict.fromkeys(names))


def oversampling_001(subject: Subject) -> Sequence[str]:
    """Enough neighbours and frames for groups of g^2, where the study's network takes groups (K >= g^2)."""
    view = subject.record.key.view or ""
    least = subject.design.gridsize(view) ** 2 if subject.design.groups_frames else 1
    problems = []
    if least > 1 and subject.design.neighbor_count < least:
        problems.append(f"OVERSAMPLING-001: neighbor_count = {subject.design.neighbor_count}; {least} are needed")
    for split in SPLITS:
        facts = subject.record.values["splits"][split]
        if facts["outcome"] == "succeeded" and facts["n_accepted"] < least:
            problems.append(f"OVERSAMPLING-001: {split} holds {facts['n_accepted']} frames; {least} are needed")
    return problems
