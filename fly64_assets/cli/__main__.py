"""Start of the command ``fly64``, also as ``python -m fly64_assets.cli``.

Does not belong here: what takes time to load, during which Ctrl-C may come.
"""

from __future__ import annotations

import sys

from fly64_assets.cli import INTERRUPT_STATUS, INTERRUPTED


def start() -> None:
    """Load the command and carry it out; Ctrl-C ends both with a sentence and its status."""
    try:
        from fly64_assets.cli.main import main
    except KeyboardInterrupt:
        sys.stderr.write(f"fly64: {INTERRUPTED}\n")
        sys.exit(INTERRUPT_STATUS)
    main(prog_name="fly64")


if __name__ == "__main__":
    start()
