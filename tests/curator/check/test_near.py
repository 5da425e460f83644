"""The near-duplicate join against all pairs compared one by one."""

from __future__ import annotations

import random
from collections import Counter

import polars as pl
import pytest

from curator.check import near
from curator.check.near import near_duplicates
from curator.text.words import words


def run(captions: list[str], threshold: float = 0.9, fused_above: float = 0.85) -> near.Near:
    texts = pl.Series(captions, dtype=pl.String)
    return near_duplicates(words(texts), texts.rank("dense").cast(pl.Int64).to_numpy(), threshold, fused_above)


def plain_sets(captions: list[str], fused_above: float) -> list[set[str]]:
    sets = [set(caption.split()) for caption in captions]
    frequency = Counter(word for each in sets for word in each)
    fused = {word for word, count in frequency.items() if count > fused_above * len(captions)}
    return [each - fused for each in sets]


def alike(one: set[str], other: set[str], threshold: float) -> bool:
    return bool(one) and bool(other) and len(one & other) >= threshold * len(one | other) - 1e-9


def some_captions(draw: random.Random) -> list[str]:
    """Random captions, and some of them with a word changed or in another order."""
    vocabulary, longest = draw.choice([5, 12, 40, 200]), draw.choice([3, 10, 20, 40])
    captions = [
        " ".join(f"w{draw.randrange(vocabulary)}" for _ in range(draw.randint(1, longest)))
        for _ in range(draw.choice([20, 80]))
    ]
    for _ in range(len(captions) // 3):
        changed = draw.choice(captions).split()
        if draw.random() < 0.5:
            changed[draw.randrange(len(changed))] = f"w{draw.randrange(vocabulary)}"
        else:
            draw.shuffle(changed)
        captions.append(" ".join(changed))
    return captions


@pytest.mark.parametrize("seed", range(24))
def test_it_finds_what_comparing_all_pairs_finds(seed: int) -> None:
    draw = random.Random(seed)
    captions, threshold = some_captions(draw), draw.choice([0.6, 0.8, 0.9, 1.0])
    fused_above = draw.choice([0.3, 0.85, 1.0])
    found = run(captions, threshold, fused_above)
    sets = plain_sets(captions, fused_above)
    for row, (caption, own) in enumerate(zip(captions, sets, strict=True)):
        like = [
            place for place, other in enumerate(sets) if captions[place] != caption and alike(own, other, threshold)
        ]
        partner = int(found.partner[row])
        assert partner in like if like else partner == -1


def test_a_crowd_is_searched_in_part_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "WINDOW", 4)
    common = [" ".join(f"{letter}{place}" for place in range(24)) for letter in "ab"]
    found = run([f"{common[number % 2]} only{number}" for number in range(60)])
    assert (found.partner >= 0).all()  # all alike: each finds one among its next
    assert found.crowded == 60
    assert all(row % 2 == partner % 2 for row, partner in enumerate(found.partner.tolist()))


def test_boilerplate_makes_no_near_duplicates() -> None:
    boilerplate = "flat drawing with a thick black outline on a plain white ground of one"
    assert (run([f"{boilerplate} thing{number}" for number in range(20)]).partner == -1).all()
    assert (run([boilerplate] * 20).partner == -1).all()


def test_the_same_words_otherwise_written_are_near_and_the_same_text_is_not() -> None:
    captions = ["a red fox", "A red fox.", "fox a red", "an owl", "an owl", "rats", *(f"x{n}" for n in range(9))]
    partner = run(captions).partner.tolist()
    assert [captions[place] if place >= 0 else None for place in partner[:6]][3:] == [None, None, None]
    assert all(partner[row] in {0, 1, 2} - {row} for row in range(3))


def test_nothing_to_compare() -> None:
    assert run([]).partner.tolist() == []
    assert run(["", "..."]).partner.tolist() == [-1, -1]
