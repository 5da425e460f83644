"""Run work in threads, in order, with a bounded queue."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from schemas.progress import Progress, silent

Item = TypeVar("Item")
Result = TypeVar("Result")
THREADS = min(32, os.cpu_count() or 1)  # Hashing and decoding release the interpreter's lock.


def in_threads(
    work: Callable[[Item], Result], items: Sequence[Item], stage: str, progress: Progress = silent, ahead: int = 0
) -> Generator[Result, None, None]:
    """Yield `work` of each item in order; the first error stops the others.

    At least `ahead` items are started early.
    """
    pool = ThreadPoolExecutor(THREADS)
    try:
        for done, result in enumerate(_windowed(pool, work, items, max(ahead, 4 * THREADS)), start=1):
            progress(stage, done, len(items))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _windowed(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Like `pool.map`, but at most `ahead` items before the reader, to bound memory."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
