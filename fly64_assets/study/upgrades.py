"""Designs and parameters of older versions in today's names.

Does not belong here: how the settings of one method changed (beside them).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import fly64_assets.lsqml.settings
import fly64_assets.pinn.settings
from fly64_assets.pinn.settings import CnnSettings

UPGRADES: Final = {"pinn": fly64_assets.pinn.settings.upgraded, "lsqml": fly64_assets.lsqml.settings.upgraded}
"""How a section of an older design, or of the parameters that an older record holds, is brought to today's names."""

EARLIER: Final[Mapping[str, Mapping[str, object]]] = {
    "pinn": {"start": "likelihood"},
    "tv_ml": {"slow_phases": False},
    "pretrained": {"slow_phases": False},
}
"""Settings that older records do not hold, and what they were then, whatever their defaults are now."""


def upgraded(document: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """An older design, or the parameters of an older record, in today's names, with a sentence for what moved."""
    current, notes = dict(document), []
    for name, upgrade in UPGRADES.items():
        if isinstance(current.get(name), Mapping):
            current[name], moved = upgrade(current[name])
            notes += moved
    return current, notes


def recorded(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that an older record holds in today's names; settings that came later as they were then.

    Examples
    --------
    >>> recorded({"tv_ml": {"steps": 48}})
    {'tv_ml': {'slow_phases': False, 'steps': 48}}
    """
    current = upgraded(parameters)[0]
    for name, values in EARLIER.items():
        section = current.get(name)
        if isinstance(section, Mapping) and section.get("architecture") != CnnSettings.architecture:
            current[name] = {**values, **section}
    return current
