"""Booru tags: order, drop, alias, limit, shuffle, underscores."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from curator.captioners import tags
from curator.captioners.tags import Options
from tests.curator.fill import sha


def images(count: int = 1, **columns: list[Any]) -> pl.DataFrame:
    """`count` images with these columns."""
    return pl.DataFrame(
        {"image_sha256": [sha(number) for number in range(count)], "image_path": ["x"] * count, **columns}
    )


def text_of(batch: pl.DataFrame, **options: Any) -> list[str | None]:
    """The captions under these options."""
    made: list[str | None] = tags.caption(batch, Options.model_validate(options))["text"].to_list()
    return made


BOORU = images(
    tag_string_general=["1girl blue_hair o_o solo"],
    tag_string_artist=["someone_(style)"],
    tag_string_character=["hatsune_miku"],
    tag_string_copyright=["vocaloid"],
    tag_string_meta=["highres"],
)


def test_categories_come_in_order_and_those_not_named_are_left_out() -> None:
    assert text_of(BOORU) == ["hatsune miku, vocaloid, someone (style), 1girl, blue hair, o_o, solo"]
    assert text_of(BOORU, order="general,artist") == ["1girl, blue hair, o_o, solo, someone (style)"]
    assert text_of(BOORU, order="meta") == ["highres"]


@pytest.mark.parametrize(
    ("options", "caption"),
    [
        ({"drop": "SOLO,blue hair"}, "1girl, o_o"),
        ({"alias": "1girl=one girl,solo=one_girl"}, "one girl, blue hair, o_o"),
        ({"alias": "1girl=solo", "drop": "solo"}, "blue hair, o_o"),
        ({"alias": "1girl=solo", "drop": "1girl"}, "blue hair, o_o, solo"),
        ({"limit": 2}, "1girl, blue hair"),
        ({"limit": 2, "drop": "1girl"}, "blue hair, o_o"),
        ({"keep_underscores": True}, "1girl, blue_hair, o_o, solo"),
        ({"separator": " | "}, "1girl | blue hair | o_o | solo"),
    ],
)
def test_options(options: dict[str, Any], caption: str) -> None:
    assert text_of(BOORU, order="general", **options) == [caption]


def test_one_column_of_tags_takes_its_categories_from_an_option() -> None:
    batch = images(2, tags=["solo, blue hair, Hatsune Miku, solo", "a_tag"])
    assert text_of(batch, column="tags", categories="hatsune_miku=character,a_tag=meta") == [
        "Hatsune Miku, solo, blue hair",
        None,
    ]


def test_lists_text_with_commas_and_text_with_blanks_are_read() -> None:
    assert text_of(images(1, t=[["blue hair", "solo"]]), column="t") == ["blue hair, solo"]
    assert text_of(images(3, t=["blue hair, solo", "blue_hair  solo", " "]), column="t") == [
        "blue hair, solo",
        "blue hair, solo",
        None,
    ]


def test_the_shuffle_is_keyed_by_seed_and_image_alone() -> None:
    words = [f"tag{number}" for number in range(12)]
    batch = images(6, t=[" ".join(words)] * 6)
    shuffled = text_of(batch, column="t", shuffle_seed=1, keep=2)
    assert shuffled == text_of(batch, column="t", shuffle_seed=1, keep=2)
    assert text_of(batch.reverse(), column="t", shuffle_seed=1, keep=2) == shuffled[::-1]
    assert text_of(batch[3], column="t", shuffle_seed=1, keep=2) == [shuffled[3]]
    assert len(set(shuffled)) == 6
    assert text_of(batch, column="t", shuffle_seed=2, keep=2) != shuffled
    for caption in shuffled:
        assert caption is not None
        assert caption.startswith("tag0, tag1, ")
        assert sorted(caption.split(", ")) == sorted(words)


def test_the_shuffle_of_an_image_never_changes_between_releases() -> None:
    batch = images(1, t=["a1 b1 c1 d1 e1"])
    assert text_of(batch, column="t", shuffle_seed=7) == ["c1, e1, d1, b1, a1"]


def test_it_reads_the_category_columns_there_are() -> None:
    assert tags.fields(Options(), ["tag_string_general", "name"]) == ["tag_string_general"]
    assert "tag_string_character" in tags.fields(Options(), ["name"])
