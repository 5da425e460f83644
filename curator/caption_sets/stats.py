"""Statistics of a caption set: lengths, tokens, lost words, vocabulary, duplicates, frequent words."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
from pydantic import BaseModel, Field

from curator.caption_sets.acceptance import Acceptance, acceptance
from curator.caption_sets.reference import resolve
from curator.caption_sets.versions import is_committed
from curator.catalog import Catalog
from curator.text import tokens
from curator.text.tokens import TokenCounter, TokenizerUnavailable
from curator.text.words import WORD
from schemas.progress import Progress, silent

EXAMPLES = 5
FREQUENT = 20
TEXT_PIECE = 100_000


class Spread(BaseModel):
    min: int
    median: float
    mean: float
    max: int


class CutCaption(BaseModel):
    image_sha256: str
    file_name: str | None
    tokens: int
    text: str
    words_lost: str


class TokenStats(BaseModel):
    tokenizer: str
    limit: int | None
    length: Spread
    total: int
    truncated: int = Field(description="Captions that lose words past the limit.")
    truncated_examples: list[CutCaption]


class Repeated(BaseModel):
    text: str
    images: int


class Frequent(BaseModel):
    text: str
    count: int
    share: float = Field(description="0 to 1.")


class StatsResult(BaseModel):
    reference: str
    committed: bool = Field(description="A version, or a set equal to its latest version.")
    captions: int
    empty: int
    words: Spread | None
    characters: Spread | None
    tokens: TokenStats | None = Field(description="Null if the tokenizer was unavailable; `notices` says why.")
    vocabulary: int = Field(description="Distinct words, ignoring letter case.")
    duplicates: int = Field(description="Images whose caption another image has too.")
    duplicate_captions: int = Field(description="Distinct captions shared by several images.")
    duplicate_examples: list[Repeated]
    frequent_words: list[Frequent]
    frequent_terms: list[Frequent] = Field(description="Terms between commas that occur more than once.")
    acceptance: list[Acceptance] = Field(description="People's answers in Label Studio, by strategy.")
    notices: list[str]


def stats(
    catalog: Catalog, reference: str, tokenizer: str = tokens.DEFAULT, progress: Progress = silent
) -> StatsResult:
    """Compute statistics of a version or a current set. `tokenizer`: a hub name or a local folder.

    If the hub can't be reached, the token counts are missing, with a notice. Raises BadOption, NotFound (also for a
    folder without a tokenizer).
    """
    named = resolve(catalog, reference)
    counter, notices = _tokenizer(tokenizer)
    captions = catalog.caption_texts(named.dataset, named.set_name, named.last_caption_id)
    text = captions["text"]
    words, terms = _counts(text, lambda piece: piece.str.to_lowercase().str.extract_all(WORD)), _terms(text)
    repeated = _repeated(text)
    progress("counting words and tokens", 1, 2)
    token_stats = _token_stats(catalog, named.dataset, captions, counter) if counter and captions.height else None
    progress("counting words and tokens", 2, 2)
    return StatsResult(
        reference=str(named),
        committed=named.number is not None or is_committed(catalog, named),
        captions=captions.height,
        empty=int((text == "").sum()),
        words=_spread(text.str.count_matches(r"\S+")),
        characters=_spread(text.str.len_chars()),
        tokens=token_stats,
        vocabulary=words.height,
        duplicates=int(repeated["images"].sum()),
        duplicate_captions=repeated.height,
        duplicate_examples=[Repeated(**row) for row in repeated.head(EXAMPLES).iter_rows(named=True)],
        frequent_words=_frequent(words, captions.height),
        frequent_terms=_frequent(terms.filter(terms["count"] > 1), captions.height),
        acceptance=acceptance(catalog, named),
        notices=notices,
    )


def _tokenizer(name: str) -> tuple[TokenCounter | None, list[str]]:
    try:
        return tokens.load(name), []
    except TokenizerUnavailable as error:
        return None, [f"No token counts. {error}"]


def _spread(lengths: pl.Series) -> Spread | None:
    if not len(lengths):
        return None
    low, high, middle, mean = lengths.min(), lengths.max(), lengths.median(), lengths.mean()
    return Spread.model_validate({"min": low, "median": middle, "mean": mean, "max": high})


def _token_stats(catalog: Catalog, dataset: str, captions: pl.DataFrame, counter: TokenCounter) -> TokenStats:
    counts = counter.count(captions["text"])
    spread = _spread(counts)
    assert spread is not None
    cut = captions.with_columns(counts.alias("tokens")).filter(pl.col("tokens") > (counter.limit or spread.max))
    longest = cut.sort("tokens", descending=True, maintain_order=True).head(EXAMPLES)
    names = dict(catalog.names_of_images(dataset, longest.select("image_sha256")).iter_rows())
    return TokenStats(
        tokenizer=counter.name,
        limit=counter.limit,
        length=spread,
        total=int(counts.sum()),
        truncated=cut.height,
        truncated_examples=[
            CutCaption(
                image_sha256=row["image_sha256"],
                file_name=names.get(row["image_sha256"]),
                tokens=row["tokens"],
                text=row["text"],
                words_lost=counter.words_lost(row["text"]),
            )
            for row in longest.iter_rows(named=True)
        ],
    )


def _terms(text: pl.Series) -> pl.DataFrame:
    """Count the terms between commas, in lower case, of captions that have a comma."""

    def split(piece: pl.Series) -> pl.Series:
        lists = piece.str.to_lowercase().str.split(",").list.eval(pl.element().str.strip_chars())
        return lists.list.eval(pl.element().filter(pl.element() != ""))

    return _counts(text.filter(text.str.contains(",", literal=True)), split)


def _counts(text: pl.Series, split: Callable[[pl.Series], pl.Series]) -> pl.DataFrame:
    """Count the items of `split`, piece by piece to save memory. Columns: text, count (uses), captions (with it)."""
    parts = [pl.DataFrame(schema={"text": pl.String, "count": pl.UInt32, "captions": pl.UInt32})]
    for start in range(0, len(text), TEXT_PIECE):
        items = pl.DataFrame({"text": split(text.slice(start, TEXT_PIECE))}).with_row_index("row").explode("text")
        grouped = items.drop_nulls("text").group_by("row", "text").len("count")
        parts.append(grouped.group_by("text").agg(pl.col("count").sum(), pl.len().alias("captions")))
    return pl.concat(parts).group_by("text").agg(pl.col("count", "captions").sum())


def _frequent(counts: pl.DataFrame, captions: int) -> list[Frequent]:
    top = counts.sort(["count", "text"], descending=[True, False]).head(FREQUENT)
    return [
        Frequent(text=text, count=count, share=in_captions / captions)
        for text, count, in_captions in top.select("text", "count", "captions").iter_rows()
    ]


def _repeated(text: pl.Series) -> pl.DataFrame:
    counts = text.filter(text != "").alias("text").value_counts(name="images").filter(pl.col("images") > 1)
    return counts.sort(["images", "text"], descending=[True, False])
