"""Errors that users see. Each says what was found, what was expected, where, and what to do."""

from __future__ import annotations

from collections.abc import Sequence


class Fly64Error(Exception):
    """Base of all errors that carry a sentence for the user; the command prints it and exits with 1."""


class DesignError(Fly64Error):
    """A study design breaks rules; ``problems`` lists every one."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("the study design is not valid:\n" + "\n".join(f"  - {p}" for p in self.problems))


class ContractError(Fly64Error):
    """A data set breaks DATA-001."""


class ProbeError(ContractError, ValueError):
    """A probe whose diameter cannot be measured."""


class ArtifactError(Fly64Error):
    """A stored file is missing, incomplete or not what its sidecar says."""


class EngineError(Fly64Error):
    """A training or reconstruction did not produce a valid result."""


class AdviceError(Fly64Error, ValueError):
    """A question to which the atlas has no answer; ``problems`` lists every reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))
