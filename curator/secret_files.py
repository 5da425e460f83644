"""Files that only the owner can read: mode 0600 from the first byte, written atomically."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import AmatlError

KEY_BYTES = 32


def write_secret(path: Path, content: bytes) -> None:
    """Write or replace a secret."""
    with _temporary(path, content) as temporary:
        temporary.replace(path)


def make_secret(path: Path, content: bytes) -> None:
    """Write a secret unless there is one; of two processes the first wins."""
    with _temporary(path, content) as temporary:
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            if not path.exists():
                temporary.replace(path)


def load_key(folder: Path) -> bytes:
    """Return the folder's key, 32 bytes that sign its addresses. The first call makes it, atomically.

    Raises AmatlError if the file isn't a key.
    """
    path = folder / "key"
    if not path.exists():
        make_secret(path, secrets.token_bytes(KEY_BYTES))
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise AmatlError(
            f"{path}: not a key of {KEY_BYTES} bytes. Remove it, then do that again: what it signed, addresses and "
            "logins, is renewed."
        )
    return key


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
