"""Prune removes only files that nothing refers to, and only old ones."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from curator.catalog.remote import service_folder
from curator.cli import main
from curator.images.locations import uploaded, uploads_folder
from curator.server.prune import Pruned, prune, text_of_prune
from schemas.errors import BadOption
from tests.curator.fill import sha
from tests.curator.lab import Lab

OLD = 8 * 86_400


class Disk:
    """A catalog with images of another machine, and the service's folder."""

    def __init__(self, folder: Path) -> None:
        self.lab = Lab(folder)
        here = self.lab.add("here.png", 1)
        self.lab.pending["files"][0]["path"] = "laptop:/photos/here.png"
        gone = self.lab.add("gone.png", 2)
        row = self.lab.pending["files"][1] | {"path": "laptop:/photos/gone.png"}
        self.lab.pending["files"][1] = row
        self.lab.pending["files"].append(row | {"file_id": 99, "gone": True})
        self.lab.write()
        self.images = {"here": here, "gone": gone, "never": sha(7)}
        self.uploads = uploads_folder(self.lab.catalog.path)
        self.thumbnails = service_folder(self.lab.catalog.path) / "thumbnails"
        for image in self.images.values():
            self.put(uploaded(self.uploads, image), 1_000)
            self.put(self.thumbnails / image[:2] / f"{image}.jpg", 10)
        never = self.images["never"]
        self.put(self.uploads / never[:2] / f".{never}.{'0' * 16}", 5)
        self.put(self.thumbnails / never[:2] / f".{never}.123.0a1b", 5)
        self.put(self.uploads / never[:2] / "notes.txt", 5)
        self.put(self.uploads / "README", 5)

    def put(self, file: Path, size_bytes: int) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * size_bytes)
        then = time.time() - OLD
        os.utime(file, (then, then))

    def kept(self, folder: Path, end: str = "") -> list[str]:
        there = {name: folder / image[:2] / f"{image}{end}" for name, image in self.images.items()}
        return [name for name, file in there.items() if file.exists()]

    def everything(self) -> list[Path]:
        return sorted(file for folder in (self.uploads, self.thumbnails) for file in folder.rglob("*"))


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def test_what_no_ingest_named_goes_and_what_once_was_an_image_stays(disk: Disk) -> None:
    result = prune(disk.lab.catalog)
    assert (result.uploads, result.uploads_gone) == (Pruned(files=1, size_bytes=1_000),) * 2
    assert (result.thumbnails, result.unfinished) == (
        Pruned(files=2, size_bytes=20),
        Pruned(files=2, size_bytes=10),
    )
    assert disk.kept(disk.uploads) == ["here", "gone"]
    assert disk.kept(disk.thumbnails, ".jpg") == ["here"]
    left = {file.name for file in disk.everything() if file.is_file()}
    assert {"notes.txt", "README"} < left and not any(name.startswith(".") for name in left)
    said = text_of_prune(result)
    assert "Freed 1.0 kB." in said
    assert "Kept: 1 uploaded image in no dataset any more, 1.0 kB." in said
    assert "Nothing to remove" in text_of_prune(prune(disk.lab.catalog))


def test_those_of_images_that_are_gone_only_when_asked(disk: Disk) -> None:
    assert prune(disk.lab.catalog, gone=True).uploads_gone.files == 1
    assert disk.kept(disk.uploads) == ["here"]


def test_a_dry_run_removes_nothing_and_tells_the_same(disk: Disk) -> None:
    before = disk.everything()
    would = prune(disk.lab.catalog, gone=True, dry_run=True)
    assert disk.everything() == before and "2.0 kB would be freed" in text_of_prune(would)
    assert prune(disk.lab.catalog, gone=True) == would.model_copy(update={"dry_run": False})


def test_what_was_touched_lately_stays(disk: Disk) -> None:
    os.utime(uploaded(disk.uploads, disk.images["never"]))
    result = prune(disk.lab.catalog)
    assert result.uploads.files == 0 and disk.kept(disk.uploads) == ["here", "gone", "never"]
    assert prune(disk.lab.catalog, days=30).thumbnails.files == 0
    with pytest.raises(BadOption, match="at least 1"):
        prune(disk.lab.catalog, days=0)


def test_where_no_service_ever_was(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.close()
    ran = CliRunner().invoke(main, ["prune", "--catalog", str(lab.catalog.path)])
    assert ran.exit_code == 0 and "Nothing to remove" in ran.output
    assert not service_folder(lab.catalog.path).exists()
