"""Sessions: the only way in which PtychoPINN's dictionary is filled, and always put back.

Old modules read a dictionary of their process, ``params.cfg``. A session empties it, sets every key from one
configuration, and restores what was there before, however it ends. Sessions of one thread nest; another thread waits
or is refused, so that it never works with foreign values.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from types import ModuleType
from typing import Any, Final, NamedTuple

from fly64_assets.ptychopinn.configuration import InferenceConfig, LegacyConfigError, TrainingConfig
from fly64_assets.ptychopinn.dictionary import RUN_TIME_KEYS, legacy_parameters

LEGACY_PACKAGE: Final = "ptycho"

cfg: dict[str, Any] = {}
"""This project's own copy of the dictionary, empty outside sessions."""

_owner: Final = threading.RLock()
_open: Final[list[LegacySession]] = []


class _Former(NamedTuple):
    """A module's dictionary, and what it held."""

    module: ModuleType
    dictionary: dict[str, Any]
    content: dict[str, Any]


class LegacySession(Mapping[str, Any]):
    """PtychoPINN's parameters of one job, for as long as its session is open, in the thread that opened it.

    Comes from :func:`legacy_session` alone. What needs the dictionary takes a session as an argument, so that
    it cannot run before the dictionary is filled (CONFIG-001).
    """

    def __init__(self, formers: tuple[_Former, ...]) -> None:
        self._formers = formers
        self._thread = threading.get_ident()

    def __getitem__(self, key: str) -> Any:
        return self._dictionary()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._dictionary())

    def __len__(self) -> int:
        return len(self._dictionary())

    def require_open(self) -> None:
        """Raise :class:`LegacyConfigError` unless this is the open, innermost session of the calling thread."""
        if not any(session is self for session in _open):
            raise LegacyConfigError("this legacy session has ended, its values are gone: open a new one (CONFIG-001)")
        if self._thread != threading.get_ident():
            raise LegacyConfigError("this legacy session belongs to another thread; sessions are not shared")
        if _open[-1] is not self:
            raise LegacyConfigError("a session was opened inside this one and holds the dictionary: use that one")

    def record(self, key: str, value: Any) -> None:
        """Set one of the keys that old code writes at run time (``intensity_scale``, ``probe``, ``timestamp``)."""
        self.require_open()
        if key not in RUN_TIME_KEYS:
            raise LegacyConfigError(
                f"{key} is no key of the running job ({', '.join(RUN_TIME_KEYS)}): configurations are not changed "
                "inside a session, open another one"
            )
        for former in self._formers:
            former.dictionary[key] = value

    def snapshot(self) -> dict[str, Any]:
        """The parameters as plain JSON types, by name; arrays, such as the probe, are left out."""
        plain = ((key, v) for key, v in sorted(self.items()) if v is None or isinstance(v, (int, float, str)))
        return {key: v for key, v in plain if not (isinstance(v, float) and not isfinite(v))}

    def _dictionary(self) -> dict[str, Any]:
        self.require_open()
        return self._formers[0].dictionary


@contextmanager
def legacy_session(
    config: TrainingConfig | InferenceConfig, *, others: Mapping[str, Any] | None = None, wait_seconds: float = 0.0
) -> Iterator[LegacySession]:
    """Fill PtychoPINN's dictionary for the body of a ``with`` statement.

    This project's own dictionary is filled, and that of the package ``ptycho`` where it can be imported. Keys that the
    dictionaries held before are gone for that time, also those that are not known here.

    ``others`` are values for keys without a field, such as ``npseed``. While another thread has a session,
    ``wait_seconds`` [s] is how long to wait for its end; 0 refuses at once.

    Raises :class:`LegacyConfigError` if another thread has a session, or ``others`` names wrong keys; nothing is
    changed then.
    """
    parameters = legacy_parameters(config, others)
    if not _owner.acquire(timeout=min(max(0.0, wait_seconds), threading.TIMEOUT_MAX)):
        raise LegacyConfigError(
            f"another thread still holds the legacy dictionary after {wait_seconds:g} s: wait longer (wait_seconds), "
            "or run one of the two jobs in a process of its own"
        )
    try:
        formers = tuple(_Former(module, module.cfg, dict(module.cfg)) for module in _modules())
        for former in formers:
            former.dictionary.clear()
            former.dictionary.update(parameters)
        session = LegacySession(formers)
        _open.append(session)
        try:
            yield session
        finally:
            _end(session)
    finally:
        _owner.release()


def _end(session: LegacySession) -> None:
    """Restore what was before a session; sessions that were opened inside it and are still open end with it."""
    while any(one is session for one in _open):
        for module, dictionary, content in reversed(_open.pop()._formers):  # noqa: SLF001
            dictionary.clear()
            dictionary.update(content)  # the same dictionary in its place, the same content in the same order
            module.__dict__["cfg"] = dictionary


def _modules() -> tuple[ModuleType, ...]:
    """Modules whose ``cfg`` is to be filled: this project's, and PtychoPINN's where it is installed."""
    own = sys.modules[__name__]
    if importlib.util.find_spec(LEGACY_PACKAGE) is None:
        return (own,)
    try:
        legacy = importlib.import_module(f"{LEGACY_PACKAGE}.params")
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name in (LEGACY_PACKAGE, f"{LEGACY_PACKAGE}.params"):
            return (own,)  # another package of that name
        raise LegacyConfigError(
            f"the package {LEGACY_PACKAGE} is installed, but {LEGACY_PACKAGE}.params cannot be imported ({error}): its "
            "dictionary would stay unfilled; repair or uninstall it"
        ) from error
    return (own, legacy) if isinstance(getattr(legacy, "cfg", None), dict) else (own,)
