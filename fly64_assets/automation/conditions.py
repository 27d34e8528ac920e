"""When assets are built without being asked for, as Dagster's conditions.

Belongs here: conditions. Does not belong here: the sensors that evaluate them (``automation.sensors``).
"""

from typing import Any

import dagster as dg

from fly64_assets.study.table import STAGES, Stage


def condition_of(stage: Stage) -> dg.AutomationCondition[Any] | None:
    """When an asset follows its inputs; None for the base and for optional methods, which are never automated."""
    if stage.on_request or not stage.needs:
        return None
    if stage.kind == "comparison":
        return when_methods_change()
    return when_cells_change() if stage.kind == "report" else when_inputs_change()


def when_inputs_change() -> dg.AutomationCondition[Any]:
    """All inputs are there, their gates passed, and one of them is new."""
    return dg.AutomationCondition.eager() & dg.AutomationCondition.all_deps_blocking_checks_passed()


def when_methods_change() -> dg.AutomationCondition[Any]:
    """As :func:`when_inputs_change`, but methods that are built on request need not be there."""
    on_request = dg.AssetSelection.assets(*(stage.asset for stage in STAGES.values() if stage.on_request))
    missing = dg.AutomationCondition.any_deps_missing()
    eager = dg.AutomationCondition.eager().replace(missing, missing.ignore(on_request))
    return eager & dg.AutomationCondition.all_deps_blocking_checks_passed().ignore(on_request)


def when_cells_change() -> dg.AutomationCondition[Any]:
    """A cell is new and none is being worked on; cells that are missing or failed are shown as such."""
    return dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing())
