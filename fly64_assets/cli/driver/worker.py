"""One Dagster run in this process: ``python -m fly64_assets.cli.driver.worker ANSWER REQUEST``.

The request is JSON: ``assets``, ``partition`` (or null), ``gpu`` (settings of that resource other than its own) and
``base`` (to work on; null: the active one).

Belongs here: executing assets of the code location on the persistent instance. Does not belong here: anything
that the Dagster UI would not do as well.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from fly64_assets.automation.failures import failure_reason
from fly64_assets.automation.run_tags import BASE_TAG, COMMAND_TAG, RESUME
from fly64_assets.definitions import defs
from fly64_assets.store.atomic import write_atomically


def execute(
    assets: list[str], partition: str | None, gpu: Mapping[str, Any] | None = None, base: str | None = None
) -> tuple[bool, str]:
    """Materialise assets of one partition; whether all succeeded, and the sentences of those that did not.

    ``gpu`` goes into the run's configuration, where the UI shows it: it overrides settings of the resource ``gpu``.
    """
    config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "INFO"}}}}
    if gpu:
        config["resources"] = {"gpu": {"config": dict(gpu)}}
    job = defs.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=dg.DagsterInstance.get(),
        asset_selection=[dg.AssetKey(asset) for asset in assets],
        partition_key=partition,
        run_config=config,
        tags={COMMAND_TAG: RESUME} | ({BASE_TAG: base} if base else {}),
        raise_on_error=False,
    )
    failures = (event for event in result.all_events if event.is_step_failure)
    sentences = [f"{event.step_key}: {failure_reason(event)}" for event in failures]
    return result.success, "\n".join(sentences)


def main() -> None:
    """Run, and leave the answer as JSON."""
    answer, request = sys.argv[1:]
    ok, reason = execute(**json.loads(request))
    content = json.dumps({"ok": ok, "reason": reason}).encode()
    write_atomically(Path(answer), lambda file: file.write(content))


if __name__ == "__main__":
    main()
