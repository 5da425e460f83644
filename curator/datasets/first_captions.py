"""The command that makes a dataset's first captions, from what is known of its images."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

SIDECAR = "sidecar"  # The metadata field of text files beside images.


def first_captions(dataset: str, fields: Sequence[str]) -> str:
    """Return a `curator caption` command: by the text files, else the first metadata field, else a fixed word."""
    if SIDECAR in fields:
        options = ["--strategy", "sidecar", "--set", "sidecar"]
    elif fields:
        options = ["--strategy", "template", "--set", "template", "-o", f"template=${{{fields[0]}}}"]
    else:
        options = ["--strategy", "fixed", "--set", "fixed", "-o", f"text={dataset}"]
    return shlex.join(["curator", "caption", dataset, *options])
