"""A very small CLIP tokenizer, trained here, for tests without a hub."""

from __future__ import annotations

import json
from pathlib import Path

WORDS = "a photo of the red fox and an owl's nest in 1999, it's big; cats don't café naïve drawing openmoji " * 20


def write_tiny_clip(folder: Path, limit: int = 77) -> Path:
    """Writes vocab.json, merges.txt and tokenizer_config.json of a CLIP tokenizer of some hundred tokens."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    from curator.text.tokens import CLIP_WORDS

    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
    )
    tokenizer.train_from_iterator([WORDS], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary = model["vocab"]
    for token in [f"{letter}</w>" for letter in pre_tokenizers.ByteLevel.alphabet()] + [
        "<|startoftext|>",
        "<|endoftext|>",
    ]:
        vocabulary.setdefault(token, len(vocabulary))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    merges = "".join(f"{left} {right}\n" for left, right in model["merges"])
    (folder / "merges.txt").write_text("#version: 0.2\n" + merges, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": limit}), encoding="utf-8")
    return folder
