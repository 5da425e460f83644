"""Learned words of a model: the tokens each word stands for, stored beside the tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

WORDS_FILE = "amatl_words.json"  # Beside a saved tokenizer: which tokens a word stands for.


def save_words(words: Mapping[str, str], folder: Path) -> None:
    """Notes beside a saved tokenizer which tokens a word stands for."""
    (folder / WORDS_FILE).write_text(json.dumps(dict(words), indent=2) + "\n", encoding="utf-8")


def read_words(folder: Path) -> dict[str, str]:
    """What `save_words` noted; {} where nothing was."""
    path = folder / WORDS_FILE
    found: dict[str, str] = json.loads(path.read_bytes()) if path.is_file() else {}
    return found
