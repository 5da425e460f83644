"""Send images to the catalog's service, several at once, while others are being read.

The service is asked which ones it lacks, in batches: what was sent before isn't sent again, so an interrupted ingest
goes on where it was. The rows that name an image follow when its bytes have arrived.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from curator.catalog.remote_disk import RemoteDisk
from curator.images.unusable import Reason, Reject
from curator.ingest.walk import Entry
from schemas.errors import ChecksumMismatch
from schemas.progress import Progress

AT_ONCE = 4
ASKED_AT_ONCE = 64
# Pictures given out and not yet sent: whoever reads them waits then.
AHEAD = 4 * AT_ONCE


@contextmanager
def sending(remote_disk: RemoteDisk | None, progress: Progress) -> Iterator[Sending | None]:
    """Yield None if the catalog is on this machine. Raises ServiceFailed if sending isn't allowed."""
    if remote_disk is None:
        yield None
        return
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="upload")
    try:
        yield Sending(remote_disk, remote_disk.most_bytes(), pool, progress)
    finally:
        pool.shutdown(cancel_futures=True)


class Sending:
    """Uploads in progress. Their first error is raised by `add` or `finish`."""

    def __init__(self, remote_disk: RemoteDisk, most_bytes: int, pool: ThreadPoolExecutor, progress: Progress) -> None:
        self.remote_disk, self.most_bytes = remote_disk, most_bytes
        self._pool, self._progress = pool, progress
        self._waiting: dict[str, str] = {}  # path by SHA-256: the service wasn't asked yet
        self._seen: set[str] = set()
        self._flying: dict[Future[None], str] = {}
        self._sent = 0

    def refused(self, entry: Entry) -> Reject | None:
        """Return the reject if the service wouldn't accept this file, else None."""
        if entry.size_bytes <= self.most_bytes:
            return None
        detail = f"{entry.size_bytes:,} bytes; the service takes {self.most_bytes:,}"
        return entry.reject(Reason.TOO_LARGE, detail)

    def add(self, sha256: str, path: str) -> None:
        """Send an image, if the service lacks it."""
        if sha256 in self._seen:
            return
        self._seen.add(sha256)
        self._waiting[sha256] = path
        if len(self._waiting) >= ASKED_AT_ONCE:
            self._ask()

    def finish(self) -> None:
        """Wait until everything has arrived. Raises the first error; the rest isn't sent then."""
        self._ask()
        while self._flying:
            self._land()

    def on_the_way(self) -> set[str]:
        """Return the images that the service may not have yet."""
        arrived = {future for future in self._flying if future.done() and not future.exception()}
        return {*self._waiting, *(sha256 for future, sha256 in self._flying.items() if future not in arrived)}

    def _ask(self) -> None:
        """Ask for a batch. An image leaves the queue when it is there or a thread has it: Ctrl-C loses none."""
        if not self._waiting:
            return
        lacking = set(self.remote_disk.lacking(list(self._waiting)))
        self._waiting = {sha256: path for sha256, path in self._waiting.items() if sha256 in lacking}
        while self._waiting:
            while len(self._flying) >= AHEAD:
                self._land()
            sha256, path = next(iter(self._waiting.items()))
            self._flying[self._pool.submit(self._send, sha256, path)] = sha256
            del self._waiting[sha256]

    def _land(self) -> None:
        for future in wait(self._flying, return_when=FIRST_COMPLETED).done:
            future.result()
            del self._flying[future]
            self._sent += 1
        self._progress("sending images", self._sent, self._sent + len(self._flying) + len(self._waiting))

    def _send(self, sha256: str, path: str) -> None:
        content = Path(path).read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ChecksumMismatch(f"{path}: changed while it was being ingested. The same command goes on from there.")
        self.remote_disk.upload(sha256, content)
