"""A set's captions counted by what came since are as many as counted whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curator.caption_sets import totals as caption_totals
from curator.caption_sets.reference import resolve
from curator.caption_sets.totals import caption_total
from curator.caption_sets.versions import commit
from curator.catalog import Catalog
from tests.curator.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sets that were counted whole."""
    counted: list[str] = []
    count = Catalog.caption_count

    def noted(self: Catalog, dataset: str, set_name: str, last_caption_id: int) -> int:
        counted.append(set_name)
        return count(self, dataset, set_name, last_caption_id)

    monkeypatch.setattr(Catalog, "caption_count", noted)
    return counted


def test_whole_once_then_by_what_came_since(lab: Lab, whole: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    images = [lab.add(f"{number}.png", number) for number in range(6)]
    steps: list[dict[str, Any]] = [
        {images[0]: "a", images[1]: "b"},
        {images[1]: "c", images[2]: ""},
        {images[0]: None, images[3]: "d"},
        {images[0]: "again", images[4]: None},
    ]
    totals = []
    for step in steps:
        lab.caption("t", step)
        totals.append(caption_total(lab.write(), resolve(lab.catalog, "t")))
        assert caption_total(lab.catalog, resolve(lab.catalog, "t")) == totals[-1]
    assert totals == [2, 3, 3, 4] and whole == ["t"]
    lab.caption("other", {images[0]: "x"})
    assert caption_total(lab.write(), resolve(lab.catalog, "other")) == 1
    monkeypatch.setattr(caption_totals, "MAX_UPDATE", 1)
    lab.caption("t", dict.fromkeys(images, "e"))
    assert caption_total(lab.write(), resolve(lab.catalog, "t")) == 6
    assert whole == ["t", "other", "t"]


def test_a_version_and_a_state_looked_at_before(lab: Lab, whole: list[str]) -> None:
    images = [lab.add(f"{number}.png", number) for number in range(3)]
    lab.caption("t", {images[0]: "a"})
    commit(lab.write(), "t", "one", "ana")
    before = resolve(lab.catalog, "t")
    lab.caption("t", {images[1]: "b", images[2]: "c"})
    assert caption_total(lab.write(), resolve(lab.catalog, "t@1")) == 1 and not whole
    assert caption_total(lab.catalog, resolve(lab.catalog, "t")) == 3
    assert caption_total(lab.catalog, before) == 1
    assert caption_total(lab.catalog, resolve(lab.catalog, "t")) == 3
