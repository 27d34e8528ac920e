"""A study of how few photons and how little overlap a ptychography scan can get away with.

The functions for scripts and notebooks are here by name, and load what they need when they are first used:

>>> import fly64_assets as fly64
>>> fly64.simulate.__module__
'fly64_assets.api.frames'
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

__all__ = [
    "advise",
    "judge",
    "open_study",
    "photon_limit",
    "predict",
    "read",
    "read_base",
    "reconstruct",
    "show",
    "simulate",
    "split_counts",
    "write",
]

_MODULES = {
    "advising": ("advise",),
    "files": ("read", "read_base", "write"),
    "frames": ("simulate", "split_counts"),
    "judging": ("judge", "photon_limit", "predict"),
    "methods": ("reconstruct",),
    "studies": ("open_study", "show"),
}
_HOME = {name: f"fly64_assets.api.{module}" for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
