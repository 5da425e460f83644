"""Captions as ids of CLIP's tokenizers: in chunks that each have a begin mark, an end mark and padding.

Shapes: B captions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def spelled_out(captions: Sequence[str], words: Mapping[str, str]) -> list[str]:
    """The captions with learned words as the tokens they stand for."""
    found = list(captions)
    for word, tokens in words.items():
        if word != tokens:
            found = [caption.replace(word, tokens) for caption in found]
    return found


def chunked_ids(tokenizer: Any, captions: list[str], window: int, limit: int) -> Tensor:
    """Chunks of `window` tokens, side by side, up to `limit` tokens with one pair of marks: (B, chunks x window)."""
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
    """The end of the caption that a cut to `limit` tokens takes away."""
    spans = tokenizer(caption, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    if len(spans) <= limit:
        return ""
    return caption[spans[limit - 1][0] :]  # The place of the first lost token goes to the end mark.
