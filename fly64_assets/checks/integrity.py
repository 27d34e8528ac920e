"""``sha256``: every file that an asset wrote is what its sidecar and its record say."""

from collections.abc import Sequence

from fly64_assets.checks.factory import Subject
from fly64_assets.errors import ArtifactError
from fly64_assets.store.sidecars import verified


def sha256(subject: Subject) -> Sequence[str]:
    """Hash every output and compare it with its sidecar and with the record."""
    problems: list[str] = []
    for name, expected in subject.record.outputs.items():
        try:
            found = verified(subject.layout.folder / name).sha256
        except ArtifactError as error:
            problems.append(str(error))
            continue
        if found != expected:
            problems.append(
                f"{name}: SHA256 {found[:12]}; the record of {subject.record.key.label} says {expected[:12]}"
            )
    return problems
