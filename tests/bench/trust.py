"""Checking and comparing captions in bulk against the obvious Python loops, in processor time.

Processor time of all threads together: it favours the loops, which have one, and holds on a machine shared with others.
"""

from __future__ import annotations

import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from rapidfuzz.distance import Levenshtein

from curator.caption import caption
from curator.catalog import Catalog
from curator.check.fused import fused_phrases
from curator.check.near import near_duplicates
from curator.check.run import Settings, check
from curator.compare import compare
from curator.text import tokens
from curator.text.similarity import edit_distance, token_f1
from curator.text.words import words
from tests.bench.table import Row
from tests.curator.fill import add_images

CAPTIONS = 100_000
ALL_PAIRS = 2_000  # what comparing each with each can be asked for
LOOPED = 10_000
TOKENIZER = "examples/mini/sd"
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def captions() -> list[str]:
    """Captions of 8 to 20 words, unevenly frequent (Zipf); one in ten is an earlier one in another order."""
    draw = random.Random(0)
    vocabulary = [f"{draw.choice('bcdfgklmnprst')}{draw.choice('aeiou')}{number:x}" for number in range(20_000)]
    pool = draw.choices(vocabulary, [1 / (rank + 1) for rank in range(len(vocabulary))], k=1_000_000)
    made = [" ".join(draw.sample(pool, draw.randint(8, 20))) for _ in range(CAPTIONS)]
    for place in range(10, CAPTIONS, 10):
        again = made[place - draw.randint(1, 9)].split()
        draw.shuffle(again)
        made[place] = " ".join(again)
    return made


def all_pairs(texts: list[str]) -> list[bool]:
    sets = [frozenset(WORD.findall(text.lower())) for text in texts]
    return [
        any(
            place != other and texts[place] != texts[other] and len(one & two) >= 0.9 * len(one | two)
            for other, two in enumerate(sets)
        )
        for place, one in enumerate(sets)
    ]


def looped_phrases(texts: list[str]) -> set[str]:
    frequency: Counter[str] = Counter()
    for text in texts:
        own = WORD.findall(text.lower())
        frequency.update({" ".join(own[at : at + size]) for size in (1, 2, 3) for at in range(len(own) - size + 1)})
    return {phrase for phrase, count in frequency.items() if count > 0.85 * len(texts)}


def looped_f1(left: list[str], right: list[str]) -> list[float]:
    made = []
    for first, second in zip(left, right, strict=True):
        one, other = Counter(WORD.findall(first.lower())), Counter(WORD.findall(second.lower()))
        made.append(2 * (one & other).total() / max(one.total() + other.total(), 1))
    return made


def looped_edits(left: list[str], right: list[str]) -> list[int]:
    """Levenshtein, row by row."""
    made = []
    for first, second in zip(left, right, strict=True):
        row = list(range(len(second) + 1))
        for i, a in enumerate(first, 1):
            before, row[0] = row[0], i
            for j, b in enumerate(second, 1):
                before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
        made.append(row[-1])
    return made


def near(texts: list[str]) -> list[bool]:
    column = pl.Series(texts)
    found = near_duplicates(words(column), column.rank("dense").cast(pl.Int64).to_numpy(), 0.9, 0.85)
    return [bool(each) for each in found.partner >= 0]


def bench() -> list[Row]:
    texts = captions()
    few = texts[:ALL_PAIRS]
    expected, pairs_s = timed(lambda: all_pairs(few))
    if near(few) != expected:
        raise AssertionError("the near-duplicates aren't those of all pairs")
    _, near_s = timed(lambda: near(texts))
    all_pairs_s = pairs_s * (CAPTIONS / ALL_PAIRS) ** 2
    fused = [f"openmoji drawing of {text}" for text in texts]
    expected_phrases, phrases_s = timed(lambda: looped_phrases(fused[:LOOPED]))
    found, fused_s = timed(lambda: fused_phrases(words(pl.Series(fused)), 0.85))
    if not {phrase.text for phrase in found} <= expected_phrases:
        raise AssertionError("not the phrases that the loop finds")
    left, right = texts[: CAPTIONS // 2], texts[CAPTIONS // 2 :]
    f1, f1_s = timed(lambda: token_f1(left, right))
    loop, loop_s = timed(lambda: looped_f1(left[:LOOPED], right[:LOOPED]))
    if max(abs(one - other) for one, other in zip(f1.head(LOOPED).to_list(), loop, strict=True)) > 1e-12:
        raise AssertionError("not the F1 of the definition")
    _, edits_s = timed(lambda: edit_distance(left, right))
    _, looped_edits_s = timed(lambda: looped_edits(left[:200], right[:200]))
    checking, comparing = stages(texts)
    _, looped_check_s = timed(lambda: looped_check(texts[:LOOPED]))
    _, looped_compare_s = timed(lambda: looped_compare(left[:LOOPED], right[:LOOPED]))
    scale = CAPTIONS / LOOPED
    return [
        Row(
            f"near-duplicates of {CAPTIONS:,}",
            f"all pairs, from {ALL_PAIRS:,}",
            all_pairs_s / near_s,
            f"{near_s:.2f} s; all pairs {all_pairs_s:,.0f} s",
        ),
        Row("fused phrases", "count every 1 to 3 words", phrases_s * scale / fused_s, f"{CAPTIONS / fused_s:,.0f}/s"),
        Row(
            "token F1", "Counter, pair by pair", loop_s * len(left) / LOOPED / f1_s, f"{len(left) / f1_s:,.0f} pairs/s"
        ),
        Row(
            "edit distance",
            "in Python, pair by pair",
            looped_edits_s * len(left) / 200 / edits_s,
            f"{len(left) / edits_s:,.0f} pairs/s",
        ),
        Row(
            f"curator check, {CAPTIONS:,} captions",
            "a loop, without near-duplicates",
            looped_check_s * scale / checking,
            f"{checking:.1f} s, {CAPTIONS / checking:,.0f} captions/s, with near-duplicates",
        ),
        Row(
            f"curator compare, 2 sets of {CAPTIONS:,}",
            "a loop, without metadata",
            looped_compare_s * scale / comparing,
            f"{comparing:.1f} s",
        ),
    ]


def looped_check(texts: list[str]) -> None:
    """Lost words, empty, one word, invisible characters, duplicates, fused phrases: each caption by itself."""
    tokenizer = tokens.load(TOKENIZER).tokenizer
    invisible = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b\ufeff]")
    for text in texts:
        len(tokenizer.encode(text).ids) > 77, not text.strip(), len(text.split()) == 1, "\n" in text
        "\ufffd" in text, invisible.search(text)
    Counter(texts)
    looped_phrases(texts)


def looped_compare(left: list[str], right: list[str]) -> None:
    """F1, edits (each pair by rapidfuzz's C code), lengths, tokens, words and vocabularies."""
    tokenizer = tokens.load(TOKENIZER).tokenizer
    looped_f1(left, right)
    for one, other in zip(left, right, strict=True):
        Levenshtein.distance(one, other)
    for texts in (left, right):
        words_of: Counter[str] = Counter()
        for text in texts:
            words_of.update(WORD.findall(text.lower()))
            len(tokenizer.encode(text).ids)
        Counter(texts)


def stages(texts: list[str]) -> tuple[float, float]:
    """Seconds of the two commands on a catalog of these captions."""
    with tempfile.TemporaryDirectory() as folder, Catalog.create(Path(folder) / "lab.duckdb") as catalog:
        rows = zip(texts, [*texts[1:], texts[0]], strict=True)
        add_images(catalog, "big", [{"one": one, "other": other} for one, other in rows])
        for name in ("one", "other"):
            caption(catalog, "big", "column", name, {"column": name})
        _, checking = timed(lambda: check(catalog, "one", Settings(TOKENIZER)))
        _, comparing = timed(lambda: compare(catalog, "big", ["one", "other"], tokenizer=TOKENIZER))
    return checking, comparing
