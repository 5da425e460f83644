"""Measure images in threads: decoders and hash release the interpreter's lock. Results keep their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import cv2

from curator.captioners.model.batch_runner import cores
from curator.images.decode import pillow_for_ingest
from curator.images.unusable import Reject, Unusable
from curator.ingest.measure import Measured, measure
from curator.ingest.walk import Entry

AHEAD_PER_THREAD = 8  # files in flight: bounds memory, and what an interrupt throws away


def read_pictures(
    entries: Iterable[Entry], max_pixels: int, threads: int | None = None
) -> Iterator[tuple[Entry, Measured | Reject]]:
    """Yield each entry with its measurements or its reject. `threads` defaults to one per core."""
    threads = threads or cores()
    cv2.setNumThreads(0)  # one picture a thread; OpenCV's own threads would only fight with these
    pending: deque[tuple[Entry, Future[Measured | Reject]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ingest")
    try:
        with pillow_for_ingest():
            for entry in entries:
                pending.append((entry, pool.submit(_measured, entry, max_pixels)))
                if len(pending) >= threads * AHEAD_PER_THREAD:
                    first, future = pending.popleft()
                    yield first, future.result()
            while pending:
                first, future = pending.popleft()
                yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _measured(entry: Entry, max_pixels: int) -> Measured | Reject:
    try:
        return measure(Path(entry.path), max_pixels)
    except Unusable as error:
        return entry.reject(error.reason, error.detail)
