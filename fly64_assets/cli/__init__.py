"""The command ``fly64``: thin entries over the same assets, store and instance as the Dagster UI."""

from typing import Final

INTERRUPTED: Final = "stopped by Ctrl-C"
INTERRUPT_STATUS: Final = 130
"""Exit status after Ctrl-C, as of other programs: 128 and the number of the signal."""
