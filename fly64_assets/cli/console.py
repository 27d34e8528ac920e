"""What all commands share: the study and store they act on, output, exit status.

Exit status: 0 good, 1 the thing checked is bad, 2 usage error.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Concatenate, Final, NoReturn, ParamSpec, TypeVar

import click

from fly64_assets.errors import DesignError, Fly64Error
from fly64_assets.resources.environment import DATA_ROOT_VARIABLE, STUDY_VARIABLE
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.study.design import StudyDesign, load_design

P = ParamSpec("P")
R = TypeVar("R")

MARKS: Final = (
    dict.fromkeys(("good", "fresh", "understood"), "✓")
    | dict.fromkeys(("bad", "failed", "error", "refused"), "✗")
    | dict.fromkeys(("missing", "info", "ignored"), "·")
    | {"warning": "!", "skipped": "–", "stale": "~"}
)
"""One character for each state, verdict or severity in printed tables."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document for a machine.")
file_argument = click.argument("file", type=click.Path(path_type=Path))


@dataclass(frozen=True)
class Session:
    """Global options of one command."""

    study: str
    data_root: Path

    def design(self) -> StudyDesign:
        """The study's validated design; settings of an older design that have moved are named on standard error."""
        design = load_design(self.study)
        for note in design.notes:
            click.echo(f"fly64: {note}", err=True)
        return design

    def store(self, design: StudyDesign) -> ArtifactStore:
        """The study's artifacts."""
        return ArtifactStore(self.data_root.resolve(), design.name)

    def environment(self) -> dict[str, str]:
        """Variables with which a child process acts on the same study and store."""
        is_file = Path(self.study).suffix in (".yaml", ".yml")
        study = str(Path(self.study).resolve()) if is_file else self.study
        return {STUDY_VARIABLE: study, DATA_ROOT_VARIABLE: str(self.data_root.resolve())}


def clean_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Print an error that has a sentence for the user, and exit with its status; a bad design is a usage error."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except DesignError as error:
            fail(str(error), status=2)
        except Fly64Error as error:
            fail(str(error))
        except BrokenPipeError:
            # The caller (head, less) closed the pipe.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)

    return wrapped


def pass_session(function: Callable[Concatenate[Session, P], R]) -> Callable[P, R]:
    """Give a command the global options; its errors are printed as :func:`clean_errors` does."""
    return click.make_pass_decorator(Session)(clean_errors(function))


@contextmanager
def signals_to(handler: Callable[[int, FrameType | None], Any], *signals: int) -> Iterator[None]:
    """Handle signals in another way for a while."""
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def fail(sentence: str, status: int = 1) -> NoReturn:
    """Print an error and leave: with 1 where something checked is bad, with 2 for a usage error."""
    click.echo(f"fly64: {sentence}", err=True)
    sys.exit(status)


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def first_line(text: str) -> str:
    """The first line of a reason, at most 160 characters of it."""
    line = text.partition("\n")[0]
    return line if len(line) <= 160 else line[:157] + "..."
