"""The snapshot stage: folder contents, refusals, interruptions, stable splits."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curator.snapshot import Holdout, NothingToExport, snapshot
from curator.snapshot.split import CannotHoldOut
from curator.where import BadExpression
from schemas.digest import sha256_file, snapshot_identity
from schemas.errors import AlreadyExists, AmatlError, BadOption, ChecksumMismatch, NotFound
from schemas.snapshot import SampleRow, SnapshotManifest
from tests.curator.lab import Lab


def rows(folder: Path, split: str) -> list[dict[str, Any]]:
    file = folder / split / "metadata.jsonl"  # an empty split has no folder
    return [json.loads(line) for line in file.read_bytes().split(b"\n") if line] if file.exists() else []


def splits_of(folder: Path) -> dict[str, str]:
    return {row["sha256"]: split for split in ("train", "validation") for row in rows(folder, split)}


def tree(folder: Path) -> list[str]:
    """List a folder's entries, without the catalog's own files."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return sorted(path for path in found if not path.startswith("lab.duckdb"))


def test_the_folder_is_what_the_spec_says(lab: Lab, zoo: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "made" / "snap"
    result = snapshot(lab.write(), ["human@1", "zoo/empty@1"], out, holdout=Holdout(count=2), person="ana")
    manifest = SnapshotManifest.read(out / "manifest.json")

    assert (result.train, result.held_out, result.unchanged) == (5, 2, False)
    assert result.left_out == {"missing-caption": 3} == manifest.selection.left_out
    assert result.without_caption == {"human": 3, "empty": 0}
    assert result.licenses == {"CC BY 4.0": 1, "CC0": 5, "unknown": 1} == manifest.licenses
    assert [(track.name, track.column, track.version) for track in manifest.tracks] == [
        ("human", "text", "zoo/human@1"),
        ("empty", "text_empty", "zoo/empty@1"),
    ]
    assert (manifest.tracks[1].captions, manifest.tracks[1].empty, manifest.tracks[1].strategies) == (
        7,
        7,
        {"fixed": 7},
    )
    assert (manifest.created_by, manifest.dataset, manifest.selection.holdout) == ("ana", "zoo", "2")
    assert manifest.identity == result.identity

    listed = {"manifest.json", "samples.parquet", "train", "validation"}
    identified, images = [], []
    for split, count in manifest.splits.items():
        listed.add(count.metadata.path)
        assert sha256_file(out / count.metadata.path) == count.metadata.sha256
        found = rows(out, split)
        assert len(found) == count.samples
        assert [row["sha256"] for row in found] == sorted(row["sha256"] for row in found)
        for row in found:
            SampleRow.model_validate(row)
            content = (out / split / row["file_name"]).read_bytes()
            assert (sha256(content).hexdigest(), len(content)) == (row["sha256"], row["size_bytes"])
            assert row["file_name"].split(".")[0] == row["sha256"][:16]
            assert row["text_empty"] == ""
            listed.add(f"{split}/{row['file_name']}")
            identified.append((row["sha256"], {"human": row["text"], "empty": ""}, split))
            images.append((row["sha256"], {}, split))
    assert set(tree(out)) == listed
    assert sha256_file(out / "samples.parquet") == manifest.samples.sha256
    assert snapshot_identity(identified) == manifest.identity
    assert snapshot_identity(images) == manifest.images_identity
    assert tree(tmp_path / "made") == ["snap", *(f"snap/{path}" for path in tree(out))]


def test_a_turned_photo_has_the_size_a_person_sees_and_its_own_bytes(
    lab: Lab, zoo: dict[str, str], tmp_path: Path
) -> None:
    snapshot(lab.write(), ["human@1"], tmp_path / "snap", where="height_px > width_px", holdout=Holdout(count=0))
    (row,) = rows(tmp_path / "snap", "train")
    assert (row["sha256"], row["width_px"], row["height_px"]) == (zoo["photo"], 6, 8)
    assert row["file_name"].endswith(".jpg")
    assert (tmp_path / "snap/train" / row["file_name"]).read_bytes() == (lab.folder / "images/photo.jpg").read_bytes()


def test_any_caption_is_one_line_and_comes_back(lab: Lab, tmp_path: Path) -> None:
    captions = ["two\nlines", "a\u2028b\u2029c\x85d\x0be\x1cf", '"quoted" \\ tab\t', "çà 狐 \N{FOX FACE}", " ", "null"]
    images = {lab.add(f"{number}.png", number): caption for number, caption in enumerate(captions)}
    lab.commit("odd", images)
    snapshot(lab.write(), ["odd@1"], tmp_path / "snap", holdout=Holdout(count=0))
    lines = (tmp_path / "snap/train/metadata.jsonl").read_text("utf-8").splitlines()
    assert {row["sha256"]: row["text"] for row in map(json.loads, lines)} == images


def test_samples_carry_the_provenance_of_each_caption(lab: Lab, zoo: dict[str, str], tmp_path: Path) -> None:
    snapshot(lab.write(), ["human@1", "empty@1"], tmp_path / "snap", keep_missing=True)
    samples = {row["sha256"]: row for row in pq.read_table(tmp_path / "snap/samples.parquet").to_pylist()}
    assert list(samples) == sorted(zoo.values())
    row = samples[zoo["3"]]
    assert (row["license"], row["source_file_name"], row["source_url"]) == ("CC0", "3.png", "https://example.org/3.png")
    assert json.loads(row["metadata"]) == {"annotation": "beast 3", "legs": 3}
    assert (tmp_path / "snap" / row["path"]).is_file()
    assert row["captions"][0] == {
        "track": "human",
        "version": "zoo/human@1",
        "text": "a beast called 3",
        "strategy": "fixed",
        "strategy_version": 1,
        "options": '{"text":"x"}',
        "model": None,
        "model_revision": None,
        "by_person": False,
        "person": "ana",
        "restored_from": None,
        "restored_by": None,
        "captioned_at": "2026-11-23T12:00:00Z",
        "inputs_digest": "in",
    }
    missing = samples[zoo["0"]]["captions"]
    assert (missing[0]["text"], missing[0]["strategy"], missing[1]["text"]) == (None, None, "")


def test_images_without_every_track_are_kept_on_request(lab: Lab, zoo: dict[str, str], tmp_path: Path) -> None:
    result = snapshot(lab.write(), ["human@1", "empty@1"], tmp_path / "snap", keep_missing=True)
    found = [row for split in ("train", "validation") for row in rows(tmp_path / "snap", split)]
    assert sum(row["text"] is None for row in found) == 3
    assert result.train + result.held_out == 10
    assert result.left_out == {}
    assert result.tracks[0].captions == 7


def test_where_selects_and_counts(lab: Lab, zoo: dict[str, str], tmp_path: Path) -> None:
    result = snapshot(
        lab.write(),
        ["empty@1", "human@1"],
        tmp_path / "snap",
        where="legs = 3 or caption.human contains 'web'",
        holdout=Holdout(expression="annotation = 'beast 7'"),
    )
    assert result.left_out == {"where": 7}
    assert splits_of(tmp_path / "snap") == {zoo["3"]: "train", zoo["web"]: "train", zoo["7"]: "validation"}
    manifest = SnapshotManifest.read(tmp_path / "snap/manifest.json")
    assert manifest.selection.where == "legs = 3 or caption.human contains 'web'"
    assert manifest.selection.holdout == "annotation = 'beast 7'"


def test_the_stored_split_is_a_column(lab: Lab, zoo: dict[str, str], tmp_path: Path) -> None:
    snapshot(lab.write(), ["empty@1"], tmp_path / "a", holdout=Holdout(count=4))
    snapshot(lab.write(), ["empty@1"], tmp_path / "b", where="split = 'train'")
    assert splits_of(tmp_path / "b") == {
        sha: split for sha, split in splits_of(tmp_path / "a").items() if split == "train"
    }


def test_near_duplicates_never_straddle_and_a_match_takes_its_group_along(lab: Lab, tmp_path: Path) -> None:
    images = [lab.add(f"{number}.png", number) for number in range(6)]
    twin = lab.add("twin.png", 100, {"annotation": "twin"}, near=images[0])
    lab.commit("empty", dict.fromkeys([*images, twin], ""))
    snapshot(lab.write(), ["empty@1"], tmp_path / "snap", holdout=Holdout(expression="annotation = 'twin'"))
    assert {sha for sha, split in splits_of(tmp_path / "snap").items() if split == "validation"} == {images[0], twin}


def test_a_larger_data_set_moves_nothing(lab: Lab, tmp_path: Path) -> None:
    images = [lab.add(f"{number}.png", number) for number in range(30)]
    lab.commit("empty", dict.fromkeys(images, ""))
    snapshot(lab.write(), ["empty@1"], tmp_path / "a", holdout=Holdout(count=9))
    images += [lab.add(f"{number}.png", number) for number in range(30, 60)]
    lab.commit("empty", dict.fromkeys(images, ""))
    for out, holdout in [
        ("b", Holdout(count=20)),
        ("c", Holdout()),
        ("d", Holdout(fraction=0.5)),
        ("e", Holdout(count=3)),
    ]:
        result = snapshot(lab.write(), ["empty@2"], tmp_path / out, holdout=holdout)
        assert splits_of(tmp_path / "a").items() <= splits_of(tmp_path / out).items()
        assert result.held_out == 20
    assert "stay held out" in result.notes[0]


def test_the_same_content_has_the_same_identity_and_bytes_in_another_catalog(tmp_path: Path) -> None:
    made = []
    for name, order in (("a", range(12)), ("b", reversed(range(12)))):
        (tmp_path / name).mkdir()
        lab = Lab(tmp_path / name)
        images = [lab.add(f"{number}.png", number) for number in order]
        lab.commit("empty", dict.fromkeys(sorted(images), ""))
        out = tmp_path / name / "snap"
        result = snapshot(lab.write(), ["empty@1"], out, holdout=Holdout(fraction=0.4))
        lab.close()
        made.append((result.identity, {path: out / path for path in tree(out)}))
    (identity, first), (other_identity, second) = made
    assert identity == other_identity
    assert list(first) == list(second)
    for path, file in first.items():
        if file.is_file() and path != "manifest.json":
            assert file.read_bytes() == second[path].read_bytes(), path


def test_there_already_and_unchanged(lab: Lab, zoo: dict[str, str], tmp_path: Path) -> None:
    first = snapshot(lab.write(), ["human@1"], tmp_path / "snap")
    before = (tmp_path / "snap/manifest.json").stat()
    again = snapshot(lab.write(), ["human@1"], tmp_path / "snap")
    assert again.unchanged
    assert (again.identity, again.train) == (first.identity, first.train)
    assert (tmp_path / "snap/manifest.json").stat() == before


def test_there_already_in_a_fresh_catalog_stores_the_split(lab: Lab, zoo: dict[str, str], tmp_path: Path) -> None:
    snapshot(lab.write(), ["human@1"], tmp_path / "snap", holdout=Holdout(count=3))
    lab.run("DELETE FROM splits")
    assert snapshot(lab.write(), ["human@1"], tmp_path / "snap", holdout=Holdout(count=3)).unchanged
    assert lab.run("SELECT count(*) FROM splits") == [(7,)]


@pytest.mark.parametrize(
    ("references", "problem"),
    [
        (["empty@1"], "holds another snapshot"),
        (["human@1", "empty@1"], "other captions of the same images"),
        (["again@1"], "other captions of the same images"),
        (["human@2"], r"the same captions under other tracks \(zoo/human@1\)"),
    ],
)
def test_another_snapshot_is_never_overwritten(
    lab: Lab, zoo: dict[str, str], tmp_path: Path, references: list[str], problem: str
) -> None:
    snapshot(lab.write(), ["human@1"], tmp_path / "snap")
    content = (tmp_path / "snap/manifest.json").read_bytes()
    captions = {
        row["sha256"]: row["text"] for split in ("train", "validation") for row in rows(tmp_path / "snap", split)
    }
    lab.commit("again", captions)
    lab.commit("human", {})
    with pytest.raises(AlreadyExists, match=problem):
        snapshot(lab.write(), references, tmp_path / "snap")
    assert (tmp_path / "snap/manifest.json").read_bytes() == content


@pytest.mark.parametrize("kind", ["file", "folder", "empty folder", "dangling link"])
def test_nothing_else_is_overwritten_either(lab: Lab, zoo: dict[str, str], tmp_path: Path, kind: str) -> None:
    out = tmp_path / "snap"
    if kind == "file":
        out.write_text("mine")
    elif kind == "dangling link":
        out.symlink_to(tmp_path / "nowhere")
    else:
        out.mkdir()
        if kind == "folder":
            (out / "notes.txt").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(AlreadyExists, match="isn't overwritten"):
        snapshot(lab.write(), ["human@1"], out)
    assert tree(tmp_path) == before
    assert lab.run("SELECT * FROM splits") == []


def test_a_changed_image_is_named_and_nothing_is_left(lab: Lab, zoo: dict[str, str], tmp_path: Path) -> None:
    changed = lab.folder / "images/5.png"
    content = bytearray(changed.read_bytes())
    content[-20] ^= 1
    changed.write_bytes(content)
    before = tree(tmp_path)
    for link in (False, True):
        with pytest.raises(ChecksumMismatch, match=r"images/5\.png has changed since it was ingested.*curator ingest"):
            snapshot(lab.write(), ["human@1"], tmp_path / "snap", link=link)
    assert tree(tmp_path) == before
    assert lab.run("SELECT * FROM splits") == []


@pytest.mark.parametrize(
    ("references", "error", "problem"),
    [
        (["human"], BadOption, "latest is zoo/human@1"),
        (["human@2"], NotFound, "There are: @1"),
        (["humans@1"], NotFound, "humans"),
        (["human@x"], BadOption, "human@x"),
        (["draft"], BadOption, "curator commit zoo/draft"),
        (["human@1", "human@1"], BadOption, "one version of a set"),
    ],
)
def test_references_that_name_no_version(
    lab: Lab, zoo: dict[str, str], tmp_path: Path, references: list[str], error: type[AmatlError], problem: str
) -> None:
    lab.caption("draft", {zoo["1"]: "a draft"})
    with pytest.raises(error, match=problem):
        snapshot(lab.write(), references, tmp_path / "snap")


def test_a_snapshot_is_of_one_dataset(lab: Lab, zoo: dict[str, str], tmp_path: Path) -> None:
    lab.dataset = "farm"
    lab.commit("cow", {zoo["1"]: "a cow"})
    with pytest.raises(BadOption, match=r"of one dataset.*farm, zoo"):
        snapshot(lab.write(), ["human@1", "cow@1"], tmp_path / "snap")


def test_nothing_left_to_export_says_why(lab: Lab, zoo: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(NothingToExport, match="10 left out by --where"):
        snapshot(lab.write(), ["human@1"], tmp_path / "snap", where="width_px > 9000")
    with pytest.raises(NothingToExport, match=r"2 without every caption.*--keep-missing"):
        snapshot(
            lab.write(),
            ["human@1"],
            tmp_path / "snap",
            where="legs = 1 and file_name != '5.png' or legs = 0 and file_name = '0.png'",
        )


def test_wrong_options_are_refused_before_the_work(lab: Lab, zoo: dict[str, str], tmp_path: Path) -> None:
    for holdout in (
        Holdout(count=-1),
        Holdout(fraction=2),
        Holdout(count=1, fraction=0.5),
        Holdout(expression="nope = 1"),
    ):
        with pytest.raises(BadOption):
            snapshot(lab.write(), ["human@1"], tmp_path / "snap", holdout=holdout)
    with pytest.raises(BadExpression, match="--where"):
        snapshot(lab.write(), ["human@1"], tmp_path / "snap", where="legs >")
    with pytest.raises(CannotHoldOut):
        snapshot(lab.write(), ["human@1"], tmp_path / "snap", holdout=Holdout(count=7))
    assert not [path for path in tree(tmp_path) if "snap" in path]
    assert lab.run("SELECT * FROM splits") == []


@pytest.mark.slow
def test_datasets_reads_it(lab: Lab, zoo: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot(lab.write(), ["human@1", "empty@1"], tmp_path / "snap", holdout=Holdout(count=2), keep_missing=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "snap"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(loaded[split]) for split in loaded} == {"train": 8, "validation": 2}
    for split in loaded:
        found = {row["sha256"]: row for row in rows(tmp_path / "snap", split)}
        for row in loaded[split]:
            assert row["text"] == found[row["sha256"]]["text"]
            assert row["text_empty"] == ""
            assert row["image"].size in {(8, 6), (6, 8)}
