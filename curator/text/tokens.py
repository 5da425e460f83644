"""Exact token counts for a text encoder's tokenizer.

CLIP's tokenizer splits at blanks first, so a caption has the sum of its words' tokens. Each distinct word is tokenized
once: 200,000 captions a second instead of some thousands. Other tokenizers (SentencePiece) count each distinct caption
whole.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import polars as pl
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from schemas.errors import AmatlError, NotFound

DEFAULT = "openai/clip-vit-large-patch14"
FILES = ("tokenizer.json", "tokenizer_config.json")
PROBE_SECONDS = 5.0
CAPTIONS_A_PIECE = 200_000
NO_LIMIT = 1_000_000  # transformers writes 10**30 for "none"
GIVE_A_FOLDER = (
    "Give a local folder instead: --tokenizer FOLDER, a model's `tokenizer` folder or the model's own "
    "(examples/mini/sd is one)."
)
# Splits at blanks: CLIP's as published, and as transformers writes it.
CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
CLIP_SPLITS = (CLIP_WORDS, r"<\|startoftext\|>|<\|endoftext\|>|" + CLIP_WORDS)
PARTS_AT_BLANKS = ("BertPreTokenizer", "Whitespace", "WhitespaceSplit")
WITHIN_A_PIECE = ("ByteLevel", "Punctuation", "Digits")
NORMALIZERS_OF_WORDS = ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "BertNormalizer")


class TokenizerUnavailable(AmatlError):
    """The tokenizer can't be downloaded: the hub can't be reached."""


@dataclass(frozen=True)
class TokenCounter:
    """A tokenizer. `limit`: tokens including begin and end, None if unknown. `by_word`: words may be counted apart."""

    name: str
    tokenizer: Tokenizer
    limit: int | None
    by_word: bool

    @property
    def added(self) -> int:
        return int(self.tokenizer.num_special_tokens_to_add(False))

    def count(self, captions: pl.Series) -> pl.Series:
        """Return the tokens of each caption, int64, with begin and end and without truncation."""
        pieces = [captions.slice(start, CAPTIONS_A_PIECE) for start in range(0, len(captions), CAPTIONS_A_PIECE)]
        word_lengths: dict[str, int] = {}
        counts = [self._by_word(piece, word_lengths) if self.by_word else self._whole(piece) for piece in pieces]
        return pl.concat(counts) if counts else pl.Series(dtype=pl.Int64)

    def words_lost(self, caption: str) -> str:
        """Return the text past the limit, from the start of the first word cut; empty if the caption fits."""
        encoding = self.tokenizer.encode(caption, add_special_tokens=False)
        if self.limit is None or len(encoding.ids) <= self.limit - self.added:
            return ""
        first = max(self.limit - self.added, 0)
        while (
            first and encoding.word_ids[first] is not None and encoding.word_ids[first] == encoding.word_ids[first - 1]
        ):
            first -= 1
        return caption[encoding.offsets[first][0] :]

    def _by_word(self, captions: pl.Series, word_lengths: dict[str, int]) -> pl.Series:
        """Sum the tokens of words, split at ASCII blanks only; other blanks stay inside a "word" and do no harm."""
        words = captions.str.split(" ")
        flat = words.explode()
        distinct = flat.unique().drop_nulls()
        new = [word for word in distinct.to_list() if word not in word_lengths]
        word_lengths.update(zip(new, self._lengths(new), strict=True))
        lengths = flat.replace_strict(distinct, [word_lengths[word] for word in distinct], return_dtype=pl.Int64)
        ends = words.list.len().cum_sum().to_numpy()
        sums = np.concatenate([[0], lengths.to_numpy().cumsum()])[ends]
        return pl.Series(np.diff(sums, prepend=0), dtype=pl.Int64) + self.added

    def _whole(self, captions: pl.Series) -> pl.Series:
        distinct = captions.unique()
        lengths = self._lengths(distinct.to_list())
        return captions.replace_strict(distinct, lengths, return_dtype=pl.Int64) + self.added

    def _lengths(self, texts: list[str]) -> list[int]:
        return [len(encoding.ids) for encoding in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def load(name: str) -> TokenCounter:
    """Load a tokenizer from a folder (its own, or a pipeline's with a `tokenizer` folder) or by hub name.

    Raises NotFound for a folder without a tokenizer, TokenizerUnavailable if the hub can't be reached.
    """
    path = Path(name)
    if path.exists():
        return _from_folder(name, path)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise NotFound(f"{name}: no such folder. {GIVE_A_FOLDER}")
    return _from_hub(name)


def parts_at_blanks(description: dict[str, Any]) -> bool:
    """Return whether a tokenizer.json provably gives a text the sum of its words' tokens."""
    model = description["model"]
    return (
        model.get("type") in ("BPE", "WordPiece", "WordLevel")
        and not model.get("dropout")
        and all(_of_words(part) for part in _flat(description.get("normalizer"), "normalizers"))
        and _splits(list(_flat(description.get("pre_tokenizer"), "pretokenizers")))
        and not any(" " in token["content"] for token in description.get("added_tokens", []))
    )


def _of_words(normalizer: dict[str, Any]) -> bool:
    blanks = normalizer["type"] == "Replace" and normalizer["pattern"] == {"Regex": r"\s+"}
    return normalizer["type"] in NORMALIZERS_OF_WORDS or (blanks and normalizer["content"] == " ")


def _splits(steps: list[dict[str, Any]]) -> bool:
    if not steps:
        return False
    first, *later = steps
    clip = (
        first["type"] == "Split"
        and first["pattern"].get("Regex") in CLIP_SPLITS
        and first["behavior"] == "Removed"
        and first["invert"]
    )
    within = all(step["type"] in WITHIN_A_PIECE and not step.get("add_prefix_space") for step in later)
    return (clip or first["type"] in PARTS_AT_BLANKS) and within


def _flat(step: dict[str, Any] | None, inner: str) -> list[dict[str, Any]]:
    if step is None:
        return []
    return [part for child in step[inner] for part in _flat(child, inner)] if step["type"] == "Sequence" else [step]


def _from_folder(name: str, path: Path) -> TokenCounter:
    folders = [path.parent] if path.name == "tokenizer.json" else [path, path / "tokenizer"]
    for folder in folders:
        if (folder / "tokenizer.json").is_file():
            tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text(encoding="utf-8"))
            return _counter(name, tokenizer, folder / "tokenizer_config.json")
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            return _counter(name, _clip(folder), folder / "tokenizer_config.json")
    raise NotFound(f"{name}: no tokenizer here (tokenizer.json, or CLIP's vocab.json and merges.txt). {GIVE_A_FOLDER}")


def _clip(folder: Path) -> Tokenizer:
    """Build CLIP's tokenizer from the two files it was published as (Radford et al. 2021)."""
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    begin, end = "<|startoftext|>", "<|endoftext|>"
    if begin not in vocabulary or end not in vocabulary:
        raise NotFound(f"{folder}: vocab.json isn't CLIP's. Give a folder with a tokenizer.json.")
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    merges = [
        (left, right) for left, _, right in (line.partition(" ") for line in lines) if right and left != "#version:"
    ]
    model = models.BPE(vocabulary, merges, end_of_word_suffix="</w>", unk_token=end, continuing_subword_prefix="")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.add_special_tokens([begin, end])
    tokenizer.post_processor = processors.RobertaProcessing(
        (end, vocabulary[end]), (begin, vocabulary[begin]), trim_offsets=False, add_prefix_space=False
    )
    return tokenizer


def _counter(name: str, tokenizer: Tokenizer, configuration: Path | None) -> TokenCounter:
    description = json.loads(tokenizer.to_str())
    limit = (description.get("truncation") or {}).get("max_length")
    if configuration and configuration.is_file():
        limit = json.loads(configuration.read_text(encoding="utf-8")).get("model_max_length", limit)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return TokenCounter(
        name=name,
        tokenizer=tokenizer,
        limit=int(limit) if limit and limit < NO_LIMIT else None,
        by_word=parts_at_blanks(description),
    )


def _from_hub(name: str) -> TokenCounter:
    """Load from the local hub cache, else from the hub. Probe the hub first, briefly, since a person waits."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HfHubHTTPError

    files = [try_to_load_from_cache(name, file) for file in FILES]
    if not isinstance(files[0], str):
        try:
            if HF_HUB_OFFLINE:
                raise TokenizerUnavailable(
                    f"{name}: not in the local cache, and HF_HUB_OFFLINE is set. {GIVE_A_FOLDER}"
                )
            _probe()
            files = [hf_hub_download(name, file) for file in FILES]
        except HfHubHTTPError as error:
            raise TokenizerUnavailable(f"{name}: the hub doesn't give it ({_line(error)}). {GIVE_A_FOLDER}") from None
        except OSError as error:
            raise TokenizerUnavailable(f"{name}: the hub can't be reached ({_line(error)}). {GIVE_A_FOLDER}") from None
    tokenizer = Tokenizer.from_str(Path(str(files[0])).read_text(encoding="utf-8"))
    return _counter(name, tokenizer, Path(files[1]) if isinstance(files[1], str) else None)


def _probe() -> None:
    """Raise OSError within seconds if the hub can't be reached; its own client would try for half a minute."""
    from huggingface_hub.constants import ENDPOINT

    try:
        urlopen(Request(ENDPOINT, method="HEAD"), timeout=PROBE_SECONDS).close()
    except HTTPError as answer:
        answer.close()  # any answer proves that it can be reached


def _line(error: Exception) -> str:
    text = str(getattr(error, "reason", error)).strip()
    return text.splitlines()[0] if text else type(error).__name__
