"""Who builds in a folder of a data root in an object store: claims, taken and renewed by conditional puts.

A claim is void when its process is found dead: a process of this machine that has ended, or one anywhere that has not
renewed its claim for a minute by the server's clock. The next builder replaces it, so that a process that was only slow
finds its claim gone and publishes nothing.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Final

from fly64_assets.errors import ArtifactError
from fly64_assets.store.atomic import process_alive
from fly64_assets.store.index import Claim, Index
from fly64_assets.store.locks import Announce, HeldError
from fly64_assets.store.machine import now
from fly64_assets.store.objects import ConflictError, Objects

POLL_SECONDS: Final = 1.0
RENEW_SECONDS: Final = 10.0
SILENT_SECONDS: Final = 60.0
"""A claim of another machine that was not renewed for so long is void."""


class Claims:
    """The claims of this process, by the keys of the indices that carry them."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._tokens: dict[str, str] = {}
        self._tried = False

    def read(self, key: str) -> tuple[Index, str | None]:
        """The index at a key and its tag; an empty one with None where there is none.

        A damaged index reads as an empty one: who publishes replaces it.
        """
        found = self._objects.get(key)
        if found is None:
            return Index(), None
        try:
            return Index.from_bytes(found.content, key), found.etag
        except ArtifactError:
            return Index(), found.etag

    def replace(self, key: str, change: Callable[[Index], Index]) -> tuple[Index, str]:
        """Replace the index at a key by what ``change`` makes of it; returns it with its tag.

        Raises :class:`ArtifactError`, and changes nothing, if this process had a claim on the folder and lost it.
        """
        while True:
            index, etag = self.read(key)
            token = self._tokens.get(key)
            if token is not None and (index.claim is None or index.claim.token != token):
                raise ArtifactError(
                    f"{self._objects.url}/{key}: {index.claim or 'another process'} took over, since this process gave "
                    "no sign of life for a minute; nothing was published: run the stage again"
                )
            changed = change(index)
            try:
                return changed, self._objects.put(key, changed.to_bytes(), etag)
            except ConflictError:
                continue

    @contextmanager
    def held(
        self, key: str, label: str, announce: Announce | None, sign_of_life: Callable[[], object], *, wait: bool = True
    ) -> Iterator[bool]:
        """Hold the claim on a folder; yields whether another process held it first.

        ``sign_of_life`` is called with every renewal. Raises :class:`HeldError` without ``wait``.
        """
        if not self._tried and (why := self.no_conditions()):
            raise ArtifactError(why)
        self._tried = True
        mine = Claim(socket.gethostname(), os.getpid(), now(), secrets.token_hex(16), label)
        waited = self._take(key, mine, announce, wait=wait)
        self._tokens[key] = mine.token
        ended = threading.Event()
        thread = threading.Thread(target=self._renew, args=(key, ended, sign_of_life), daemon=True)
        thread.start()
        try:
            yield waited
        finally:
            ended.set()
            thread.join()
            with suppress(ArtifactError):  # it is void in a minute
                self._release(key)
            del self._tokens[key]

    def no_conditions(self) -> str:
        """What it means that the server ignores the conditions of puts, tried on a small object; else empty."""
        probe = f"clock/{secrets.token_hex(8)}"
        try:
            first = self._objects.put(probe, b"1", None)
            self._objects.put(probe, b"2", first)
            for condition in (None, first):
                with suppress(ConflictError):
                    self._objects.put(probe, b"3", condition)
                    return (
                        f"the server of {self._objects.url} ignores the conditions of puts (If-None-Match, If-Match), "
                        "so that two processes could build the same stage: use one that keeps to them"
                    )
        finally:
            with suppress(ArtifactError):
                self._objects.delete([probe])
        return ""

    def alive(self, key: str, claim: Claim | None) -> bool:
        """Whether a claim on a folder holds, by what can be known of its process."""
        if claim is None:
            return False
        if claim.host == socket.gethostname() and not process_alive(claim.pid):
            return False
        probe = f"clock/{secrets.token_hex(8)}"
        try:
            return self._objects.touch(probe) - self._objects.written(key) <= SILENT_SECONDS
        except FileNotFoundError:
            return False
        finally:
            with suppress(ArtifactError):
                self._objects.delete([probe])

    def _take(self, key: str, mine: Claim, announce: Announce | None, *, wait: bool) -> bool:
        waited = False
        while True:
            index, etag = self.read(key)
            other = index.claim
            if other is not None and other.token == mine.token:  # the answer to the put was lost, not the put
                return waited
            if self.alive(key, other):
                if not wait:
                    raise HeldError(f"{self._objects.url}/{key}: held by {other}")
                if announce and not waited:
                    announce(f"{mine.building}: waiting for {other}, which is building it")
                waited = True
                time.sleep(POLL_SECONDS)
                continue
            try:
                self._objects.put(key, replace(index, claim=mine).to_bytes(), etag)
            except ConflictError:
                continue
            if other is not None and announce:
                announce(f"{mine.building}: taken over from {other}, which has ended without releasing it")
            return waited

    def _renew(self, key: str, ended: threading.Event, sign_of_life: Callable[[], object]) -> None:
        while not ended.wait(RENEW_SECONDS):
            sign_of_life()
            with suppress(ArtifactError):  # the next renewal, or the publication, finds out
                self.replace(key, lambda index: replace(index, claim=_renewed(index.claim)))

    def _release(self, key: str) -> None:
        if self._objects.get(key) is not None:  # the folder may have been removed under the claim
            self.replace(key, lambda index: replace(index, claim=None))


def _renewed(claim: Claim | None) -> Claim | None:
    return replace(claim, renewed=claim.renewed + 1) if claim else None
