"""Drives a machine over many pictures in two overlapping stages: threads prepare, the caller's thread writes.

Made to cost nothing beside a machine that writes thousands of captions a second.

    conveyor = Conveyor(machine)
    for batch in conveyor.run(items):
        keep(batch)                     # finished, in order; what isn't kept before the next step is lost at a kill
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from curator.captioners.model import DoesNotFit, Item, Machine, MachineFailed, Written
from curator.captioners.model.batch_size import BatchSize
from curator.images.unusable import CannotRead
from schemas.errors import AmatlError, ChecksumMismatch, NotFound

CHUNK = 16  # items a thread takes at once, at most: a future for each would cost more than a no-op machine
MANY_CORES, SPARED = 8, 2  # A machine that waits for its turn on a core keeps a GPU waiting: see the benchmarks' log.
ODD_AT_FIRST = 32  # so many unexpected errors and not one picture prepared: it isn't the pictures


@dataclass(frozen=True)
class Batch:
    """Finished items with what was written of each."""

    items: list[Item]
    written: list[Written]


@dataclass(frozen=True, slots=True)
class _Failed:
    """What `prepare` gives where it can't: the reason, and whether it was one nobody had thought of."""

    reason: str
    odd: bool


class Conveyor:
    """A machine at work. `batch_size.size` is the size in use, the one found once `batch_size.settled`."""

    def __init__(
        self,
        machine: Machine,
        *,
        threads: int | None = None,
        notice: Callable[[str], None] = lambda text: None,
        fetch: Callable[[str], None] = lambda image_sha256: None,
    ) -> None:
        """`threads` prepare (None: one a core, less two for the machine where there are many cores); `notice` is told
        what a person should hear, such as a smaller batch. `fetch` has an image's file where its item says, on the
        thread that prepares it.
        """
        self.machine, self.notice, self.fetch = machine, notice, fetch
        self.threads = threads or (cores() - SPARED if cores() >= MANY_CORES else cores())
        self.batch_size = BatchSize(machine.batch_size)

    def run(self, items: Iterable[Item]) -> Generator[Batch]:
        """Finished batches, in the order of `items`, of which it reads no more than two batches ahead.

        A picture that fails is a `Written` without text. Raises MachineFailed for anything that `write` raises but
        DoesNotFit (the batch is halved; nothing is prepared again) and AmatlError. Stop it at any time by `close`: the
        threads end after the picture in hand.
        """
        with _Preparing(self.machine, self.fetch, items, self.threads) as preparing:
            while True:
                taken = preparing.take(self.batch_size.size)
                if not taken:
                    return
                batch = self._finished(taken, preparing)
                del taken  # or it would be held, pixels and all, until the next batch is whole
                yield batch

    def _finished(self, taken: list[tuple[Item, Any]], preparing: _Preparing) -> Batch:
        """Writes what was taken, or as much of its front as fits; the rest goes back."""
        asked = self.batch_size.size
        while True:
            good = [(item, made) for item, made in taken if not isinstance(made, _Failed)]
            started = time.perf_counter()
            try:
                answers = iter(self._write([item for item, _ in good], [made for _, made in good]))
                break
            except DoesNotFit as error:
                if not self.batch_size.too_large():
                    raise MachineFailed(f"Not even one picture fits the device's memory. {error}") from error
                preparing.give_back(taken[self.batch_size.size :])
                taken = taken[: self.batch_size.size]
        seconds = time.perf_counter() - started
        if asked != self.batch_size.size:
            self.notice(
                f"{asked} pictures at once don't fit the device's memory; going on with {self.batch_size.size}."
            )
        self.batch_size.timed(len(good), seconds)
        written = [Written(None, made.reason) if isinstance(made, _Failed) else next(answers) for _, made in taken]
        return Batch([item for item, _ in taken], written)

    def _write(self, items: list[Item], prepared: list[Any]) -> Sequence[Written]:
        if not items:
            return []
        try:
            written = self.machine.write(items, prepared)
        except AmatlError:
            raise
        except Exception as error:
            raise MachineFailed(one_line(error)) from error
        if len(written) != len(items):
            raise MachineFailed(f"The machine wrote {len(written)} captions for {len(items)} pictures.")
        if odd := [one for one in written if not isinstance(one, Written) or not isinstance(one.text, str | None)]:
            raise MachineFailed(f"The machine wrote {odd[0]!r} where a caption belongs.")
        return written


class _Preparing:
    """The first stage: `prepare` on threads, a bounded number of pictures ahead of what was taken."""

    def __init__(self, machine: Machine, fetch: Callable[[str], None], items: Iterable[Item], threads: int) -> None:
        self._prepare, self._fetch, self._items, self._threads = machine.prepare, fetch, iter(items), threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="prepare")
        self._stopped = threading.Event()
        self._ahead: deque[tuple[list[Item], Future[list[Any]]]] = deque()
        self._items_ahead = 0
        self._ready: deque[tuple[Item, Any]] = deque()
        self._odd = 0  # unexpected failures so far; -1 once a picture was prepared: then it isn't all of them

    def __enter__(self) -> _Preparing:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self, count: int) -> list[tuple[Item, Any]]:
        """The next pictures, `count` of them prepared where there are so many, with those that failed among them.

        At most 2 * `count` in all. Leaves as many being prepared as it took, so that the threads have work meanwhile.
        """
        taken: list[tuple[Item, Any]] = []
        good = 0
        while good < count and len(taken) < 2 * count:
            self._fill(2 * count - good)
            if not self._ready and not self._land():
                break
            pair = self._ready.popleft()
            taken.append(pair)
            good += not isinstance(pair[1], _Failed)
        self._fill(count)
        return taken

    def give_back(self, pairs: Sequence[tuple[Item, Any]]) -> None:
        """Prepared pictures that weren't written, to be taken again first."""
        self._ready.extendleft(reversed(pairs))

    def _fill(self, ahead: int) -> None:
        """Hands pictures to the threads until `ahead` are prepared or being so."""
        chunk = max(1, min(CHUNK, ahead // (4 * self._threads)))
        while len(self._ready) + self._items_ahead < ahead:
            items = list(islice(self._items, chunk))
            if not items:
                return
            self._ahead.append((items, self._pool.submit(self._work, items)))
            self._items_ahead += len(items)

    def _land(self) -> bool:
        """Waits for the next chunk; False where there is none."""
        if not self._ahead:
            return False
        items, future = self._ahead.popleft()
        made = future.result()
        self._items_ahead -= len(items)
        self._ready.extend(zip(items, made, strict=True))
        self._look_for_a_pattern(made)
        return True

    def _look_for_a_pattern(self, made: list[Any]) -> None:
        """Raises MachineFailed where every picture fails for a reason that `prepare` should have known."""
        if self._odd < 0:
            return
        odd = [one for one in made if isinstance(one, _Failed) and one.odd]
        self._odd = self._odd + len(odd) if len(odd) == len(made) else -1
        if self._odd >= ODD_AT_FIRST:
            raise MachineFailed(f"None of the first {self._odd} pictures could be prepared: {odd[-1].reason}.")

    def _work(self, items: list[Item]) -> list[Any]:
        return [None if self._stopped.is_set() else self._prepared(item) for item in items]

    def _prepared(self, item: Item) -> Any:
        try:
            self._fetch(item.image_sha256)
        except (NotFound, ChecksumMismatch) as error:
            return _Failed(f"the picture can't be fetched ({error})", odd=False)
        if _has_changed(item):
            return _Failed("the picture's file has changed since it was ingested; ingest its folder again", odd=False)
        try:
            return self._prepare(item)
        except CannotRead as error:
            return _Failed(str(error), odd=False)
        except AmatlError:
            raise
        except FileNotFoundError:
            return _Failed("the picture's file is gone", odd=False)
        except OSError as error:
            said = error.strerror or _without(item.path, error)
            return _Failed(f"the picture can't be read ({said})", odd=False)
        except Exception as error:  # decoders raise almost anything on broken pictures
            return _Failed(f"the picture can't be prepared ({_without(item.path, error)})", odd=True)


def _has_changed(item: Item) -> bool:
    """Whether its file is surely another one now; one that is gone is `prepare`'s to tell."""
    try:
        return item.size_bytes is not None and Path(item.path).stat().st_size != item.size_bytes
    except OSError:
        return False


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_line(error: Exception) -> str:
    """An unexpected error's kind and the first line of what it says."""
    said = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _without(path: str, error: Exception) -> str:
    """The error in a line that pictures can share: reasons are counted."""
    said = one_line(error)
    return type(error).__name__ if path in said else said
