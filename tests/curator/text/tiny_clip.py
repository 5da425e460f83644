"""A very small CLIP tokenizer, put together here, for tests without a hub."""

from __future__ import annotations

import json
from pathlib import Path

WORDS = "a photo of the red fox and an owl's nest in 1999, it's big; cats don't café naïve drawing openmoji"


def write_tiny_clip(folder: Path, limit: int = 77) -> Path:
    """Write vocab.json, merges.txt and tokenizer_config.json of a CLIP tokenizer of some hundred tokens.

    Each word is put together from the left. Not learnt: the learner breaks ties by chance.
    """
    from tokenizers import Regex, normalizers, pre_tokenizers

    from curator.text.tokens import CLIP_WORDS

    text = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()]).normalize_str(WORDS)
    pieces = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    ).pre_tokenize_str(text)
    merges: dict[tuple[str, str], None] = {}
    for word in sorted({piece for piece, _ in pieces}):
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            merges[parts[0], parts[1]] = None
            parts[:2] = [parts[0] + parts[1]]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet)]
    tokens += [left + right for left, right in merges]
    tokens = list(dict.fromkeys([*tokens, "<|startoftext|>", "<|endoftext|>"]))
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    lines = "".join(f"{left} {right}\n" for left, right in merges)
    (folder / "merges.txt").write_text("#version: 0.2\n" + lines, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": limit}), encoding="utf-8")
    return folder
