"""What all commands share: the study and store they act on, output, exit status.

Exit status: 0 good, 1 the thing checked is bad, 2 usage error, 130 after Ctrl-C.
"""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

import click

from fly64_assets.cli import INTERRUPT_STATUS, INTERRUPTED
from fly64_assets.errors import ArtifactError, DesignError, Fly64Error
from fly64_assets.resources.environment import DATA_ROOT_VARIABLE, STUDY_VARIABLE
from fly64_assets.store.artifacts import ArtifactStore
from fly64_assets.store.storage import is_url, local_root, root_name
from fly64_assets.study.design import StudyDesign, load_design

NAME_BYTES: Final = 255
PATH_BYTES: Final = 4096
"""Longest name in a folder, and from where on a path is too long, on Linux and its file systems."""

MARKS: Final = (
    dict.fromkeys(("good", "fresh", "understood"), "✓")
    | dict.fromkeys(("bad", "failed", "error", "refused"), "✗")
    | dict.fromkeys(("missing", "info", "ignored"), "·")
    | {"warning": "!", "skipped": "–", "stale": "~"}
)
"""One character for each state, verdict or severity in printed tables."""


class Positive(click.FloatRange):
    """A finite number above 0, and between a least and a largest one where those are given."""

    def __init__(self, most: float | None = None, least: float = 0) -> None:
        super().__init__(min=least, min_open=not least, max=most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or a usage error."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


class FolderPath(click.Path):
    """A folder, named by at least one character: an unset variable of a shell must not mean the working folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        """The path; an empty text is an error."""
        if value == "":
            self.fail("expected a folder, found an empty text ('.' is the working folder)", parameter, context)
        return super().convert(value, parameter, context)


class DataRoot(FolderPath):
    """A folder, or the URL of a data root in an object store: its value is then the local copy of that."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        """The path; a URL that names no data root is an error."""
        if not is_url(value):
            return super().convert(value, parameter, context)
        try:
            return local_root(value)
        except ArtifactError as error:
            self.fail(str(error), parameter, context)


port_option = click.option(
    "--port",
    metavar="PORT",
    default=3000,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Where the UI listens.",
)
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
        """The study's artifacts. Raises :class:`Fly64Error` where the data root can neither exist nor be created."""
        if why := unusable(self.data_root / design.name):
            raise Fly64Error(f"--data-root: {why}")
        return ArtifactStore(self.data_root.resolve(), design.name)

    def environment(self) -> dict[str, str]:
        """Variables with which a child process acts on the same study and store."""
        is_file = Path(self.study).suffix in (".yaml", ".yml")
        study = str(Path(self.study).resolve()) if is_file else self.study
        return {STUDY_VARIABLE: study, DATA_ROOT_VARIABLE: root_name(self.data_root.resolve())}


SESSION_MARK: Final = "takes_session"
"""Attribute of the functions of commands for which the global options mean something."""

_pass = click.make_pass_decorator(Session)


def pass_session(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the global options."""
    passed = _pass(function)
    setattr(passed, SESSION_MARK, True)
    return passed


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Print what went wrong as a sentence, and exit with its status; a bad design is a usage error.

    What nobody has foreseen becomes a sentence too, and its traceback a file that the sentence names.
    """
    try:
        yield
    except DesignError as error:
        fail(str(error), status=2)
    except Fly64Error as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail(INTERRUPTED, INTERRUPT_STATUS)
    except BrokenPipeError:
        # The caller (head, less) closed the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        fail(refusal(error))
    except MemoryError as error:
        fail(f"the memory does not suffice: {first_line(str(error)) or 'ask for less'}{_kept(error)}")
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except Exception as error:  # noqa: BLE001 (the last resort)
        what = first_line(f"{type(error).__name__}: {error}")
        fail(f"an unexpected error, probably a fault of this program: {what}{_kept(error)}")


def unusable(path: Path) -> str:
    """Why a path can neither exist nor be created, as a sentence; empty where it may."""
    for name in path.parts:
        if (count := len(os.fsencode(name))) > NAME_BYTES:
            return (
                f"the name {name[:40]!r}... has {count} bytes, and file systems take {NAME_BYTES}: choose a shorter one"
            )
    if (count := len(os.fsencode(path.absolute()))) >= PATH_BYTES:
        return (
            f"the path {str(path)[:40]!r}... has {count} bytes, and the system takes {PATH_BYTES - 1}: choose another"
        )
    try:
        path.resolve()
    except RuntimeError:
        return f"the links in {path} lead in a circle: choose another place"
    found = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    return "" if found.is_dir() else f"{found} is no folder, and one is needed there: choose another place"


def refusal(error: OSError) -> str:
    """What the system did not allow, as a sentence."""
    if not isinstance(error.filename, (str, bytes)):
        return f"the system refused: {error.strerror or error}{_kept(error)}"
    path = Path(os.fsdecode(error.filename))
    with suppress(OSError):
        if why := unusable(path):
            return why
        if error.errno == errno.EEXIST:
            return f"{path} is no folder, and one is needed there: choose another place"
        if error.errno == errno.ENOENT and path.parent.exists():
            return f"{path.parent} takes no new files: choose another place"
    return f"{path}: {error.strerror}: see to its permissions and its file system, or choose another place"


def _kept(error: BaseException) -> str:
    """Write a traceback to a file of its own; the words that name it."""
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="fly64_", suffix=".log", delete=False, errors="replace") as file:
            file.write(text)
    except OSError:
        click.echo(text, err=True)  # there is no place left to keep it
        return ""
    return f" (the details are in {file.name})"


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
