"""The Dagster instance of a command: its folder and settings, and what runs that have ended left behind in it."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import click
import yaml

import fly64_assets
from fly64_assets.cli.console import unusable
from fly64_assets.errors import ArtifactError, Fly64Error
from fly64_assets.resources.environment import HOME_VARIABLE, instance_folder
from fly64_assets.store.atomic import write_atomically

MONITORING: Final = "run_monitoring"
FREE_SLOTS: Final = "free_slots_after_run_end_seconds"
ADDED: Final = {"enabled": True, FREE_SLOTS: 1}
"""Without them a run that is killed keeps its slot of a pool, and every other engine waits for it for ever."""

STORAGE: Final = "storage"
_STORAGES: Final = {STORAGE, "run_storage", "event_log_storage", "schedule_storage"}
"""Sections of Dagster's settings that say where it keeps things."""


def dagster_home() -> Path:
    """The instance's folder, created with the project's settings; ``DAGSTER_HOME`` names it from now on.

    Raises :class:`Fly64Error` where it can neither exist nor be created.
    """
    home = instance_folder()
    settings = home / "dagster.yaml"
    if why := unfit(settings):
        raise Fly64Error(f"{HOME_VARIABLE}: {why}")
    home.mkdir(parents=True, exist_ok=True)
    if not settings.exists():
        shipped = (Path(fly64_assets.__file__).parent / "dagster.yaml").read_bytes()
        try:
            # At once, with all they hold: another process may read them meanwhile.
            write_atomically(settings, lambda file: file.write(shipped))
        except ArtifactError as error:
            cause = getattr(error.__cause__, "strerror", None) or error
            raise Fly64Error(
                f"{settings} could not be written ({cause}): set {HOME_VARIABLE} to a folder that can be written"
            ) from error
    os.environ[HOME_VARIABLE] = str(home)
    return home


def unfit(settings: Path) -> str:
    """Why settings can neither be read nor be created at their place, as a sentence; empty where they can."""
    if why := unusable(settings):
        return why
    if settings.is_symlink() and not settings.exists():
        return f"{settings} is a symbolic link to a file that does not exist: make that file or remove the link"
    return ""


def ready_instance() -> Path:
    """The instance's folder, when the instance can be used and what ended runs left behind is put right, and said.

    Raises :class:`Fly64Error` where it cannot be used.
    """
    home = dagster_home()
    from fly64_assets.automation.runs import close_lost_runs, free_slots, load_instance

    settings = home / "dagster.yaml"
    with load_instance() as instance:
        monitored = instance.run_monitoring_enabled
        for run in close_lost_runs(instance):
            click.echo(f"run {run[:8]} counts as failed now: its process has ended", err=True)
        for run in free_slots(instance):
            click.echo(f"run {run[:8]} had ended and still held a slot of a pool: it is free now", err=True)
    if settings.is_file() and (added := with_free_slots(settings.read_bytes())):
        name = f"{MONITORING}.{FREE_SLOTS}"
        click.echo(_written(settings, added, "killed runs give their slots back", name, {MONITORING: ADDED}), err=True)
    elif not monitored:
        click.echo(slots_are_kept(settings), err=True)
    return home


def differences(settings: Path) -> list[str]:
    """Settings that differ from the shipped ones, as ``name: value (shipped: value)``; other sections by their name."""
    ours = _flat(_read((Path(fly64_assets.__file__).parent / "dagster.yaml").read_text()))
    theirs = _flat(_read(settings.read_text(errors="replace")))
    changed = [
        f"{name}: {theirs.get(name, 'not set')} (shipped: {value})"
        for name, value in ours.items()
        if name not in theirs or theirs[name] != value
    ]
    known = {name.partition(".")[0] for name in ours}
    added = {name.partition(".")[0] for name in theirs} - known
    return changed + [f"{name} (shipped: none)" for name in sorted(added)]


def _flat(settings: Any, above: str = "") -> dict[str, Any]:
    """Values of nested settings by their dotted names."""
    if not isinstance(settings, dict):
        return {above: settings} if above else {}
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{above}.{name}" if above else str(name))
    return found


def slots_are_kept(settings: Path) -> str:
    """What it means that an instance does not free the slots of killed runs, and which settings it needs."""
    return (
        "runs that are killed keep their GPU slots until the next `fly64 run` or `fly64 ui`: "
        f"{settings} needs {MONITORING} with enabled: true and {FREE_SLOTS}: 1"
    )


def keep_in(settings: Path, storage: Mapping[str, Any]) -> str:
    """Have an instance keep everything where the section ``storage`` says; what was done, or is left to the user."""
    content = settings.read_bytes() if settings.is_file() else b""
    section, purpose = {STORAGE: dict(storage)}, "Dagster keeps its runs and events there"
    if _STORAGES & set(_read(content.decode(errors="replace")) or ()):
        why = f"{settings} has a section about storage already and was not changed"
        return _left_to_user(settings, why, purpose, section)
    added = content.rstrip() + b"\n\n" + yaml.safe_dump(section, sort_keys=False).encode()
    return _written(settings, added.lstrip(), purpose, STORAGE, section)


def _written(settings: Path, added: bytes, purpose: str, name: str, section: Mapping[str, Any]) -> str:
    """Write settings unless the file is a link or cannot be written; what was done, or which lines the user may add."""
    if settings.is_symlink():
        why = f"{settings} is a symbolic link and was not changed"
    elif not os.access(settings, os.W_OK):
        why = f"{settings} is not writable and was not changed"
    else:
        try:
            write_atomically(settings, functools.partial(_fill, content=added, mode=settings.stat().st_mode))
        except (ArtifactError, OSError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            why = f"{settings} could not be changed ({getattr(cause, 'strerror', None) or error})"
        else:
            return f"{settings}: added {name}, so that {purpose}"
    return _left_to_user(settings, why, purpose, section)


def _left_to_user(settings: Path, why: str, purpose: str, section: Mapping[str, Any]) -> str:
    (name,) = section
    lines = yaml.safe_dump(dict(section), sort_keys=False).strip()
    return (
        f"{why}. So that {purpose}, add to {settings.resolve()} what it lacks of these lines "
        f"(a section {name} that is there already stays the only one):\n{lines}"
    )


def _fill(file: BinaryIO, content: bytes, mode: int) -> None:
    """Write with the permissions of the file that is replaced: it may hold a database's password."""
    os.fchmod(file.fileno(), mode)
    file.write(content)


def with_free_slots(content: bytes) -> bytes:
    """Settings of an instance with the setting that frees slots, comments and all else as they were.

    Empty where the user has chosen a value or switched the monitoring off, and where Dagster cannot read the content.
    """
    try:
        text = content.decode()
        settings, root = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except (UnicodeDecodeError, yaml.YAMLError):
        return b""
    if settings is None:
        return f"{text}\n{yaml.safe_dump({MONITORING: ADDED})}".lstrip().encode()
    if not isinstance(settings, dict) or not isinstance(root, yaml.MappingNode):
        return b""
    nodes = {key.value: value for key, value in root.value}
    known = settings.get(MONITORING) or {}
    if not isinstance(known, dict) or FREE_SLOTS in known or known.get("enabled") is False:
        return b""
    missing = {name: value for name, value in ADDED.items() if not known or name == FREE_SLOTS}
    entries = yaml.safe_dump(missing, default_flow_style=True, width=1000).strip()
    node, entry = (nodes[MONITORING], entries[1:-1]) if MONITORING in nodes else (root, f"{MONITORING}: {entries}")
    added = _inserted(text, node, entry)
    return added.encode() if _read(added) == {**settings, MONITORING: {**known, **missing}} else b""


def _inserted(text: str, node: yaml.Node, entry: str) -> str:
    """A text with one entry more at the beginning of a mapping, which may be empty or nothing yet."""
    if not node.value or not isinstance(node, yaml.MappingNode):
        return f"{text[: node.start_mark.index]} {{{entry}}}{text[node.end_mark.index :]}"
    first = node.value[0][0].start_mark
    between = ", " if node.flow_style else "\n" + " " * first.column
    return text[: first.index] + entry + between + text[first.index :]


def _read(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None
