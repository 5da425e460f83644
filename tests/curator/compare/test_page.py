"""The page: whole in itself, safe whatever captions say, honest about pictures that are gone."""

from __future__ import annotations

import base64
import io
import re

import pytest
from PIL import Image

from curator.caption_sets.acceptance import Acceptance
from curator.compare import compare
from curator.compare.page import marked, render, spread
from curator.compare.result import CompareResult, Measure
from tests.curator.lab import Lab


@pytest.fixture
def result(lab: Lab, tokenizer: str) -> CompareResult:
    return compare(lab.catalog, "zoo", ["t@1", "h@1"], tokenizer=tokenizer)


def test_it_needs_no_other_file_and_has_the_pictures(result: CompareResult) -> None:
    html = render(result)
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", html)
    assert not re.findall("https?://", html)
    assert "default-src 'none'" in html
    pictures = re.findall(r'src="data:image/webp;base64,([^"]+)"', html)
    assert len(pictures) == 4
    assert Image.open(io.BytesIO(base64.b64decode(pictures[0]))).size == (40, 30)


def test_captions_are_text_and_shared_words_are_marked(lab: Lab, tokenizer: str) -> None:
    images = [image for (image,) in lab.run("SELECT image_sha256 FROM dataset_images")]
    lab.caption("evil", dict.fromkeys(images, "<script>alert(1)</script> red & </style>"))
    lab.write()
    html = render(compare(lab.catalog, "zoo", ["t@1", "evil"], tokenizer=tokenizer))
    assert "<script" not in html
    assert "&lt;<u>" not in html
    assert "&lt;script&gt;" in html
    assert "<u>red</u> &amp;" in html


def test_words_that_another_says_too() -> None:
    pieces = marked({"a": "A red fox's tail", "b": "the Red tail", "c": ""})
    assert pieces == {
        "a": [("A", False), (" ", False), ("red", True), (" ", False), ("fox's", False), (" ", False), ("tail", True)],
        "b": [("the", False), (" ", False), ("Red", True), (" ", False), ("tail", True)],
        "c": [],
    }


def test_a_picture_that_is_gone_or_broken_is_said(lab: Lab, tokenizer: str) -> None:
    (lab.folder / "images" / "owl.png").unlink()
    (lab.folder / "images" / "dog.png").write_bytes(b"no picture")
    html = render(compare(lab.catalog, "zoo", ["t@1", "h@1"], tokenizer=tokenizer))
    assert html.count("<img ") == 2
    assert html.count("not on this disk</span>") == 1
    assert html.count("can’t be read</span>") == 1
    assert "1 of the 4 images shown aren&#39;t on this disk any more" in html


def test_people_have_their_part_only_where_there_is_something_to_say(result: CompareResult) -> None:
    assert "What people did with them" not in render(result)
    figures = {"images": 4, "answers": 4, "unchanged": 3, "unchanged_share": 0.75, "rejected": 1, "skipped": 2}
    result.sets[0].acceptance = Acceptance(strategy="all", median_edit_distance=3, median_seconds=None, **figures)
    html = render(result)
    assert "What people did with them" in html
    assert "75%" in html
    assert "shown to no one" in html


def test_a_spread_is_a_bar_on_its_scale() -> None:
    assert 'x="20.0" y="1" width="60.0"' in spread(Measure(mean=0.5, median=0.5, low=0.2, high=0.8))
    assert spread(Measure(mean=2, median=2, low=2, high=2), 2, 2).count("<rect") == 3
