"""Give every token that training hardly used a meaning that does no harm.

The vocabulary can spell any text, but a token that no training caption had keeps its random embedding, and the text
encoder takes it for something: "openmoji drawing of a fox" gave people. So such tokens get the mean embedding of
"a" and "the", which say nothing about a picture. "openmoji" is named in the finetuning examples as a style would be:
it gets the mean of the trained style words, so before a finetune it stands for any of them.
"""

from __future__ import annotations

from typing import Any

import torch

NEUTRAL_WORDS = ("a", "the")
STYLE_WORDS = ("noto", "twemoji", "fluent", "flat")
NEW_STYLE_WORDS = ("openmoji",)
RARE = 8
"""A token is settled when fewer than this many of the training captions have it."""


@torch.no_grad()
def settle_unused_tokens(text_encoder: Any, tokenizer: Any, tokens_NKL: torch.Tensor) -> int:
    """Change the embedding table in place, given all training captions' token numbers; returns how many changed."""
    table = text_encoder.get_input_embeddings().weight.data

    def mean(words: tuple[str, ...]) -> torch.Tensor:
        numbers = tokenizer.convert_tokens_to_ids([f"{word}</w>" for word in words])
        average: torch.Tensor = table[numbers].mean(0)
        return average

    neutral, style = mean(NEUTRAL_WORDS), mean(STYLE_WORDS)
    counts = torch.bincount(tokens_NKL.flatten().cpu(), minlength=len(tokenizer))
    unused = (counts < RARE).to(table.device)
    unused[[tokenizer.bos_token_id, tokenizer.eos_token_id]] = False
    table[unused] = neutral
    table[tokenizer.convert_tokens_to_ids([f"{word}</w>" for word in NEW_STYLE_WORDS])] = style
    return int(unused.sum())
