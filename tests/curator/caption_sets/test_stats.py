"""Statistics of caption sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from curator.caption import caption
from curator.caption_sets.stats import stats
from curator.caption_sets.versions import commit
from curator.catalog import Catalog
from curator.text import tokens
from schemas.errors import NotFound
from tests.curator.fill import add_images, sha
from tests.curator.lab import new_catalog
from tests.curator.text.tiny_clip import write_tiny_clip

CAPTIONS = ["a red fox, quick", "A red Fox, quick", "an owl's nest", "an owl's nest", "an owl's nest", "an owl, quick"]


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with new_catalog(tmp_path / "lab.duckdb", fill) as opened:
        yield opened


def fill(catalog: Catalog) -> None:
    add_images(catalog, "zoo", [{"c": text} for text in CAPTIONS])
    caption(catalog, "zoo", "column", "c", {"column": "c"})


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_clip(tmp_path_factory.mktemp("clip"), limit=6))


def test_lengths_vocabulary_duplicates_and_frequent_words(catalog: Catalog, clip: str) -> None:
    result = stats(catalog, "c", clip)
    assert (result.reference, result.committed, result.captions, result.empty) == ("zoo/c", False, 6, 0)
    assert result.words is not None
    assert result.words.model_dump() == {"min": 3, "median": 3.0, "mean": 20 / 6, "max": 4}
    assert result.characters is not None
    assert (result.characters.min, result.characters.max) == (13, 16)
    assert result.vocabulary == 8  # a red fox quick an owl's nest owl
    assert (result.duplicates, result.duplicate_captions) == (3, 1)
    assert [(found.text, found.images) for found in result.duplicate_examples] == [("an owl's nest", 3)]
    assert [(word.text, word.count) for word in result.frequent_words[:3]] == [("an", 4), ("nest", 3), ("owl's", 3)]
    assert result.frequent_words[0].share == pytest.approx(4 / 6)
    assert [(term.text, term.count) for term in result.frequent_terms] == [("quick", 3), ("a red fox", 2)]
    assert result.notices == []


def test_a_set_is_uncommitted_only_while_it_differs_from_its_latest_version(catalog: Catalog, clip: str) -> None:
    commit(catalog, "c", "first")
    assert stats(catalog, "c", clip).committed
    caption(catalog, "zoo", "fixed", "c", {"text": "else"}, only="all")
    assert not stats(catalog, "c", clip).committed


def test_a_word_twice_in_a_caption_counts_twice_and_is_in_one_caption(catalog: Catalog, clip: str) -> None:
    caption(catalog, "zoo", "fixed", "f", {"text": "red red"})
    (word,) = stats(catalog, "f", clip).frequent_words
    assert (word.count, word.share) == (12, 1.0)


def test_words_lost_past_the_limit(catalog: Catalog, clip: str) -> None:
    counted = stats(catalog, "c", clip).tokens
    counter = tokens.load(clip)
    lengths = [len(counter.tokenizer.encode(text).ids) for text in CAPTIONS]
    assert counted is not None
    assert (counted.limit, counted.total) == (6, sum(lengths))
    assert (counted.length.min, counted.length.max) == (min(lengths), max(lengths))
    assert counted.truncated == sum(length > 6 for length in lengths) > 0
    example = next(found for found in counted.truncated_examples if found.text == "a red fox, quick")
    assert (example.file_name, example.image_sha256, example.tokens) == ("0000.png", sha(0), lengths[0])
    assert example.words_lost == "quick"


def test_a_version_is_counted_as_it_was(catalog: Catalog, clip: str) -> None:
    commit(catalog, "c", "first")
    caption(catalog, "zoo", "empty", "c")
    assert (stats(catalog, "c@1", clip).committed, stats(catalog, "c@1", clip).empty) == (True, 0)
    now = stats(catalog, "c", clip)
    assert (now.captions, now.empty, now.vocabulary, now.duplicates) == (6, 6, 0, 0)
    assert now.words is not None
    assert now.words.max == 0


def test_without_the_hub_the_rest_still_comes(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(tokens, "_probe", refuse)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda name, file: None)
    result = stats(catalog, "c")
    assert result.tokens is None
    assert result.captions == 6
    assert "--tokenizer FOLDER" in result.notices[0]


def test_a_folder_without_a_tokenizer_is_an_error(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no tokenizer here"):
        stats(catalog, "c", str(tmp_path))


def test_a_set_whose_captions_were_all_taken_out(catalog: Catalog, clip: str) -> None:
    add_images(catalog, "zoo", [{} for _ in CAPTIONS])
    add_images(catalog, "zoo", [{"c": ""}], first=20)
    caption(catalog, "zoo", "column", "c", {"column": "c"})
    result = stats(catalog, "c", clip)
    assert (result.captions, result.words, result.tokens, result.frequent_words) == (0, None, None, [])
