"""Captions as token ids of CLIP, in chunks with begin mark, end mark and padding. Shapes: B captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def expand_words(captions: Sequence[str], words: Mapping[str, str]) -> list[str]:
    """Replace each learned word by its tokens."""
    expanded = list(captions)
    for word, tokens in words.items():
        if word != tokens:
            expanded = [caption.replace(word, tokens) for caption in expanded]
    return expanded


def chunked_ids(tokenizer: Any, captions: list[str], window: int, limit: int) -> Tensor:
    """Return chunks of `window` tokens: (B, chunks x window). `limit` counts one pair of marks."""
    if limit == window:
        settings = {"padding": "max_length", "max_length": window, "truncation": True}
        ids_BT: Tensor = tokenizer(captions, return_tensors="pt", **settings).input_ids
        return ids_BT
    inside = window - 2
    rows = []
    for ids in tokenizer(captions, add_special_tokens=False, verbose=False)["input_ids"]:
        row: list[int] = []
        for first in range(0, limit - 2, inside):
            chunk = [tokenizer.bos_token_id, *ids[first : first + inside], tokenizer.eos_token_id]
            row += [*chunk, *[tokenizer.pad_token_id] * (window - len(chunk))]
        rows.append(row)
    return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), -1)


def lost_text(tokenizer: Any, caption: str, limit: int) -> str:
    """Return the end of the caption that truncation to `limit` tokens removes."""
    spans = tokenizer(caption, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    if len(spans) <= limit:
        return ""
    return caption[spans[limit - 1][0] :]  # The end mark takes the position of the first lost token.
