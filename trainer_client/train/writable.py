"""Whether a folder could be written to, found out before any work and without making it."""

from __future__ import annotations

import os
from pathlib import Path

from schemas.errors import AmatlError


class NotWritable(AmatlError):
    """The folder can't be written to. Choose another."""


def refuse_unwritable(option: str, folder: Path) -> None:
    """Raises NotWritable where `folder`, or what of its path exists, lets no file be made in it."""
    there = folder.absolute()
    try:
        while not there.exists():
            there = there.parent
    except OSError as error:
        raise NotWritable(f"{option} {_short(folder)}: {error.strerror}. Choose another {option}.") from error
    if not there.is_dir():
        raise NotWritable(f"{option} {_short(folder)}: {there} is a file. Choose another {option}.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise NotWritable(f"{option} {_short(folder)}: {there} can't be written to. Choose another {option}.")


def _short(folder: Path) -> str:
    text = str(folder)
    return text if len(text) <= 200 else f"{text[:200]}…"
