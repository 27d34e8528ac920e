"""The ledger of faults: what was injected, what came of it, and its table."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Row:
    """One line of the table of faults."""

    injected: int = 0
    survived: int = 0
    lost: int = 0
    wrong: int = 0


@dataclass
class Ledger:
    """What was injected and what came of it; bad inputs that were tried, and how many were refused."""

    faults: dict[str, Row] = field(default_factory=dict)
    inputs: dict[str, list[int]] = field(default_factory=dict)

    def row(self, fault: str) -> Row:
        """The line of a fault."""
        return self.faults.setdefault(fault, Row())

    def survived(self, fault: str) -> None:
        """Count a fault after which a reader found nothing wrong."""
        self.row(fault).injected += 1
        self.row(fault).survived += 1

    def bad_input(self, kind: str, refused: bool) -> None:
        """Count one input that was tried."""
        counts = self.inputs.setdefault(kind, [0, 0])
        counts[0] += 1
        counts[1] += refused

    def table(self) -> str:
        """Both tables as Markdown."""
        lines = ["| fault | injected | survived | lost | wrong |", "|---|---:|---:|---:|---:|"]
        lines += [f"| {n} | {r.injected} | {r.survived} | {r.lost} | {r.wrong} |" for n, r in self.faults.items()]
        total = [sum(getattr(row, name) for row in self.faults.values()) for name in ("injected", "survived")]
        lines += [f"| **all** | **{total[0]}** | **{total[1]}** | **0** | **0** |"] if self.sound else []
        lines += ["", "| bad inputs | tried | refused | harmless |", "|---|---:|---:|---:|"]
        lines += [f"| {name} | {tried} | {no} | {tried - no} |" for name, (tried, no) in self.inputs.items()]
        return "\n".join(lines) + "\n"

    @property
    def sound(self) -> bool:
        """Whether nothing was lost and nothing wrong was read as right."""
        return not any(row.lost or row.wrong for row in self.faults.values())
