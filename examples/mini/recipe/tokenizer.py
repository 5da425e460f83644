"""Train the mini model's tokenizer: byte-level BPE in CLIP's own format (vocab.json, merges.txt).

The vocabulary has the 256 byte letters, the same with the end-of-word mark `</w>`, the merges in order and the two
special tokens last, as CLIP's has (Radford et al. 2021, section 2.4): it can spell any text.

    python tokenizer.py --dataset emoji.npz --out tokenizer

A vocabulary that is there is kept: learning merges breaks ties differently each time. Also writes `tokens.npy`, the
captions of all pictures as token numbers: the GPU need not wait for it later.
"""

from __future__ import annotations

import argparse
import collections
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captions import caption
from data import load
from words import GENERAL_WORDS

if TYPE_CHECKING:
    import numpy as np
    from data import Record

MERGES = 4096


def byte_letters() -> list[str]:
    """The 256 printable letters that stand for bytes, in the order of CLIP's vocabulary file."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


def corpus(records: list[Record]) -> collections.Counter[str]:
    """Word counts to learn merges from: sampled captions, every name and keyword, and general words."""
    words: collections.Counter[str] = collections.Counter()
    for record in records:
        words.update(" ".join([caption(record, draw) for draw in range(8)]).lower().split())
        words.update(" ".join([record.label, *record.tags] * 2).lower().split())
    words.update(dict.fromkeys(GENERAL_WORDS, 40))
    return words


def learn_merges(words: collections.Counter[str]) -> list[str]:
    """The first `MERGES` merges, each "left right", from word counts."""
    from tokenizers import Tokenizer, models, trainers
    from transformers import CLIPTokenizer

    letters = byte_letters()
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    backend = CLIPTokenizer().backend_tokenizer
    tokenizer.normalizer, tokenizer.pre_tokenizer = backend.normalizer, backend.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=MERGES + 512,
        initial_alphabet=letters,
        end_of_word_suffix="</w>",
        show_progress=False,
        min_frequency=2,
    )
    texts = (f"{word} " * count for word, count in sorted(words.items()))
    tokenizer.train_from_iterator(texts, trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [" ".join(pair) for pair in merges][:MERGES]


def train(records: list[Record], folder: Path) -> None:
    """Write the tokenizer's files into `folder`, laid out as Stable Diffusion's tokenizer folder."""
    from transformers import CLIPTokenizer

    merges = learn_merges(corpus(records))
    letters = byte_letters()
    tokens = [*letters, *(f"{c}</w>" for c in letters), *("".join(m.split()) for m in merges)]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(tokens)}
    folder.mkdir(parents=True, exist_ok=True)
    pairs: Any = [tuple(merge.split()) for merge in merges]
    tokenizer = CLIPTokenizer(vocab=vocab, merges=pairs, model_max_length=77)
    tokenizer.save_pretrained(folder)
    # Older loaders read these two; the newer one reads tokenizer.json.
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False) + "\n", "utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", "utf-8")


def token_table(folder: Path, texts: list[str], draws: int) -> np.ndarray:
    """Token numbers of `draws` captions for every record: (records, draws, longest), uint16, padded."""
    import numpy as np
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder)
    table = tokenizer(texts, padding="longest", max_length=77, truncation=True, return_tensors="np").input_ids
    return np.asarray(table.reshape(len(texts) // draws, draws, -1), np.uint16)


def main() -> None:
    """Command line."""
    import numpy as np

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=48, help="captions for each picture")
    arguments = parser.parse_args()
    _, records = load(arguments.dataset)
    if not (arguments.out / "vocab.json").exists():
        train([record for record in records if record.split == "train"], arguments.out)
    texts = [caption(record, draw) for record in records for draw in range(arguments.draws)]
    table = token_table(arguments.out, texts, arguments.draws)
    np.save(arguments.out / "tokens.npy", table)
    print(f"{table.shape} tokens")


if __name__ == "__main__":
    main()
