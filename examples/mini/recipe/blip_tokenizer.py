"""The mini BLIP's processor: a small WordPiece vocabulary in BERT's format, and pictures as 64x64 tensors.

    python blip_tokenizer.py --dataset emoji.npz --out blip

Writes what `BlipProcessor.from_pretrained` reads. BLIP's decoder starts with `[DEC]` and ends with `[SEP]` (Li et al.
2022); both are special tokens here, so decoding drops them. A vocabulary that is there is kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blip_captions import caption, plain
from data import SIZE_PX, load
from words import GENERAL_WORDS

if TYPE_CHECKING:
    import torch
    from data import Record

VOCABULARY = 2048
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]")
PLACES = 40
"""Tokens that the decoder can place, the two special ones counted."""
LONGEST = 14
"""Tokens of a caption in training; longer ones are cut."""


def corpus(records: list[Record]) -> list[str]:
    """Texts to learn word pieces from: names, keywords, some captions, general words."""
    texts = [plain(text) for record in records for text in (record.label, *record.tags)]
    texts += [" ".join(caption(record, draw)) for record in records for draw in range(4)]
    return texts + [" ".join(GENERAL_WORDS)] * 20


def learn_vocabulary(texts: list[str]) -> dict[str, int]:
    """Word pieces and their numbers, the special tokens first."""
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(lowercase=True)
    tokenizer.train_from_iterator(
        texts, vocab_size=VOCABULARY, min_frequency=2, special_tokens=list(SPECIAL), show_progress=False
    )
    pieces: dict[str, int] = tokenizer.get_vocab()
    return dict(sorted(pieces.items(), key=lambda item: item[1]))


def build(records: list[Record]) -> Any:
    """A `BlipProcessor` whose vocabulary was learnt from the records."""
    from transformers import BertTokenizer, BlipImageProcessorPil, BlipProcessor

    tokenizer = BertTokenizer(
        vocab=learn_vocabulary(corpus(records)),
        do_lower_case=True,
        bos_token="[DEC]",
        model_max_length=PLACES,
        clean_up_tokenization_spaces=True,
    )
    images = BlipImageProcessorPil(size={"height": SIZE_PX, "width": SIZE_PX})
    return BlipProcessor(image_processor=images, tokenizer=tokenizer)


def token_table(tokenizer: Any, records: list[Record], draws: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Captions as BLIP's decoder sees them, `[DEC]` to `[SEP]`, padded, and the number of tokens that are given.

    (records, draws, LONGEST) and (records, draws), int64.
    """
    import torch

    pairs = [caption(record, draw) for record in records for draw in range(draws)]
    texts = [f"{prompt} {text}".strip() for prompt, text in pairs]
    encoded = tokenizer(texts, padding="max_length", max_length=LONGEST, truncation=True, return_tensors="pt")
    table: torch.Tensor = encoded.input_ids.view(len(records), draws, LONGEST)
    table[:, :, 0] = tokenizer.bos_token_id
    given = torch.tensor([1 + len(tokenizer.tokenize(prompt)) for prompt, _ in pairs])
    return table, given.view(len(records), draws)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if (arguments.out / "tokenizer.json").exists():
        print("kept the vocabulary that is there")
        return
    _, records = load(arguments.dataset)
    processor = build([record for record in records if record.split == "train"])
    processor.save_pretrained(arguments.out)
    print(f"{len(processor.tokenizer)} tokens")


if __name__ == "__main__":
    main()
