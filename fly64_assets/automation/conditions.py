"""When assets are built by themselves, as Dagster's conditions.

Belongs here: conditions. Does not belong here: the sensors that evaluate them (``sensors``).
"""

from typing import Any

import dagster as dg

ON_REQUEST = (
    "legacy_pinn_bundle",
    "legacy_pinn_reconstruction",
    "lsqml_from_pinn_reconstruction_train",
    "lsqml_from_pinn_reconstruction_test",
)
"""Assets of arms that are built only when somebody asks for them."""


def when_inputs_change() -> dg.AutomationCondition[Any]:
    """All inputs are there, their gates passed, and one of them is new."""
    return dg.AutomationCondition.eager() & dg.AutomationCondition.all_deps_blocking_checks_passed()


def when_arms_change() -> dg.AutomationCondition[Any]:
    """As :func:`when_inputs_change`, but arms that are built on request need not be there."""
    missing = dg.AutomationCondition.any_deps_missing()
    asked = missing.ignore(dg.AssetSelection.assets(*ON_REQUEST))
    eager = dg.AutomationCondition.eager().replace(missing, asked)
    checks = dg.AutomationCondition.all_deps_blocking_checks_passed()
    return eager & checks.ignore(dg.AssetSelection.assets(*ON_REQUEST))


def when_cells_change() -> dg.AutomationCondition[Any]:
    """A cell is new and none is being worked on; cells that are missing or failed are shown as such."""
    return dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing())
