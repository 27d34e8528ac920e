"""Work on block after block by several threads, with the results in the order of the blocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Final, TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")

AHEAD: Final = 2
"""Results for each thread that may wait to be taken, so that memory does not grow with the work."""


def in_order(work: Callable[[Given], Made], items: Iterable[Given], threads: int) -> Iterator[Made]:
    """Results of ``work`` for every item, in order; with one thread, in the caller's own.

    Arithmetic on large arrays, drawing of random numbers and writing of files run at the same time in several threads
    of one Python process.

    Examples
    --------
    >>> list(in_order(abs, [-3, 1, -2], threads=2))
    [3, 1, 2]
    """
    if threads == 1:
        yield from map(work, items)
        return
    left = iter(items)
    pool = ThreadPoolExecutor(threads)
    try:
        waiting: deque[Future[Made]] = deque(pool.submit(work, item) for item in islice(left, AHEAD * threads))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(left, 1))
    finally:
        pool.shutdown(cancel_futures=True)
