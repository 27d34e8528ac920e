"""For all tests: signals as in a terminal, whatever pytest was started by."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """A shell starts what runs in the background with Ctrl-C ignored, and every child inherits that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
