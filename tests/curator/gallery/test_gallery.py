"""The gallery: filters, keyset pages, a working copy that follows the catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from curator.catalog import Catalog
from curator.catalog import working_copy as table
from curator.gallery import GalleryFilters, gallery, gallery_frame
from curator.where import images_where
from schemas.errors import AmatlError, BadOption, NotFound
from tests.curator.conftest import Labs
from tests.curator.fill import add_images, sha
from tests.curator.lab import Lab, empty_catalog


@pytest.fixture
def lab(labs: Labs) -> Iterator[Lab]:
    with labs.filled(fill) as lab:
        yield lab


def fill(made: Lab) -> None:
    fox = made.add("fox.png", 1, {"group": "animals", "rating": 5, "tags": ["red", "wild"]}, "CC0")
    owl = made.add("owl.png", 2, {"group": "animals", "rating": 3}, size=(20, 30))
    tree = made.add("tree.jpg", 3, {"group": "plants"}, kind="jpeg", orientation=6, size=(40, 10))
    made.add("fox again.png", 4, {}, near=fox)
    made.pending["splits"] += [
        {"dataset": "zoo", "representative_sha256": fox, "split": "validation", "assigned_at": "2026-11-23T12:00:00Z"},
        {"dataset": "zoo", "representative_sha256": owl, "split": "train", "assigned_at": "2026-11-23T12:00:00Z"},
    ]
    made.caption("template", {fox: "a Red FOX", owl: "an owl", tree: "a tree.*"}, strategy="template")
    made.caption("human", {fox: "", owl: "a very old owl at night"})
    made.caption("human", {owl: None})


def fox_of(lab: Lab) -> str:
    return gallery(lab.write(), "zoo").images[0].sha256


def names(lab: Lab, **filters: object) -> list[str]:
    found = gallery(lab.write(), "zoo", GalleryFilters.model_validate(filters))
    assert found.total == len(found.images)
    return [image.file_name.removesuffix(".png").removesuffix(".jpg") for image in found.images]


def test_every_image_with_the_captions_it_has_now(lab: Lab) -> None:
    page = gallery(lab.write(), "zoo")
    assert [image.file_name for image in page.images] == ["fox.png", "owl.png", "tree.jpg", "fox again.png"]
    assert (page.total, page.position, page.after, page.before) == (4, 0, None, None)
    assert page.sets == ["human", "template"]
    fox, owl, tree, again = page.images
    assert {name: caption.text for name, caption in fox.captions.items()} == {"human": "", "template": "a Red FOX"}
    assert list(owl.captions) == ["template"]
    assert (tree.width_px, tree.height_px) == (10, 40)
    assert (again.near_duplicate_of, again.split) == (fox.sha256, "validation")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"split": "train"}, ["owl"]),
        ({"split": "none"}, ["tree"]),
        ({"caption_set": "human"}, ["fox"]),
        ({"caption_set": "human", "split": "train"}, []),
        ({"caption_set": "human", "min_width": 1, "status": "failed"}, []),
        ({"caption_set": "human", "status": "captioned"}, ["fox"]),
        ({"caption_set": "human", "status": "missing"}, ["owl", "tree", "fox again"]),
        ({"status": "missing"}, ["fox again"]),
        ({"status": "empty"}, ["fox"]),
        ({"status": "person"}, []),
        ({"status": "machine"}, ["fox", "owl", "tree"]),
        ({"status": "failed"}, []),
        ({"status": "rejected"}, []),
        ({"strategy": "template"}, ["fox", "owl", "tree"]),
        ({"strategy": "fixed"}, ["fox"]),
        ({"person": "ana"}, []),
        ({"text": "fox"}, ["fox"]),
        ({"text": "FOX", "caption_set": "human"}, []),
        ({"text": ".*"}, ["tree"]),
        ({"text": "fox", "caption_set": "template", "split": "validation"}, ["fox"]),
        ({"text": "a ", "min_length": 7}, ["fox", "tree"]),
        ({"text": "owl\n"}, []),
        ({"min_length": 7, "max_length": 8}, ["tree"]),
        ({"min_width": 10, "max_height": 30}, ["owl"]),
        ({"metadata": ("group=animals",)}, ["fox", "owl"]),
        ({"metadata": ("group=animals", "rating=5")}, ["fox"]),
        ({"metadata": ("tags=wild",)}, ["fox"]),
        ({"metadata": ("rating=many",)}, []),
        ({"near_duplicates": True}, ["fox", "fox again"]),
        ({"near_duplicates": False}, ["owl", "tree"]),
        ({"where": "rating > 4 or caption.template contains 'owl'"}, ["fox", "owl"]),
        ({"where": "metadata.group = 'plants'", "min_height": 40}, ["tree"]),
        ({"where": "not tags contains 'red' and license is null"}, ["owl", "tree", "fox again"]),
    ],
)
def test_filters(lab: Lab, filters: dict[str, object], expected: list[str]) -> None:
    assert names(lab, **filters) == expected


@pytest.mark.parametrize(
    ("filters", "error", "problem"),
    [
        ({"caption_set": "nobody"}, NotFound, "zoo has no caption set 'nobody'. It has: human, template"),
        ({"metadata": ("group",)}, BadOption, "write field=value"),
        ({"metadata": ("grop=x",)}, BadOption, "no image has a field 'grop'. Fields: group, rating, tags"),
        ({"where": "grop = 'x'"}, BadOption, "no column `grop`. Did you mean `group`?"),
        ({"where": "width_px ="}, BadOption, "where: "),
    ],
)
def test_what_cannot_be_asked(lab: Lab, filters: dict[str, object], error: type[AmatlError], problem: str) -> None:
    with pytest.raises(error) as raised:
        names(lab, **filters)
    assert problem in str(raised.value)


def test_an_expression_holds_for_what_the_commands_say(lab: Lab) -> None:
    for text in ("rating >= 3", "tags contains 'wild'", "caption.human is null", "split != 'train'", "width_px < 12"):
        expected = set(images_where(lab.write(), "zoo", text))
        assert set(gallery_frame(lab.write(), "zoo", GalleryFilters(where=text))["sha256"]) == expected


def test_the_last_page_and_the_one_before(lab: Lab) -> None:
    first = gallery(lab.write(), "zoo", limit=3)
    last = gallery(lab.write(), "zoo", after=first.after, limit=3)
    back = gallery(lab.write(), "zoo", before=last.before, limit=3)
    assert [len(first.images), len(last.images), last.position, last.after] == [3, 1, 3, None]
    assert back == first
    with pytest.raises(BadOption, match="one of the two"):
        gallery(lab.write(), "zoo", after=1, before=2)
    with pytest.raises(BadOption, match="from 1 to 500"):
        gallery(lab.write(), "zoo", limit=501)


def test_it_keeps_up_with_what_is_new(lab: Lab) -> None:
    assert names(lab, text="badger") == []
    badger = lab.add("badger.png", 9, {"group": "animals"})
    assert names(lab)[-1] == "badger"
    lab.caption("template", {badger: "a Badger"})
    assert names(lab, text="badger") == ["badger"]
    assert names(lab, metadata=("group=animals",)) == ["fox", "owl", "badger"]
    lab.caption("new", {badger: "a badger, sitting"})
    assert names(lab, caption_set="new") == ["badger"]
    assert names(lab, caption_set="new", text="sitting") == ["badger"]
    lab.file(lab.folder / "images" / "fox.png", fox_of(lab), {}, gone=True)
    assert names(lab) == ["owl", "tree", "fox again", "badger"]


def test_captions_with_ids_given_out_earlier_are_not_missed(lab: Lab) -> None:
    fox, owl, *_ = table.working_copy(lab.write(), "zoo").frame["sha256"]
    lab.captions += 10
    lab.caption("human", {fox: "a fox"})
    assert names(lab, text="a fox") == ["fox"]
    lab.captions -= 6
    lab.caption("human", {owl: "a late owl"})
    assert names(lab, text="late") == ["owl"]
    assert names(lab, text="a fox") == ["fox"]


@pytest.mark.parametrize("few", [0, 1_000])
def test_many_revisions_and_few_are_put_in_alike(lab: Lab, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(table, "FEW", few)
    before = table.working_copy(lab.write(), "zoo")
    fox, owl, *_ = before.frame["sha256"]
    lab.caption("human", {fox: "a fox", owl: "an owl", sha(1): "nobody here"})
    lab.caption("template", {owl: None})
    after = table.working_copy(lab.write(), "zoo").frame
    assert after["caption.human"].to_list() == ["a fox", "an owl", None, None]
    assert after["caption.template"].to_list() == ["a Red FOX", None, "a tree.*", None]
    assert after["run.human"].to_list()[0] == after["run.human"].to_list()[1] == 4
    assert after["folded"].to_list() == ["\na fox\na red fox", "\nan owl", "\na tree.*", ""]
    assert before.frame["caption.human"].to_list() == ["", None, None, None]  # others may still read it


def test_an_image_that_comes_back_has_its_captions(lab: Lab) -> None:
    fox = fox_of(lab)
    lab.file(lab.folder / "images" / "fox.png", fox, {}, gone=True)
    assert "fox" not in names(lab)
    lab.file(lab.folder / "images" / "elsewhere.png", fox, {})
    page = gallery(lab.write(), "zoo")
    assert page.images[-1].captions["template"].text == "a Red FOX"


def changed(lab: Lab, name: str, image: str, gone: bool = False) -> None:
    lab.file(lab.folder / "images" / f"{name}.png", image, {"group": name}, gone=gone)


def test_it_is_what_would_be_read_anew_whatever_changes(lab: Lab) -> None:
    fox, owl, tree, *_ = table.working_copy(lab.write(), "zoo").frame["sha256"]
    badger = lab.add("badger.png", 9)
    stray = {"image_sha256": [sha(20)], "representative_sha256": [badger], "distance": [2]}
    steps: list[Callable[[], object]] = [
        lambda: changed(lab, "fox", owl),  # another picture at its path, which has two now
        lambda: changed(lab, "copy", tree),
        lambda: changed(lab, "copy", tree, gone=True),
        lambda: changed(lab, "fox", fox),
        lambda: changed(lab, "owl", owl, gone=True),
        lambda: (changed(lab, "owl", owl), changed(lab, "owl", badger), changed(lab, "elsewhere", owl)),
        lambda: (lab.add("new.png", 10), lab.caption("template", {badger: "a badger", owl: "an owl"})),
        lambda: (add_images(lab.write(), "zoo", [{}], first=20), setattr(lab, "files", lab.files + 1)),
        lambda: lab.write().add_near_duplicates("zoo", pl.DataFrame(stray)),
        lambda: changed(lab, "fox", badger),
        lambda: lab.write().store_splits(
            "zoo", pl.DataFrame({"representative_sha256": [fox], "split": ["train"]}), "2026-11-26T12:00:00Z"
        ),
    ]
    for step in steps:
        step()
        kept_up, anew = table.working_copy(lab.write(), "zoo"), table._read(lab.write(), "zoo")
        assert kept_up.sets == anew.sets
        assert_frame_equal(kept_up.frame.select(anew.frame.columns), anew.frame)


def test_files_that_came_while_it_was_read_are_counted_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog, marks = lab.catalog, lab.write().gallery_marks("zoo", 0)
    lab.add("badger.png", 9)
    lab.write()
    with monkeypatch.context() as patch:
        patch.setattr(catalog, "gallery_marks", lambda *_: marks)
        made = table._read(catalog, "zoo")
    kept_up = table._kept_up(catalog, made)
    assert kept_up.frame["paths"].sum() == made.frame["paths"].sum() == catalog.dataset_counts("zoo")["paths"]


def test_what_was_not_looked_at_for_long_is_let_go(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("farm", "park"):
        add_images(lab.write(), name, [{}, {}])
    first = [table.working_copy(lab.catalog, name) for name in ("zoo", "farm", "park")]
    assert [table.working_copy(lab.catalog, one.dataset) is one for one in first] == [True, True, True]
    monkeypatch.setattr(table, "IMAGES_KEPT", 4)
    assert table.working_copy(lab.catalog, "park") is first[2]
    assert table.working_copy(lab.catalog, "farm") is first[1]
    assert table.working_copy(lab.catalog, "zoo") is not first[0]


class Pages:
    """The dataset grows between two pages."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog, self.images = catalog, 0
        self.dataset = f"zoo{len(catalog.dataset_names())}"

    def grow(self, images: int) -> None:
        rows = [{"even": (self.images + place) % 2 == 0} for place in range(images)]
        if rows:
            add_images(self.catalog, self.dataset, rows, first=self.images)
        self.images += images

    def walk(self, filters: GalleryFilters, limit: int, growth: list[int]) -> list[str]:
        seen: list[str] = []
        after = None
        while True:
            page = gallery(self.catalog, self.dataset, filters, after=after, limit=limit)
            seen += [image.sha256 for image in page.images]
            if page.after is None:
                return seen
            after = page.after
            self.grow(growth.pop() if growth else 0)


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    path = tmp_path_factory.mktemp("growing") / "lab.duckdb"
    path.write_bytes(empty_catalog())
    with Catalog(path) as opened:
        yield opened


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    start=st.integers(1, 30),
    limit=st.integers(1, 9),
    growth=st.lists(st.integers(0, 4), max_size=8),
    where=st.sampled_from([None, "even = true"]),
)
def test_no_image_is_lost_or_comes_twice_while_images_are_added(
    growing: Catalog, start: int, limit: int, growth: list[int], where: str | None
) -> None:
    pages = Pages(growing)
    pages.grow(start)
    seen = pages.walk(GalleryFilters(where=where), limit, growth)
    there = [sha(number) for number in range(start) if where is None or number % 2 == 0]
    assert len(seen) == len(set(seen))
    assert [image for image in seen if image in set(there)] == there
