"""Putting the faster functions in place of the library's, for one version of it, and taking them away again.

Belongs here: the list of patches and the version they were written for. Does not belong here: the patches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any, Final

PINNED_VERSION: Final = "2.2.0"

OVERRIDES: Final = (
    ("ptychi.image_proc", "fourier_shift", "shift:fourier_shift"),
    ("ptychi.image_proc", "batch_put", "windows:batch_put"),
    ("ptychi.api.task:PtychographyTask", "build_default_device", "loading:build_default_device"),
    ("ptychi.reconstructors.base:IterativeReconstructor", "build_dataloader", "loading:build_dataloader"),
    ("ptychi.reconstructors.lsqml:LSQMLReconstructor", "run_minibatch", "minibatch:run_minibatch"),
)
"""Module or class of the library, its function, and the patch (module here, function that makes it from the stock)."""

logger = logging.getLogger(__name__)


@contextmanager
def faster_library(enabled: bool) -> Iterator[tuple[str, ...]]:
    """Install the overrides for the time of the block; yields the names of the library's functions replaced.

    Another version of the library keeps its own functions, and the log says so.
    """
    from ptychi import __version__ as version

    if enabled and version.split("+")[0] != PINNED_VERSION:
        logger.warning("pty-chi %s is not %s: its own functions run, not the faster ones", version, PINNED_VERSION)
        enabled = False
    if not enabled:
        yield ()
        return
    with ExitStack() as stack:
        yield tuple(stack.enter_context(_replaced(*override)) for override in OVERRIDES)


@contextmanager
def _replaced(owner: str, name: str, patch: str) -> Iterator[str]:
    """One function of the library replaced by what a patch makes of it."""
    holder = _find(owner)
    stock = getattr(holder, name)
    room, factory = patch.split(":")
    make: Callable[[Any], Any] = getattr(import_module(f"fly64_assets.lsqml.overrides.{room}"), factory)
    setattr(holder, name, make(stock))
    try:
        yield f"{owner}.{name}"
    finally:
        setattr(holder, name, stock)


def _find(owner: str) -> Any:
    """Module, or class in a module, by name."""
    module, _, member = owner.partition(":")
    found = import_module(module)
    return getattr(found, member) if member else found
