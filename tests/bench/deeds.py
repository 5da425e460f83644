"""What pages do beside showing: words of long captions compared, a few captions accepted, a split previewed."""

from __future__ import annotations

import difflib
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curator.caption import caption
from curator.caption_sets.accept import accept
from curator.caption_sets.diff import WORD, word_operations
from curator.caption_sets.revise import LONGEST
from curator.caption_sets.versions import commit
from curator.catalog import Catalog
from curator.snapshot import preview
from tests.bench.table import Row
from tests.curator.fill import add_images

IMAGES = 100_000
CHOSEN = 100
WORDS = 200  # different ones
ROUNDS = 3


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def long_captions() -> tuple[str, str]:
    """Two of the longest that there may be, with little in common but their words."""
    chance = random.Random(1)
    first, second = (" ".join(f"w{chance.randrange(WORDS)}" for _ in range(LONGEST)) for _ in range(2))
    return first[:LONGEST], second[:LONGEST]


def compared() -> Row:
    before, after = long_captions()
    old, new = WORD.findall(before), WORD.findall(after)
    slow = timed(lambda: difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes())
    fast = min(timed(lambda: word_operations(before, after)) for _ in range(ROUNDS))
    return Row(f"words of {LONGEST:,} characters", "difflib", slow / fast, f"{fast * 1e3:.0f} ms; difflib {slow:.1f} s")


def bench() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder, Catalog.create(Path(folder) / "lab.duckdb") as catalog:
        add_images(catalog, "big", [{"name": f"red fox {number}"} for number in range(IMAGES)])
        caption(catalog, "big", "template", "t", {"template": "a ${name}"})
        commit(catalog, "big/t", "first")
        images = catalog.images_of_dataset("big")["image_sha256"].head(CHOSEN).to_list()
        few = min(timed(lambda: accept(catalog, "big/t", images=images, dry_run=True)) for _ in range(ROUNDS))
        every = timed(lambda: accept(catalog, "big/t", dry_run=True))
        split = timed(lambda: preview(catalog, ["big/t@1"]))
    counted = f"{few * 1e3:.0f} ms, all {every:.2f} s"
    drawn = f"{split:.1f} s, {split / IMAGES * 1e6:.0f} us an image"
    return [
        compared(),
        Row(f"accept {CHOSEN} of {IMAGES:,}, counted", "all of them", every / few, counted),
        Row(f"preview a split of {IMAGES:,}", "accept all, counted", every / split, drawn),
    ]
