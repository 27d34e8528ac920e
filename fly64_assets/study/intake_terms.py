"""What the intake of bases and that of measured frames share: terms of their arguments, facts of their records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from fly64_assets.contract.corrections import NONE
from fly64_assets.contract.findings import Finding
from fly64_assets.engines.execution import Execution
from fly64_assets.engines.process import Progress
from fly64_assets.errors import ContractError
from fly64_assets.formats.reading.opening import files_beside
from fly64_assets.physics.illumination import probe_diameter_px
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.builds import Build
from fly64_assets.store.hashing import sha256_file
from fly64_assets.store.keys import BASE
from fly64_assets.store.layout import Layout
from fly64_assets.store.locks import Announce
from fly64_assets.study import stages
from fly64_assets.study.design import StudyDesign

Form = Mapping[str, Any]
"""What a user says about a file that the file does not show: arguments of the conversion (``contract.canonical``)."""

LIMIT: Final = "max_bytes"
"""What a user says of a file that changes no result."""

Say = Callable[[Finding], None]
"""Shows a finding that stops nothing."""


def silent(_finding: Finding) -> None:
    """Show nothing."""


def _unheard(_done: int, _total: int, _values: Mapping[str, float]) -> None:
    """Take no notice of progress."""


@dataclass(frozen=True)
class Engine:
    """Where a calibration runs, and the function that is called with its progress."""

    execution: Execution = field(default_factory=Execution)
    progress: Progress = _unheard


ON_THE_CPU: Final = Engine()
"""One thread of the CPU; progress is not shown."""


def unchanged_sha256(path: Path, expected: str | None) -> str:
    """SHA256 of a file; :class:`ContractError` if it is not the ``expected`` one, where there is one."""
    source = sha256_file(path)
    if expected and source != expected:
        raise ContractError(
            f"{path}: its content changed after it was chosen (SHA256 {expected[:12]} then, {source[:12]} now); "
            "import it again when it has its last form"
        )
    return source


def base_build(
    store: ArtifactStore,
    layout: Layout,
    design: StudyDesign,
    inputs: Mapping[Path, str],
    parameters: Mapping[str, Any],
    announce: Announce | None,
) -> AbstractContextManager[Build]:
    """The build of a base under the lock of its folder."""
    return store.build(
        layout,
        BASE,
        inputs=inputs,
        parameters=parameters,
        design_sha256=design.sha256(),
        code_version=stages.code_version(BASE),
        seeds={},
        announce=announce,
    )


def warned(findings: Iterable[Finding]) -> dict[str, Any]:
    """Warnings as a fact of a record, from which every command can show them; nothing where there are none."""
    messages = [f"{finding.code}: {finding.message}" for finding in findings]
    return {"warnings": messages} if messages else {}


def base_facts(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Sizes of a base for its record."""
    height, width = arrays["objectGuess"].shape
    try:
        diameter = probe_diameter_px(arrays["probeGuess"])
    except ValueError as problem:
        raise ContractError(f"the base cannot be used: {problem}") from problem
    return {
        "object_height_px": height,
        "object_width_px": width,
        "patch_size_px": int(arrays["probeGuess"].shape[-1]),
        "positions": len(arrays["xcoords"]),
        "probe_diameter_px": diameter,
    }


def stated(form: Form) -> dict[str, Any]:
    """What a user said of a file, in plain JSON types; options that were not given, or change nothing, are left out."""
    said: dict[str, Any] = {}
    for name, value in form.items():
        plain = value
        if is_dataclass(value) and not isinstance(value, type):
            blank = type(value)()
            plain = {f.name: getattr(value, f.name) for f in fields(value) if f.name != LIMIT}
            plain = {name: one for name, one in plain.items() if one != getattr(blank, name)}
        if name != LIMIT and plain not in (None, False, (), {}, []):
            said[name] = _plain(plain)
    return said


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    return value.name if isinstance(value, Path) else value


def further_files(form: Form) -> tuple[Path, ...]:
    """Files besides the frames that decide what a base of them is: those beside it, and masks."""
    corrections = form.get("corrections", NONE)
    masks = [Path(given) for given in (corrections.mask, corrections.good_pixels) if given is not None]
    return (*files_beside(form), *(file for file in masks if file.is_file()))
