"""Learned words: the tokens of each word, stored beside the tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

WORDS_FILE = "amatl_words.json"


def save_words(words: Mapping[str, str], folder: Path) -> None:
    (folder / WORDS_FILE).write_text(json.dumps(dict(words), indent=2) + "\n", encoding="utf-8")


def read_words(folder: Path) -> dict[str, str]:
    """Return the tokens of each word, {} without a file."""
    path = folder / WORDS_FILE
    words: dict[str, str] = json.loads(path.read_bytes()) if path.is_file() else {}
    return words
