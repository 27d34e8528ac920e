"""Many clients at once, who ask what the pages of the UI ask.

Belongs here: concurrency and its clock. Does not belong here: what may be expected of either.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from endtoend.client import ASSETS, CHECKS, EVENTS, PARTITIONS, RUNS, Client

PAGES = ("asset graph", "partitions", "runs", "events of a run", "checks")


@dataclass
class Answers:
    """Seconds of every answer by page, and what went wrong."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {page: [] for page in PAGES})
    errors: list[str] = field(default_factory=list)

    def percentiles(self, page: str) -> tuple[float, float, float]:
        """p50, p95 and p99 of the seconds of a page."""
        values = sorted(self.seconds[page])
        p50, p95, p99 = (values[min(len(values) - 1, int(share * len(values)))] for share in (0.5, 0.95, 0.99))
        return p50, p95, p99


def storm(port: int, clients: int, rounds: int = 1) -> Answers:
    """Let so many clients ask for every page so many times, all at once."""
    answers = Answers()
    with ThreadPoolExecutor(clients) as pool:
        for timed, errors in pool.map(lambda number: _one(port, rounds, number), range(clients)):
            for page, seconds in timed:
                answers.seconds[page].append(seconds)
            answers.errors += errors
    return answers


def _one(port: int, rounds: int, number: int) -> tuple[list[tuple[str, float]], list[str]]:
    """One client: its answers' seconds and its errors. Clients begin with different pages."""
    timed: list[tuple[str, float]] = []
    errors: list[str] = []
    client = Client(port)
    run = ""
    for turn in range(rounds * len(PAGES)):
        page = PAGES[(number + turn) % len(PAGES)]
        begin = time.perf_counter()
        try:
            if page == "events of a run" and not run:
                run = client.ask(RUNS)["runsOrError"]["results"][0]["id"]
                begin = time.perf_counter()
            query, variables = _question(page, run)
            client.ask(query, **variables)
        except Exception as error:  # noqa: BLE001
            errors.append(f"{page}: {error!r}")
        else:
            timed.append((page, time.perf_counter() - begin))
    return timed, errors


def _question(page: str, run: str) -> tuple[str, dict[str, Any]]:
    key = {"path": ["overlap_view"]}
    questions: dict[str, tuple[str, dict[str, Any]]] = {
        "asset graph": (ASSETS, {}),
        "partitions": (PARTITIONS, {"key": key}),
        "runs": (RUNS, {}),
        "events of a run": (EVENTS, {"id": run}),
        "checks": (CHECKS, {"key": key}),
    }
    return questions[page]
