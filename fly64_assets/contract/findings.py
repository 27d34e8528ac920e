"""The value types of a judgement: what a study expects, a finding with its stable code, the report of all findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from fly64_assets.errors import ContractError

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Expectations:
    """What a study expects of its data sets, as plain values, besides the rules that hold for every data set.

    ``patch_size`` is the side N of a frame [px], ``doses`` are in photons per frame, ``gridsizes`` give g of each view,
    ``baseline`` among them, ``neighbor_count`` is K where a file records none, and ``patches`` says whether the
    true object patches ``Y`` are required. The study's name is for messages.
    """

    study: str
    patch_size: int
    doses: tuple[int, ...]
    gridsizes: Mapping[str, int]
    neighbor_count: int
    patches: bool


@dataclass(frozen=True)
class Finding:
    """One observation about a data set: a stable code, a severity and a sentence for the user."""

    code: str
    severity: Severity
    message: str


def error(code: str, message: str) -> Finding:
    """A finding that makes the data set invalid."""
    return Finding(code, "error", message)


def warning(code: str, message: str) -> Finding:
    """A finding that the user should know; the data set stays valid."""
    return Finding(code, "warning", message)


def information(code: str, message: str) -> Finding:
    """A finding without consequence."""
    return Finding(code, "info", message)


class FormError(ContractError):
    """A file is in no form that can be converted, or only with a guess; ``code`` is the rule that says so."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)

    @property
    def names_option(self) -> bool:
        """Whether an option of a command that imports files would confirm what the message guesses."""
        return " --" in str(self)


@dataclass(frozen=True)
class ContractReport:
    """All findings of one validation, in the order of the rules."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True unless a finding is an error; warnings do not count."""
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that make the data set invalid."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that the user should know, although the data set is valid."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def strict(self, code: str | None = None) -> ContractReport:
        """The same with every warning, or those of one code, as an error."""
        return ContractReport(
            tuple(
                replace(f, severity="error") if f.severity == "warning" and code in (None, f.code) else f
                for f in self.findings
            )
        )

    def raise_if_failed(self, where: str) -> None:
        """Raise one :class:`ContractError` that names ``where`` (a file, a stage) and every error."""
        if not self.ok:
            lines = "\n".join(f"  - {finding.code}: {finding.message}" for finding in self.errors)
            raise ContractError(f"{where} breaks the data contract:\n{lines}")

    def to_dict(self) -> dict[str, Any]:
        """JSON form: ``{"ok": bool, "findings": [{"code", "severity", "message"}]}``."""
        return {
            "ok": self.ok,
            "findings": [{"code": f.code, "severity": f.severity, "message": f.message} for f in self.findings],
        }
