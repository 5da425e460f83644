"""Print an error once per distributed run.

Other ranks than 0 wait first: the launcher ends them as soon as one rank fails, so they print only if rank 0 has
nothing to report.
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

LAUNCHERS_FILE = "TORCHELASTIC_ERROR_FILE"  # The file that torchrun reads for its summary of a rank.
WAIT_SECONDS = 3.0


@contextmanager
def errors_printed_once() -> Iterator[None]:
    """Wrap everything a rank does and re-raise errors; ranks other than 0 wait `WAIT_SECONDS` first.

    After Ctrl-C they exit with status 130, silently.
    """
    try:
        yield
    except KeyboardInterrupt:
        if not is_rank_zero():
            sys.exit(130)
        raise
    except (AmatlError, OSError) as error:
        _report_to_launcher(error)
        if not is_rank_zero():
            time.sleep(WAIT_SECONDS)
        raise


def _report_to_launcher(error: Exception) -> None:
    """Write the error for the launcher's summary, instead of its advice on tracebacks."""
    path = os.environ.get(LAUNCHERS_FILE)
    if not path:
        return
    details = {"message": str(error), "extraInfo": {"timestamp": str(int(time.time()))}}
    with suppress(OSError):
        Path(path).write_text(json.dumps({"message": details}), encoding="utf-8")


def is_rank_zero() -> bool:
    """Whether this process writes files and prints. Imports no library."""
    return int(os.environ.get("RANK", "0")) == 0
