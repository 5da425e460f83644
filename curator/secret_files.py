"""Files that nobody else may read: written whole or not at all, mode 0600 from the first byte."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_secret(path: Path, content: bytes) -> None:
    """Writes or replaces a secret."""
    with _temporary(path, content) as temporary:
        temporary.replace(path)


def make_secret(path: Path, content: bytes) -> None:
    """Writes a secret unless there is one: of two processes the first one's holds."""
    with _temporary(path, content) as temporary:
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            if not path.exists():
                temporary.replace(path)


@contextmanager
def _temporary(path: Path, content: bytes) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
