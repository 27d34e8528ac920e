"""What an import says about every key that it met.

Belongs here: one line of a report. Does not belong here: reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

UNDERSTOOD: Final = "understood"
IGNORED: Final = "ignored"
REFUSED: Final = "refused"


@dataclass(frozen=True)
class Entry:
    """One key of a foreign file: its value, what became of it (``verdict``), and where it went or why not."""

    key: str
    value: Any
    verdict: str
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        plain = self.value if isinstance(self.value, (type(None), bool, int, float, str)) else repr(self.value)
        return {"key": self.key, "value": plain, "verdict": self.verdict, "text": self.text}
