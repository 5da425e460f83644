"""Check that a folder is writable, without creating it."""

from __future__ import annotations

import os
from pathlib import Path

from schemas.errors import AmatlError


class NotWritable(AmatlError):
    """The folder can't be written to. Choose another."""


def refuse_unwritable(option: str, folder: Path) -> None:
    """Raise NotWritable if `folder`, or its nearest existing parent, is not writable."""
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
