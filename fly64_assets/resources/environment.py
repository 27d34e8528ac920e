"""Environment variables of the command and of the code location, with their defaults."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from fly64_assets.store.storage import is_url

STUDY_VARIABLE: Final = "FLY64_STUDY"
DATA_ROOT_VARIABLE: Final = "FLY64_DATA_ROOT"
INBOX_VARIABLE: Final = "FLY64_INBOX"
STEP_GPUS_VARIABLE: Final = "FLY64_STEP_GPUS"
STEP_CPUS_VARIABLE: Final = "FLY64_STEP_CPUS"
STEP_MEMORY_VARIABLE: Final = "FLY64_STEP_MEMORY_GIB"
EXECUTOR_VARIABLE: Final = "FLY64_EXECUTOR"
FAILURE_VARIABLE: Final = "FLY64_ON_FAILURE"
HOME_VARIABLE: Final = "DAGSTER_HOME"
PREFIX_VARIABLE: Final = "FLY64_ASSET_PREFIX"
POSTGRES_PASSWORD_VARIABLE: Final = "FLY64_POSTGRES_PASSWORD"  # noqa: S105 (its name)
PASSED_ON: Final = (
    STUDY_VARIABLE,
    DATA_ROOT_VARIABLE,
    INBOX_VARIABLE,
    STEP_GPUS_VARIABLE,
    STEP_CPUS_VARIABLE,
    STEP_MEMORY_VARIABLE,
    EXECUTOR_VARIABLE,
    FAILURE_VARIABLE,
    HOME_VARIABLE,
    PREFIX_VARIABLE,
    POSTGRES_PASSWORD_VARIABLE,
)
"""What a run or a step on another machine must have as the process that launches it."""
DEFAULT_STUDY: Final = "demo"
DEFAULT_DATA_ROOT: Final = "data"
DEFAULT_INBOX: Final = "inbox"


def default_study() -> str:
    """The study named by ``FLY64_STUDY``, else ``demo``."""
    return os.environ.get(STUDY_VARIABLE) or DEFAULT_STUDY


def default_data_root() -> str:
    """The folder named by ``FLY64_DATA_ROOT``, else ``data`` in the working folder."""
    return os.environ.get(DATA_ROOT_VARIABLE) or DEFAULT_DATA_ROOT


def default_inbox(data_root: str | None = None) -> str:
    """The folder named by ``FLY64_INBOX``, else ``inbox`` in the data root, or in the working folder for a URL."""
    root = data_root or default_data_root()
    return os.environ.get(INBOX_VARIABLE) or (DEFAULT_INBOX if is_url(root) else str(Path(root) / DEFAULT_INBOX))


def asset_prefix() -> str:
    """The prefix of all asset keys of this process, in ``FLY64_ASSET_PREFIX``; empty for none.

    An asset key is one asset in the whole Dagster instance, whatever the code location. Studies that are open side by
    side therefore have their names as prefixes.
    """
    return os.environ.get(PREFIX_VARIABLE) or ""


def failure_command() -> str:
    """The command in ``FLY64_ON_FAILURE`` that is run for every failed run; empty for none."""
    return (os.environ.get(FAILURE_VARIABLE) or "").strip()


def instance_folder() -> Path:
    """The folder of the Dagster instance: ``DAGSTER_HOME``, else ``.dagster`` in the working folder."""
    return Path(os.environ.get(HOME_VARIABLE) or ".dagster").absolute()
