"""Exact token counts by distinct words against `tokenizers`, caption by caption and in its own batches."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from curator.text import tokens
from tests.bench.table import Row
from tests.curator.text.tiny_clip import write_tiny_clip

CAPTIONS = 400_000
ONE_BY_ONE = 20_000
SHIPPED = Path("examples/mini/sd/tokenizer")
VOCABULARY = 20_000


def captions() -> list[str]:
    """Captions of 8 to 20 words, the words as unevenly frequent as in real text (Zipf)."""
    draw = random.Random(0)
    words = [f"{draw.choice('bcdfgklmnprst')}{draw.choice('aeiou')}{number:x}" for number in range(VOCABULARY)]
    weights = [1 / (rank + 1) for rank in range(VOCABULARY)]
    pool = draw.choices(words, weights, k=1_000_000)
    return [" ".join(draw.sample(pool, draw.randint(8, 20))) for _ in range(CAPTIONS)]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def bench() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        counter = tokens.load(str(SHIPPED if SHIPPED.is_dir() else write_tiny_clip(Path(folder))))
    texts = captions()
    few, many = texts[:ONE_BY_ONE], texts[: ONE_BY_ONE * 4]
    tokenizer = counter.tokenizer
    expected, one_by_one = timed(lambda: [len(tokenizer.encode(text).ids) for text in few])
    _, batched = timed(lambda: [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(many)])
    counts, seconds = timed(lambda: counter.count(pl.Series(texts)))
    if counts.head(len(few)).to_list() != expected:
        raise AssertionError("the counts aren't the tokenizer's")
    rate = CAPTIONS / seconds
    return [
        Row("token counts", "tokenizers, one by one", rate * one_by_one / len(few), f"{rate:,.0f} captions/s"),
        Row(
            "token counts",
            "tokenizers, in batches",
            rate * batched / len(many),
            f"{len(many) / batched:,.0f} captions/s",
        ),
    ]
