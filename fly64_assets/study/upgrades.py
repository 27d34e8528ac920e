"""Designs and parameters of older versions in today's names.

Does not belong here: how the settings of one method changed (beside them).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import fly64_assets.lsqml.settings
import fly64_assets.pinn.settings

UPGRADES: Final = {"pinn": fly64_assets.pinn.settings.upgraded, "lsqml": fly64_assets.lsqml.settings.upgraded}
"""How a section of an older design, or of the parameters that an older record holds, is brought to today's names."""


def upgraded(document: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """An older design, or the parameters of an older record, in today's names, with a sentence for what moved."""
    current, notes = dict(document), []
    for name, upgrade in UPGRADES.items():
        if isinstance(current.get(name), Mapping):
            current[name], moved = upgrade(current[name])
            notes += moved
    return current, notes
