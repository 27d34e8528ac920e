"""Progress of long work: into Dagster's log at every tenth, and to the process that asked for the run.

Belongs here: passing on ``(done, total, values)``. Does not belong here: drawing bars (``cli``).
"""

from collections.abc import Mapping

import dagster as dg

from fly64_assets.automation.runs import progress_listener
from fly64_assets.engines.process import Progress


def reporter(context: dg.AssetExecutionContext, label: str) -> Progress:
    """Callback for engines."""
    listener = progress_listener.get()
    tenth = 0

    def report(done: int, total: int, values: Mapping[str, float]) -> None:
        nonlocal tenth
        if listener:
            listener(done, total, values, label=label)
        if total and 10 * done // total > tenth:
            tenth = 10 * done // total
            numbers = ", ".join(f"{name} {value:.6g}" for name, value in values.items())
            context.log.info(f"{label}: {done} of {total} ({numbers})" if numbers else f"{label}: {done} of {total}")

    return report
