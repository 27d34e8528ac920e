"""Alerts: for every failed run a command of the user's choice gets one JSON document on standard input.

Belongs here: the reason of a failure, and the user's command. Does not belong here: the sensor (``sensors``), mail and
chat (left to the command).
"""

import json
import shlex
import subprocess
from collections.abc import Mapping
from typing import Any, Final

import dagster as dg

from fly64_assets.errors import Fly64Error

SECONDS: Final = 60
"""A command that takes longer is ended."""


def notify(command: str, document: Mapping[str, Any]) -> None:
    """Run a command line, without a shell, with the document as JSON on its standard input.

    Raises
    ------
    Fly64Error
        If it cannot be started, takes too long, or ends with another status than 0.
    """
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise Fly64Error(f"{command!r} is no command line: {error}") from error
    content = json.dumps(document, indent=2).encode()
    try:
        ended = subprocess.run(arguments, input=content, capture_output=True, timeout=SECONDS, check=False)
    except OSError as error:
        raise Fly64Error(f"{arguments[0]!r} cannot be started ({error.strerror or error})") from error
    except subprocess.TimeoutExpired as error:
        raise Fly64Error(f"{arguments[0]!r} was ended after {SECONDS} s") from error
    if ended.returncode:
        output = (ended.stderr or ended.stdout).decode(errors="replace").strip()[-500:]
        raise Fly64Error(f"{arguments[0]!r} ended with status {ended.returncode}: {output or 'it printed nothing'}")


def failure_reason(event: dg.DagsterEvent) -> str:
    """Why a step failed, from its failure event: our own sentence where there is one, else Dagster's."""
    data = event.step_failure_data
    own = data.user_failure_data.description if data.user_failure_data else None
    error = data.error.message.strip() if data.error else ""
    return own or error or "no reason given"
