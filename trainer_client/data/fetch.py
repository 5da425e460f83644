"""Fetch a snapshot by its address into the cache, verified file by file, resumed after a break.

    http://host/snapshots/<identity>        a curator service, or any server of the folder's files

Files get their names only if their bytes match the manifest and metadata.jsonl; broken ones resume (`Range`). The
manifest is written last: a folder without it is not a snapshot.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import ValidationError

from schemas.document import FileRef, first_problem, write_atomically
from schemas.edge.address import address_of
from schemas.edge.lock import one_at_a_time
from schemas.edge.retry import retried
from schemas.edge.words import size
from schemas.errors import BadDocument, ChecksumMismatch, NotEnoughSpace
from schemas.progress import Progress, silent
from schemas.snapshot import SampleRow, SnapshotManifest, manifest_digest
from trainer_client.cache import default_folder
from trainer_client.service import client, refusal, unreachable

if TYPE_CHECKING:
    import httpx

ATTEMPTS = 6  # in a row without a new byte
FIRST_PAUSE_SECONDS = 0.5  # doubled each time
THREADS = 8
PART = ".part"


class Stopped(Exception):
    """Another file failed, or a person pressed Ctrl-C."""


def local_folder(snapshot: Path | str, progress: Progress = silent) -> Path:
    """Return the folder of a snapshot; fetch an address into the cache if needed.

    Raise ServiceFailed, NotFound, BadDocument, ChecksumMismatch, NotEnoughSpace. Fetched files are kept.
    """
    address = address_of(snapshot)
    return fetch_snapshot(address, cache_folder(), progress) if address else Path(snapshot)


def cache_folder() -> Path:
    return default_folder() / "snapshots"


def fetch_snapshot(address: str, cache: Path, progress: Progress = silent) -> Path:
    """Fetch the snapshot into `cache/<identity>`. Send no request if it is there."""
    identity = _identity_in(address)
    if identity and (cache / identity / "manifest.json").is_file():
        return cache / identity
    with client(address) as http:
        manifest = Download(http, f"{address}/manifest.json").content()
        read = _manifest(manifest, f"{address}/manifest.json", identity)
        folder = cache / read.identity
        if not (folder / "manifest.json").is_file():

            def waiting() -> None:
                progress("waiting for another process to fetch the snapshot", 0, None)

            with one_at_a_time(cache / f".{read.identity}.lock", waiting):
                if not (folder / "manifest.json").is_file():
                    _fetch_missing(http, address, read, manifest, folder, progress)
    return folder


def _identity_in(address: str) -> str | None:
    last = urlsplit(address).path.rpartition("/")[2]
    return last if re.fullmatch("[0-9a-f]{64}", last) else None


def _manifest(content: bytes, where: str, identity: str | None) -> SnapshotManifest:
    try:
        manifest = SnapshotManifest.model_validate_json(content)
    except ValidationError as error:
        raise BadDocument(f"{where}: not a snapshot's manifest ({first_problem(error)}). Check the address.") from error
    if manifest.manifest_digest not in (None, manifest_digest(json.loads(content))):
        raise ChecksumMismatch(f"{where}: doesn't match its own digest. Try again.")
    if identity not in (None, manifest.identity):
        raise ChecksumMismatch(
            f"{where}: is of snapshot {manifest.identity[:12]}, not {str(identity)[:12]}. Check the address."
        )
    return manifest


def _fetch_missing(
    http: httpx.Client, address: str, manifest: SnapshotManifest, content: bytes, folder: Path, progress: Progress
) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    tables = [manifest.samples, *(count.metadata for count in manifest.splits.values())]
    for table in tables:
        _fetch_file(http, address, table, partial)
    images = [file for count in manifest.splits.values() for file in _images(partial, count.folder, count.metadata)]
    missing = [file for file in images if not _is_there(partial, file)]
    _check_space(partial, sum(file.size_bytes for file in missing))
    _fetch_all(http, address, missing, partial, len(images), progress)
    write_atomically(partial / "manifest.json", content)
    partial.rename(folder)


def _images(partial: Path, folder: str, metadata: FileRef) -> Iterator[FileRef]:
    for number, line in enumerate((partial / metadata.path).read_bytes().splitlines(), start=1):
        try:
            row = SampleRow.model_validate_json(line)
        except ValidationError as error:
            raise BadDocument(f"{metadata.path}, line {number}: {first_problem(error)}") from error
        yield FileRef(path=f"{folder}/{row.file_name}", sha256=row.sha256, size_bytes=row.size_bytes)


def _fetch_all(
    http: httpx.Client, address: str, missing: list[FileRef], partial: Path, images: int, progress: Progress
) -> None:
    """Fetch several files at a time; the first error, or Ctrl-C, stops the others."""
    done, size_bytes = images - len(missing), 0
    progress("fetching the snapshot", done, images)
    pool, stopped = ThreadPoolExecutor(THREADS), Event()
    try:
        for file in pool.map(lambda file: _fetch_file(http, address, file, partial, stopped), missing):
            done, size_bytes = done + 1, size_bytes + file.size_bytes
            progress("fetching the snapshot", done, images, size(size_bytes))
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


def _is_there(partial: Path, file: FileRef) -> bool:
    """Whether the file is complete, by size: its checksum was verified before it got its name."""
    try:
        return (partial / file.path).stat().st_size == file.size_bytes
    except FileNotFoundError:
        return False


def _fetch_file(
    http: httpx.Client, address: str, file: FileRef, partial: Path, stopped: Event | None = None
) -> FileRef:
    target = partial / file.path
    if not _is_there(partial, file):
        target.parent.mkdir(parents=True, exist_ok=True)
        Download(http, f"{address}/{file.path}", stopped or Event()).to(target, file)
    return file


def _check_space(folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise NotEnoughSpace(
            f"{folder}: the snapshot needs {size(needed_bytes)} more, {size(free)} is free. Free some space, or "
            "set AMATL_CACHE to a folder on another disk."
        )


@dataclass
class Download:
    """One file, resumed after breaks; gives up after `ATTEMPTS` attempts without a new byte."""

    http: httpx.Client
    url: str
    stopped: Event = field(default_factory=Event)  # Set it to stop soon; the bytes so far are kept.

    def content(self) -> bytes:
        pieces: list[bytes] = []

        def attempt() -> None:
            pieces.clear()
            self._read(0, lambda piece, at: pieces.append(piece))

        self._retry(attempt, lambda: 0)
        return b"".join(pieces)

    def to(self, target: Path, file: FileRef) -> None:
        """Write `target`, which appears only if its bytes match `file`. Raise ChecksumMismatch."""
        part = target.with_name(target.name + PART)
        for last in (False, True):
            self._retry(lambda: self._into(part, file.size_bytes), lambda: _size(part))
            with part.open("rb") as opened:
                sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
            if sha256 == file.sha256 and _size(part) == file.size_bytes:
                part.replace(target)
                return
            part.unlink()
            if last:
                raise ChecksumMismatch(
                    f"{self.url}: its SHA-256 is {sha256[:12]}…, the snapshot says {file.sha256[:12]}…, twice."
                    " Tell the owner of the service; the files fetched so far are kept."
                )

    def _into(self, part: Path, size_bytes: int) -> None:
        start = _size(part)
        if start >= size_bytes:
            return

        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT, 0o666), "wb") as opened:

            def write(piece: bytes, at: int) -> None:
                opened.seek(at)
                opened.write(piece)
                opened.truncate()

            self._read(start, write)
        if _size(part) < size_bytes:
            raise ConnectionError("the file ended early")

    def _read(self, start: int, write: Callable[[bytes, int], None]) -> None:
        """Stream from byte `start`, or from 0 if the server doesn't support ranges."""
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with self.http.stream("GET", self.url, headers=headers) as response:
            if response.status_code == 416:  # the partial file is no prefix of this file
                write(b"", 0)
                raise ConnectionError("the range doesn't exist")
            if response.status_code in (429, 502, 503, 504):
                raise ConnectionError(f"answered {response.status_code}")
            if response.status_code not in (200, 206):
                response.read()
                raise refusal(self.url, response)
            at = start if response.status_code == 206 else 0
            for piece in response.iter_bytes():  # written at once, so that a break loses nothing
                write(piece, at)
                at += len(piece)
                if self.stopped.is_set():
                    raise Stopped

    def _retry(self, attempt: Callable[[], None], progress: Callable[[], int]) -> None:
        import httpx

        def is_transient(error: Exception) -> bool:
            return isinstance(error, httpx.TransportError | ConnectionError)

        try:
            retried(attempt, is_transient, _pauses(progress), self._wait)
        except (httpx.TransportError, ConnectionError, httpx.InvalidURL) as error:
            raise unreachable(self.url, error) from error

    def _wait(self, seconds: float) -> None:
        if self.stopped.wait(seconds):
            raise Stopped


def _pauses(progress: Callable[[], int]) -> Iterator[float]:
    """Yield doubling pauses, restarted after progress."""
    most, attempts = progress(), 0
    while True:
        if (now := progress()) > most:
            most, attempts = now, 0
        attempts += 1
        if attempts == ATTEMPTS:
            return
        yield FIRST_PAUSE_SECONDS * 2 ** (attempts - 1)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
