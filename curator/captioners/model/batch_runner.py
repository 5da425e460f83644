"""Run a caption model over many images in two overlapping stages: threads preprocess, the caller's thread generates.

Its overhead is small even for models that write thousands of captions a second.

    runner = BatchRunner(model)
    for batch in runner.run(items):
        store(batch)                    # finished, in order; a kill loses a batch that isn't stored yet
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

from curator.captioners.model import CaptionModel, DoesNotFit, Item, MachineFailed, Output
from curator.captioners.model.batch_size import BatchSize
from curator.images.unusable import CannotRead
from schemas.errors import AmatlError, ChecksumMismatch, NotFound

CHUNK = 16  # the most items of a future; one future an item would cost more than a no-op model
MANY_CORES, SPARED = 8, 2  # a model that waits for a core keeps its GPU waiting: see the benchmarks' log
MAX_UNEXPECTED = 32  # so many unexpected errors before the first success are not the images' fault


@dataclass(frozen=True)
class Batch:
    items: list[Item]
    outputs: list[Output]


@dataclass(frozen=True, slots=True)
class _Failed:
    """Takes the place of the input of an image that can't be preprocessed."""

    reason: str
    unexpected: bool


class BatchRunner:
    """Runs a model. `batch_size.size` is the size in use, final once `batch_size.settled`."""

    def __init__(
        self,
        model: CaptionModel,
        *,
        threads: int | None = None,
        notice: Callable[[str], None] = lambda text: None,
        fetch: Callable[[str], None] = lambda image_sha256: None,
    ) -> None:
        """`threads`: for preprocessing; None: one a core, less two for the model if there are many cores. `notice`
        receives messages for the user. `fetch` makes an image's file available, on the thread that reads it.
        """
        self.model, self.notice, self.fetch = model, notice, fetch
        self.threads = threads or (cores() - SPARED if cores() >= MANY_CORES else cores())
        self.batch_size = BatchSize(model.batch_size)

    def run(self, items: Iterable[Item]) -> Generator[Batch]:
        """Yield finished batches in the order of `items`, reading at most two batches ahead.

        A failed image gets an `Output` without text. DoesNotFit halves the batch; other errors of `generate` but
        AmatlErrors become MachineFailed. After `close` the threads end with their current image.
        """
        with _Preprocessing(self.model, self.fetch, items, self.threads) as preprocessing:
            while True:
                pairs = preprocessing.take(self.batch_size.size)
                if not pairs:
                    return
                batch = self._finish(pairs, preprocessing)
                del pairs  # frees the pixels before the next batch is complete
                yield batch

    def _finish(self, pairs: list[tuple[Item, Any]], preprocessing: _Preprocessing) -> Batch:
        first_size = self.batch_size.size
        while True:
            good = [(item, prepared) for item, prepared in pairs if not isinstance(prepared, _Failed)]
            started = time.perf_counter()
            try:
                generated = iter(self._generate([item for item, _ in good], [prepared for _, prepared in good]))
                break
            except DoesNotFit as error:
                if not self.batch_size.too_large():
                    raise MachineFailed(f"Not even one image fits the device's memory. {error}") from error
                preprocessing.give_back(pairs[self.batch_size.size :])
                pairs = pairs[: self.batch_size.size]
        seconds = time.perf_counter() - started
        if first_size != self.batch_size.size:
            self.notice(
                f"{first_size} images at once don't fit the device's memory; continuing with {self.batch_size.size}."
            )
        self.batch_size.timed(len(good), seconds)
        outputs = [
            Output(None, prepared.reason) if isinstance(prepared, _Failed) else next(generated) for _, prepared in pairs
        ]
        return Batch([item for item, _ in pairs], outputs)

    def _generate(self, items: list[Item], prepared: list[Any]) -> Sequence[Output]:
        if not items:
            return []
        try:
            outputs = self.model.generate(items, prepared)
        except AmatlError:
            raise
        except Exception as error:
            raise MachineFailed(one_line(error)) from error
        if len(outputs) != len(items):
            raise MachineFailed(f"The model wrote {len(outputs)} captions for {len(items)} images.")
        if bad := [one for one in outputs if not isinstance(one, Output) or not isinstance(one.text, str | None)]:
            raise MachineFailed(f"The model returned {bad[0]!r} instead of a caption.")
        return outputs


class _Preprocessing:
    """The first stage: `preprocess` on threads, a bounded number of images ahead of `take`."""

    def __init__(self, model: CaptionModel, fetch: Callable[[str], None], items: Iterable[Item], threads: int) -> None:
        self._model, self._fetch, self._items, self._threads = model, fetch, iter(items), threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="preprocess")
        self._stopped = threading.Event()
        self._ahead: deque[tuple[list[Item], Future[list[Any]]]] = deque()
        self._items_ahead = 0
        self._ready: deque[tuple[Item, Any]] = deque()
        self._unexpected = 0  # unexpected errors before the first success; -1 after it

    def __enter__(self) -> _Preprocessing:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self, count: int) -> list[tuple[Item, Any]]:
        """Return the next items with their inputs, up to `count` good ones; with failed ones, at most 2 * `count`.

        Leaves `count` items in preprocessing, so that the threads have work meanwhile.
        """
        pairs: list[tuple[Item, Any]] = []
        good = 0
        while good < count and len(pairs) < 2 * count:
            self._submit(2 * count - good)
            if not self._ready and not self._collect():
                break
            pair = self._ready.popleft()
            pairs.append(pair)
            good += not isinstance(pair[1], _Failed)
        self._submit(count)
        return pairs

    def give_back(self, pairs: Sequence[tuple[Item, Any]]) -> None:
        self._ready.extendleft(reversed(pairs))

    def _submit(self, ahead: int) -> None:
        chunk = max(1, min(CHUNK, ahead // (4 * self._threads)))
        while len(self._ready) + self._items_ahead < ahead:
            items = list(islice(self._items, chunk))
            if not items:
                return
            self._ahead.append((items, self._pool.submit(self._work, items)))
            self._items_ahead += len(items)

    def _collect(self) -> bool:
        if not self._ahead:
            return False
        items, future = self._ahead.popleft()
        results = future.result()
        self._items_ahead -= len(items)
        self._ready.extend(zip(items, results, strict=True))
        self._check_failures(results)
        return True

    def _check_failures(self, results: list[Any]) -> None:
        """Raise MachineFailed if all images so far failed with unexpected errors."""
        if self._unexpected < 0:
            return
        unexpected = [one for one in results if isinstance(one, _Failed) and one.unexpected]
        self._unexpected = self._unexpected + len(unexpected) if len(unexpected) == len(results) else -1
        if self._unexpected >= MAX_UNEXPECTED:
            reason = unexpected[-1].reason
            raise MachineFailed(f"None of the first {self._unexpected} images could be preprocessed: {reason}.")

    def _work(self, items: list[Item]) -> list[Any]:
        return [None if self._stopped.is_set() else self._preprocess(item) for item in items]

    def _preprocess(self, item: Item) -> Any:
        try:
            self._fetch(item.image_sha256)
        except (NotFound, ChecksumMismatch) as error:
            return _Failed(f"the image can't be fetched ({error})", unexpected=False)
        if _has_changed(item):
            return _Failed("the image's file has changed since ingest; ingest its folder again", unexpected=False)
        try:
            return self._model.preprocess(item)
        except CannotRead as error:
            return _Failed(str(error), unexpected=False)
        except AmatlError:
            raise
        except FileNotFoundError:
            return _Failed("the image's file is gone", unexpected=False)
        except OSError as error:
            reason = error.strerror or _without_path(item.path, error)
            return _Failed(f"the image can't be read ({reason})", unexpected=False)
        except Exception as error:  # decoders raise almost anything on broken images
            return _Failed(f"the image can't be preprocessed ({_without_path(item.path, error)})", unexpected=True)


def _has_changed(item: Item) -> bool:
    try:
        return item.size_bytes is not None and Path(item.path).stat().st_size != item.size_bytes
    except OSError:
        return False


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_line(error: Exception) -> str:
    """Return an error's type and the first line of its message."""
    message = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _without_path(path: str, error: Exception) -> str:
    """Return the error on one line without the path, because equal reasons are counted together."""
    line = one_line(error)
    return type(error).__name__ if path in line else line
