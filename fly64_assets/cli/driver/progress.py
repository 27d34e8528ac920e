"""Progress bars of long commands, with rate and remaining time; plain lines where there is no terminal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fly64_assets.engines.process import Message


@contextmanager
def counting_bar(title: str, *, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar over a known number of items: call the value with (done, total)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not shown, transient=True) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


class StudyBars(Progress):
    """One bar for the whole run and one for each engine at work; a printed line for each finished run."""

    def __init__(self, total: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn())
        more = (TextColumn("{task.fields[values]}"), TimeElapsedColumn(), TimeRemainingColumn())
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        super().__init__(*columns, *more, console=console, transient=True, disable=not console.is_terminal)
        self._whole = self.add_task("study", total=total, values="")
        self._engines: dict[str, TaskID] = {}
        self._engines_lock = threading.Lock()

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        self.console.print(line, markup=False)

    def finish(self, count: int) -> None:
        """Count further stages as done."""
        self.advance(self._whole, count)

    def engine(self, message: Message) -> None:
        """Show a progress message of one engine."""
        with self._engines_lock:
            label = str(message["label"])
            if label not in self._engines:
                self._engines[label] = self.add_task(label, total=message["total"], values="")
            task = self._engines[label]
        values = ", ".join(f"{name} {value:.4g}" for name, value in message["values"].items())
        self.update(task, completed=message["done"], total=message["total"], values=values)
        if message["done"] >= message["total"]:
            with self._engines_lock:
                self.remove_task(self._engines.pop(label))
