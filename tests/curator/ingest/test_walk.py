"""What a walk takes for a picture, a table, a sidecar, a reject; and that it opens nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from curator.images.unusable import Reason
from curator.ingest.walk import Listing, walk


def listed(root: Path, *names: str, left_out: tuple[Path, ...] = ()) -> Listing:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return walk(root, left_out)


def rejected(root: Path, listing: Listing) -> dict[str, Reason]:
    return {os.path.relpath(reject.path, root): reject.reason for reject in listing.rejects}


def test_finds_pictures_in_all_folders_in_order(tmp_path: Path) -> None:
    listing = listed(tmp_path, "b/two.JPG", "a.png", "b/c/d.webp", "B.gif")
    assert [entry.file_name for entry in listing.candidates] == ["B.gif", "a.png", "b/c/d.webp", "b/two.JPG"]
    assert listing.rejects == []


def test_passes_over_hidden_files_texts_about_the_folder_and_our_own(tmp_path: Path) -> None:
    names = (
        ".hidden.png",
        ".git/a.png",
        "Thumbs.db",
        "__MACOSX/a.png",
        "README.md",
        "LICENSE",
        "license.txt",
        "sub/NOTICE",
    )
    own = tmp_path / "lab.duckdb"
    listing = listed(tmp_path, *names, "lab.duckdb", "sub/lab.duckdb", left_out=(own,))
    assert [entry.file_name for entry in listing.candidates] == ["sub/lab.duckdb"]
    assert (listing.rejects, listing.tables, listing.sidecars) == ([], [], {})


def test_tables_and_sidecars(tmp_path: Path) -> None:
    listing = listed(
        tmp_path, "metadata.jsonl", "sub/metadata.csv", "sub/Metadata.parquet", "a.png", "a.txt", "b.jpg", "b.jpg.txt"
    )
    assert [entry.file_name for entry in listing.tables] == [
        "metadata.jsonl",
        "sub/Metadata.parquet",
        "sub/metadata.csv",
    ]
    sidecars = {name: entry.file_name for name, entry in listing.sidecars.items()}
    assert sidecars == {"a.png": "a.txt", "b.jpg": "b.jpg.txt"}


def test_one_text_may_serve_two_pictures_and_a_text_without_any_is_a_reject(tmp_path: Path) -> None:
    listing = listed(tmp_path, "a.png", "a.jpg", "a.txt", "lost.txt", "sub/a.txt")
    assert set(listing.sidecars) == {"a.png", "a.jpg"}
    assert rejected(tmp_path, listing) == {"lost.txt": Reason.ROW_WITHOUT_IMAGE, "sub/a.txt": Reason.ROW_WITHOUT_IMAGE}


def test_an_unknown_suffix_is_judged_by_its_bytes_later(tmp_path: Path) -> None:
    listing = listed(tmp_path, "photo", "photo.data", "tags.csv")
    assert [entry.file_name for entry in listing.candidates] == ["photo", "photo.data", "tags.csv"]


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "a.png").write_text("x")
    (root / "linked").symlink_to(elsewhere)
    (root / "again").symlink_to(elsewhere)
    (root / "sub" / "up").symlink_to(root)
    (root / "b.png").symlink_to(elsewhere / "a.png")
    listing = walk(root)
    assert [entry.file_name for entry in listing.candidates] == ["again/a.png", "b.png"]
    assert listing.rejects == []


def test_what_cannot_be_opened_is_a_reject(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "broken.png").symlink_to("nowhere")
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_text("x")
    listing = walk(tmp_path)
    assert listing.candidates == []
    assert {Path(reject.path).name: reject.reason for reject in listing.rejects} == {
        "pipe.png": Reason.NOT_AN_IMAGE,
        "broken.png": Reason.UNREADABLE,
        "caf\\xe9.png": Reason.UNREADABLE,
    }


def test_a_folder_that_cannot_be_listed_is_a_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir()
    (tmp_path / "a.png").write_text("x")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    listing = walk(tmp_path)
    assert [entry.file_name for entry in listing.candidates] == ["a.png"]
    assert rejected(tmp_path, listing) == {"locked": Reason.UNREADABLE}
    assert listing.unread_folders == [str(tmp_path / "locked")]
