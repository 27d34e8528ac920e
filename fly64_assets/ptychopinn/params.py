"""The project's own legacy dictionary, in the place where modules ported from PtychoPINN look for it.

Belongs here: one dictionary, empty outside sessions. Does not belong here: anything that fills it
(:mod:`fly64_assets.ptychopinn.session`).
"""

from __future__ import annotations

from typing import Any

cfg: dict[str, Any] = {}
