"""Progress of long work: into Dagster's log at every tenth, and to the command's progress bars.

Belongs here: passing on ``(done, total, values)``. Does not belong here: drawing bars (``cli``).
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import dagster as dg

PROGRESS_VARIABLE = "FLY64_PROGRESS"
"""Names a file to which progress is appended as JSON lines, for the process that started this one."""

Progress = Callable[[int, int, Mapping[str, float]], None]


def reporter(context: dg.AssetExecutionContext, label: str) -> Progress:
    """Callback for engines."""
    target = os.environ.get(PROGRESS_VARIABLE)
    tenth = 0

    def report(done: int, total: int, values: Mapping[str, float]) -> None:
        nonlocal tenth
        if target:
            line = json.dumps({"label": label, "done": done, "total": total, "values": dict(values)})
            with Path(target).open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        if total and 10 * done // total > tenth:
            tenth = 10 * done // total
            numbers = ", ".join(f"{name} {value:.6g}" for name, value in values.items())
            context.log.info(f"{label}: {done} of {total} ({numbers})" if numbers else f"{label}: {done} of {total}")

    return report
