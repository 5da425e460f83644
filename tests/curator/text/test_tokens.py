"""Token counts are exactly the tokenizer's own, however odd the text, and fast ways are only taken where that is so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from curator.text import tokens
from curator.text.tokens import CLIP_WORDS, TokenCounter, TokenizerUnavailable
from schemas.errors import NotFound
from tests.curator.text.tiny_clip import write_tiny_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> TokenCounter:
    return tokens.load(str(write_tiny_clip(tmp_path_factory.mktemp("clip"))))


def by_the_tokenizer(counter: TokenCounter, captions: list[str]) -> list[int]:
    return [len(counter.tokenizer.encode(caption).ids) for caption in captions]


PIECES = [
    "fox",
    "FOX'S",
    "don't",
    " ",
    "  ",
    "\t",
    "\n",
    "\u00a0",
    "\u3000",
    "\u200b",
    "\u2028",
    "12",
    "½",
    "é",
    "e\u0301",
]
PIECES += [
    "\u0301",
    "ΣΑΣ",
    "ß",
    "İ",
    "日本",
    "👩‍👩‍👧",
    "'s",
    "'",
    "’s",
    "<|endoftext|>",
    "<|startoftext|>",
    "-",
    "...",
    "_",
    "a_b",
]
texts = st.one_of(st.text(max_size=30), st.lists(st.sampled_from(PIECES), max_size=8).map("".join))


@settings(max_examples=150, deadline=None)
@given(captions=st.lists(texts, min_size=1, max_size=6))
@example(captions=[""])
@example(captions=["", " ", "a", "a"])
@example(captions=["\u0301 \u0301", "a \u0301"])
def test_counts_by_word_are_those_of_the_tokenizer(clip: TokenCounter, captions: list[str]) -> None:
    assert clip.by_word
    assert clip.count(pl.Series(captions, dtype=pl.String)).to_list() == by_the_tokenizer(clip, captions)


def test_captions_are_counted_piece_by_piece(clip: TokenCounter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "CAPTIONS_A_PIECE", 3)
    captions = [f"a fox {'red ' * number}" for number in range(10)]
    assert clip.count(pl.Series(captions)).to_list() == by_the_tokenizer(clip, captions)
    assert clip.count(pl.Series([], dtype=pl.String)).to_list() == []


def test_the_two_files_clip_was_published_as_give_its_tokenizer(clip: TokenCounter) -> None:
    encoded = clip.tokenizer.encode("A  photo of the fox's nest")
    assert encoded.tokens[0] == "<|startoftext|>"
    assert encoded.tokens[-1] == "<|endoftext|>"
    assert "photo</w>" in encoded.tokens
    assert "'s</w>" in encoded.tokens
    assert (clip.limit, clip.added) == (77, 2)


def test_a_pipelines_folder_and_a_tokenizer_json_are_found(clip: TokenCounter, tmp_path: Path) -> None:
    folder = write_tiny_clip(tmp_path / "model" / "tokenizer", limit=10)
    assert tokens.load(str(tmp_path / "model")).limit == 10
    clip.tokenizer.save(str(folder / "tokenizer.json"))
    for path in (folder, folder / "tokenizer.json", tmp_path / "model"):
        loaded = tokens.load(str(path))
        assert (loaded.limit, loaded.by_word) == (10, True)
        assert loaded.count(pl.Series(["a red fox"])).to_list() == by_the_tokenizer(clip, ["a red fox"])


def test_truncation_in_the_file_is_the_limit_and_does_not_cut_counts(clip: TokenCounter, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_str(clip.tokenizer.to_str())
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = tokens.load(str(tmp_path))
    assert loaded.limit == 8
    captions = ["fox", "a red fox " * 9]
    assert loaded.count(pl.Series(captions)).to_list() == by_the_tokenizer(clip, captions)


def test_no_limit_is_no_limit(tmp_path: Path) -> None:
    write_tiny_clip(tmp_path, limit=10**30)
    loaded = tokens.load(str(tmp_path))
    assert loaded.limit is None
    assert loaded.words_lost("fox " * 500) == ""


def test_the_words_lost_start_with_the_word_that_is_cut(clip: TokenCounter) -> None:
    short = TokenCounter("short", clip.tokenizer, 5, True)
    assert short.words_lost("a red fox") == ""
    assert short.words_lost("a red fox and an owl") == "and an owl"
    assert short.words_lost("a red xylophone and an owl") == "xylophone and an owl"
    assert short.words_lost("a red fox, an owl") == ", an owl"
    assert short.words_lost("café the fox naïve owl") == "naïve owl"


def description(**parts: Any) -> dict[str, Any]:
    """A tokenizer.json with these parts in place of CLIP's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = parts.get("normalizer", normalizers.NFC())
    tokenizer.pre_tokenizer = parts.get(
        "pre_tokenizer", pre_tokenizers.Split(Regex(CLIP_WORDS), behavior="removed", invert=True)
    )
    if "token" in parts:
        tokenizer.add_tokens([parts["token"]])
    found: dict[str, Any] = json.loads(tokenizer.to_str())
    return found


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"pre_tokenizer": pre_tokenizers.BertPreTokenizer(), "normalizer": normalizers.BertNormalizer()},
        {"pre_tokenizer": pre_tokenizers.Whitespace()},
        {"pre_tokenizer": pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])},
    ],
)
def test_tokenizers_that_part_at_blanks_are_known(parts: dict[str, Any]) -> None:
    assert tokens.parts_at_blanks(description(**parts))


@pytest.mark.parametrize(
    "parts",
    [
        {"pre_tokenizer": pre_tokenizers.ByteLevel()},
        {"pre_tokenizer": pre_tokenizers.Metaspace()},
        {"pre_tokenizer": pre_tokenizers.Split(Regex(r"\w+"), behavior="isolated")},
        {"pre_tokenizer": pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel()])},
        {"normalizer": normalizers.Replace("a b", "c")},
        {"normalizer": normalizers.Prepend("x")},
        {"token": "two words"},
    ],
)
def test_any_other_is_counted_whole(parts: dict[str, Any]) -> None:
    assert not tokens.parts_at_blanks(description(**parts))


def test_a_tokenizer_that_joins_over_blanks_is_counted_caption_by_caption(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, "Ġ": 1, "Ġa": 2}, merges=[("Ġ", "a")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = tokens.load(str(tmp_path))
    assert not loaded.by_word
    captions = ["a a a", "a", "a a a", ""]
    assert loaded.count(pl.Series(captions)).to_list() == [3, 1, 3, 0]


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere", "a/b/c"])
def test_a_folder_that_is_not_there(name: str) -> None:
    with pytest.raises(NotFound, match="no such folder"):
        tokens.load(name)


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no tokenizer here.*--tokenizer FOLDER"):
        tokens.load(str(tmp_path))


def test_a_vocabulary_that_is_not_clips(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"a": 0}', encoding="utf-8")
    (tmp_path / "merges.txt").write_text("", encoding="utf-8")
    with pytest.raises(NotFound, match="isn't CLIP's"):
        tokens.load(str(tmp_path))


def test_a_hub_that_cant_be_reached_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(tokens, "_probe", refuse)
    with pytest.raises(TokenizerUnavailable, match=r"can't be reached \(no route\).*--tokenizer FOLDER"):
        tokens.load("nobody/nothing-of-that-name")


def test_offline_the_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(tokens, "_probe", lambda: pytest.fail("asked"))
    with pytest.raises(TokenizerUnavailable, match="HF_HUB_OFFLINE"):
        tokens.load("nobody/nothing-of-that-name")


def test_a_tokenizer_in_the_hubs_cache_needs_no_hub(
    clip: TokenCounter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip.tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 9}', encoding="utf-8")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda name, file: str(tmp_path / file))
    monkeypatch.setattr(tokens, "_probe", lambda: pytest.fail("asked"))
    assert tokens.load("some/model").limit == 9
