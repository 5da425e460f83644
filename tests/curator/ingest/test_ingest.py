"""Ingest end to end: what lands in the catalog, what a second ingest does, what an interrupt leaves."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from curator.ingest import ingest, read, store
from schemas.errors import AmatlError, BadOption, NotFound
from tests.curator.images.pictures import encoded, picture, put
from tests.curator.ingest.conftest import Lab

opened: list[str] | None = None


def _note_opening(event: str, arguments: tuple[Any, ...]) -> None:
    if opened is not None and event == "open":
        opened.append(str(arguments[0]))


sys.addaudithook(_note_opening)


@contextmanager
def openings_below(folder: Path) -> Iterator[list[str]]:
    """Collects the files below a folder that Python opens, by whatever means; without the folders it lists."""
    global opened
    opened, found = [], []
    try:
        yield found
    finally:
        found += [path for path in opened if path.startswith(str(folder)) and not Path(path).is_dir()]
        opened = None


def later(path: Path) -> None:
    """Moves a file's time on, as an edit does, whatever the file system's clock."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 5_000_000_000))


def test_every_measure_is_on_record_and_no_file_is_changed(lab: Lab) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = lab.pictures / "sub" / "fox.jpg"
    path.parent.mkdir()
    path.write_bytes(encoded(picture(1), "JPEG", exif=exif))
    before = {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in lab.pictures.rglob("*")}
    result = lab.ingest()
    assert (result.files, result.read, result.added, result.images, result.rejects) == (1, 1, 1, 1, 0)
    row = lab.images().to_dicts()[0]
    assert row["image_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (row["path"], row["file_name"], row["size_bytes"]) == (str(path), "sub/fox.jpg", path.stat().st_size)
    assert (row["width_px"], row["height_px"], row["format"], row["has_alpha"]) == (90, 60, "jpeg", False)
    assert (row["exif_orientation"], row["metadata"], row["source_url"]) == (6, "{}", None)
    assert row["phash"] > 0 and row["representative_sha256"] == row["image_sha256"]
    assert {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in lab.pictures.rglob("*")} == before


def test_exact_duplicates_are_one_image_and_the_first_path_wins(lab: Lab) -> None:
    put(lab.pictures / "a.png", 1)
    put(lab.pictures / "b" / "copy.png", 1)
    put(lab.pictures / "c.png", 2)
    rows = [{"file_name": "a.png", "t": "first"}, {"file_name": "b/copy.png", "t": "second"}, {"file_name": "c.png"}]
    (lab.pictures / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = lab.ingest()
    assert (result.images, result.paths, result.duplicate_paths) == (2, 3, 1)
    assert any("further copy" in note for note in result.notes)
    assert lab.metadata() == {"a.png": {"t": "first"}, "c.png": {}}
    kept = lab.catalog.known_files("zoo", f"{lab.pictures}/")
    assert {row["file_name"]: row["metadata"] for row in kept.to_dicts()}["b/copy.png"] == '{"t": "second"}'
    rows[0]["t"] = "corrected"
    (lab.pictures / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert lab.ingest().corrected == 1
    assert lab.metadata()["a.png"] == {"t": "corrected"}, "a corrected first path stays the first"
    (lab.pictures / "a.png").unlink()
    lab.ingest()
    assert lab.metadata() == {"b/copy.png": {"t": "second"}, "c.png": {}}, "then the next path stands for it"


def test_near_duplicates_are_grouped_once_and_for_good(lab: Lab) -> None:
    put(lab.pictures / "b.png", 1, size=(180, 120))
    lab.ingest()
    put(lab.pictures / "a.jpg", 1, size=(120, 80))
    put(lab.pictures / "c.png", 2)
    result = lab.ingest()
    assert (result.near_duplicate_groups, result.near_duplicate_images) == (1, 2)
    groups = {row["file_name"]: row["representative_sha256"] for row in lab.images().to_dicts()}
    first = hashlib.sha256((lab.pictures / "b.png").read_bytes()).hexdigest()
    assert groups["a.jpg"] == groups["b.png"] == first and groups["c.png"] != first


def test_every_kind_of_reject_is_on_record(lab: Lab) -> None:
    root = lab.pictures
    whole = encoded(picture(1), "PNG")
    put(root / "good.png", 9)
    put(root / "unlisted.png", 8)
    (root / "zero.png").write_bytes(b"")
    (root / "cut.png").write_bytes(whole[:-30])
    (root / "hurt.png").write_bytes(whole[:200] + b"\0\0\0\0" + whole[204:])
    (root / "text.png").write_text("not a picture, but says it is one")
    (root / "model.bin").write_bytes(bytes(300))
    (root / "new.avif").write_bytes(b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avif")
    put(root / "wide.bmp", 3, size=(400, 300))
    (root / "gone.png").symlink_to("nowhere")
    (root / "lost.txt").write_text("a caption without a picture")
    names = ["good", "zero", "cut", "hurt", "text", "wide"]
    table = [f'{{"file_name": "{name}.{"bmp" if name == "wide" else "png"}"}}' for name in names]
    table += ["{broken", '{"file_name": "good.png"}', '{"file_name": "missing.png"}']
    (root / "metadata.jsonl").write_text("\n".join(table))
    (root / "sub").mkdir()
    (root / "sub" / "metadata.csv").write_text("name\nx\n")
    result = lab.ingest(max_pixels=100_000)
    assert lab.rejects() == {
        "zero.png": "zero-byte",
        "cut.png": "truncated",
        "hurt.png": "corrupt",
        "text.png": "not-an-image",
        "model.bin": "not-an-image",
        "new.avif": "unsupported-format",
        "wide.bmp": "too-large",
        "gone.png": "unreadable",
        "lost.txt": "row-without-image",
        "unlisted.png": "image-without-row",
        "metadata.jsonl:7": "bad-row",
        "metadata.jsonl:8": "duplicate-row",
        "metadata.jsonl:9": "row-without-image",
        "sub/metadata.csv": "bad-table",
    }
    assert result.rejects == 14 == sum(result.rejects_by_reason.values())
    assert set(lab.metadata()) == {"good.png", "unlisted.png"}
    again = lab.ingest(max_pixels=100_000)
    assert (again.rejects_by_reason, again.read) == (result.rejects_by_reason, 0)
    assert lab.ingest(max_pixels=200_000).read == 1, "another limit: the large picture is looked at again"
    assert "wide.bmp" not in lab.rejects()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_read_permission_is_a_reject_until_it_has_it(lab: Lab) -> None:
    path = put(lab.pictures / "a.png", 1)
    path.chmod(0)
    lab.ingest()
    assert lab.rejects() == {"a.png": "unreadable"}
    path.chmod(0o600)
    lab.ingest()
    assert lab.rejects() == {}


def test_an_unreadable_file_is_a_reject_until_it_can_be_read(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    put(lab.pictures / "a.png", 1)

    def refuse(path: Path, max_pixels: int) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("curator.ingest.measure._read", refuse)
        lab.ingest()
    assert lab.rejects() == {"a.png": "unreadable"}
    assert lab.ingest().added == 1
    assert lab.rejects() == {}


def test_a_second_ingest_opens_no_file(lab: Lab) -> None:
    for number in range(5):
        put(lab.pictures / f"{number}.png", number)
    (lab.pictures / "0.txt").write_text("nought")
    (lab.pictures / "broken.png").write_bytes(b"")
    (lab.pictures / "metadata.csv").write_text("file_name,n\n0.png,0\nnone.png,1\n")
    table = lab.pictures.parent / "more.csv"
    table.write_text("file_name,m\n1.png,one\n")
    options = {"metadata": table, "join_on": "file_name"}
    first = lab.ingest(**options)
    with openings_below(lab.pictures.parent) as files:
        second = lab.ingest(**options)
    assert files == []
    assert (second.read, second.unchanged, second.rejects_by_reason) == (0, 5, first.rejects_by_reason)
    put(lab.pictures / "5.png", 5)
    with openings_below(lab.pictures) as files:
        third = lab.ingest(**options)
    assert (third.read, third.added) == (1, 1)
    assert {Path(file).name for file in files} == {"5.png", "metadata.csv"}, "known pictures and sidecars stay shut"


def test_changed_gone_and_returning_files(lab: Lab) -> None:
    path = put(lab.pictures / "a.png", 1)
    put(lab.pictures / "b.png", 2)
    lab.ingest()
    put(path, 3)
    later(path)
    (lab.pictures / "b.png").rename(lab.pictures.parent / "b.png")
    result = lab.ingest()
    assert (result.read, result.changed, result.gone, result.images) == (1, 1, 1, 1)
    assert lab.images()["image_sha256"].to_list() == [hashlib.sha256(path.read_bytes()).hexdigest()]
    (lab.pictures.parent / "b.png").rename(lab.pictures / "b.png")
    assert (lab.ingest().added, len(lab.images())) == (1, 2)
    later(path)
    touched = lab.ingest()
    assert (touched.read, touched.changed, touched.unchanged) == (1, 0, 2), "touched, but the same bytes"
    path.write_bytes(b"ruined")
    assert lab.ingest().gone == 1
    assert lab.rejects() == {"a.png": "not-an-image"}
    put(path, 3)
    lab.ingest()
    assert lab.rejects() == {} and len(lab.images()) == 2


def test_an_ingest_of_one_folder_leaves_the_others_alone(lab: Lab) -> None:
    put(lab.pictures / "one" / "a.png", 1)
    put(lab.pictures / "two" / "b.png", 2)
    for name in ("one", "two"):
        ingest(lab.catalog, lab.pictures / name, "zoo", person="ana")
    shutil.rmtree(lab.pictures / "two")
    (lab.pictures / "two").mkdir()
    assert ingest(lab.catalog, lab.pictures / "two", "zoo", person="ana").gone == 1
    assert list(lab.metadata()) == ["a.png"]


def test_a_folder_that_cannot_be_listed_loses_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    put(lab.pictures / "sub" / "a.png", 1)
    lab.ingest()
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if path.name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        result = lab.ingest()
    assert (result.gone, result.images, lab.rejects()) == (0, 1, {"sub": "unreadable"})
    lab.ingest()
    assert lab.rejects() == {}


def test_an_interrupt_keeps_what_was_written_and_the_next_ingest_goes_on(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        put(lab.pictures / f"{number}.png", number)
    (lab.pictures / "0.txt").write_text("nought")
    (lab.pictures / "metadata.csv").write_text("file_name,n\n" + "".join(f"{n}.png,{n}\n" for n in range(9)))
    monkeypatch.setattr(store, "FILES_A_CHUNK", 3)

    def stop_at(count: int) -> Callable[..., None]:
        def progress(stage: str, done: int, total: int | None, detail: str = "") -> None:
            if stage == "reading images" and done == count:
                raise KeyboardInterrupt

        return progress

    with pytest.raises(KeyboardInterrupt):
        lab.ingest(progress=stop_at(8))
    assert len(lab.images()) == 8
    result = lab.ingest()
    assert (result.read, result.images, result.unchanged) == (2, 10, 8)
    assert lab.metadata()["0.png"] == {"n": "0", "sidecar": "nought"}
    assert lab.rejects() == {"9.png": "image-without-row"}
    assert lab.images()["representative_sha256"].n_unique() == 10


def test_an_ingest_interrupted_between_reading_and_its_end_is_finished_by_the_next(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(lab.pictures / "a.png", 1)
    (lab.pictures / "metadata.csv").write_text("file_name\na.png\n")
    lab.ingest()
    put(lab.pictures / "b.png", 2)
    with monkeypatch.context() as patch:
        patch.setattr(
            "curator.ingest.run.IngestRun._write_rejects", lambda run: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            lab.ingest()
    result = lab.ingest()
    assert (result.read, lab.rejects()) == (0, {"b.png": "image-without-row"})


def test_the_order_of_paths_does_not_depend_on_threads(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "AHEAD_PER_THREAD", 2)
    for number in range(12):
        put(lab.pictures / f"{number:02}.png", number, size=(300 if number % 3 == 0 else 30, 200))
    lab.ingest(threads=4)
    assert lab.images()["file_name"].to_list() == [f"{number:02}.png" for number in range(12)]


def test_two_data_sets_share_an_image_but_not_its_metadata(lab: Lab) -> None:
    put(lab.pictures / "a.png", 1)
    lab.ingest()
    (lab.pictures / "a.txt").write_text("only in the second")
    ingest(lab.catalog, lab.pictures, "second", person="ben")
    assert lab.metadata() == {"a.png": {}}
    assert lab.catalog.dataset_names() == ["second", "zoo"]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"dataset": "Zoo!"}, BadOption, "a to z"),
        ({"folder": Path("nowhere")}, NotFound, "no such folder"),
        ({"folder": Path(__file__)}, AmatlError, "not a folder"),
        ({"metadata": Path("nowhere.csv")}, NotFound, "no such metadata table"),
        ({"join_on": "id"}, BadOption, "--join-on needs --metadata"),
        ({"max_pixels": 0}, BadOption, "at least 1"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(lab: Lab, change: dict[str, Any], error: type[AmatlError], says: str) -> None:
    arguments: dict[str, Any] = {"folder": lab.pictures, "dataset": "zoo", "person": "ana"} | change
    with pytest.raises(error, match=says):
        ingest(lab.catalog, **arguments)
    assert lab.catalog.dataset_names() == []
