"""Captions are stored on one line."""

from __future__ import annotations

import re

LINE_ENDS = re.compile(r"\s*[\r\n\x85\u2028\u2029]+\s*")


def on_one_line(text: str) -> str:
    """A caption as it is kept: no blanks round it, one line."""
    return LINE_ENDS.sub(" ", text.strip())
