"""Of a run's several processes one speaks: an error that all of them have is told once, by the first.

Another speaks only where the first has nothing to say. Whether it has shows a little later: torchrun and accelerate end
the others as soon as one fails, so that who waits before it speaks is ended first.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from schemas.errors import AmatlError

LAUNCHERS_FILE = "TORCHELASTIC_ERROR_FILE"  # Where torchrun looks for what its summary says of a process.
WAIT_SECONDS = 3.0


@contextmanager
def one_voice() -> Iterator[None]:
    """Round all that a process of a run does. Lets errors pass: those of others than the first late, or in silence."""
    try:
        yield
    except KeyboardInterrupt:
        if not is_first():
            sys.exit(130)
        raise
    except (AmatlError, OSError) as error:
        _tell_launcher(error)
        if not is_first():
            time.sleep(WAIT_SECONDS)
        raise


def _tell_launcher(error: Exception) -> None:
    """In the launcher's own form, so that its summary says what happened instead of how to enable tracebacks."""
    path = os.environ.get(LAUNCHERS_FILE)
    if not path:
        return
    told = {"message": str(error), "extraInfo": {"timestamp": str(int(time.time()))}}
    with suppress(OSError):
        Path(path).write_text(json.dumps({"message": told}), encoding="utf-8")


def is_first() -> bool:
    """Whether this process is the one that writes and speaks; found out without loading anything."""
    return int(os.environ.get("RANK", "0")) == 0
