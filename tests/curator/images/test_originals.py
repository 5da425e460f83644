"""Where an image's bytes are: by path, among the uploads, fetched and checked."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curator.caption.inputs import image_inputs
from curator.datasets.file_state import FilesState, files_state
from curator.images.locations import Names, machine, split, uploaded, uploads_folder
from curator.images.originals import Originals
from curator.snapshot import snapshot
from schemas.errors import BadOption, ChecksumMismatch, NotFound
from tests.curator.lab import Lab, picture

CONTENT = picture(3)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class FarAway:
    """A catalog of another machine; its service answers with these."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.remote_disk, self.answers, self.asked = self, list(answers), 0

    def picture(self, sha256: str) -> bytes:
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AMATL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def far(*answers: bytes | Exception) -> tuple[FarAway, Originals]:
    catalog: Any = FarAway(*answers)
    return catalog, Originals(catalog)


def test_fetched_once_checked_and_fetched_again_when_damaged(cache: Path) -> None:
    catalog, originals = far(CONTENT, CONTENT)
    path = originals.file(SHA256, ["/on/that/machine.png"])
    assert path and path.is_relative_to(cache) and path.read_bytes() == CONTENT
    assert originals.file(SHA256, []) == path and catalog.asked == 1
    path.write_bytes(CONTENT[:-1])
    assert originals.file(SHA256, []) == path and path.read_bytes() == CONTENT


def test_other_bytes_are_never_kept(cache: Path) -> None:
    _, originals = far(CONTENT + b"x", NotFound(), ChecksumMismatch())
    with pytest.raises(ChecksumMismatch, match="another image"):
        originals.fetch(SHA256)
    assert originals.file(SHA256, []) is None and originals.file(SHA256, []) is None
    assert [file for file in cache.rglob("*") if file.is_file()] == []


def test_here_it_is_the_path_on_record_or_what_was_uploaded(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    sha256 = lab.add("fox.png", 1)
    originals, here = Originals(lab.write()), str(tmp_path / "images" / "fox.png")
    assert originals.file(sha256, [here]) == Path(here)
    upload = uploaded(uploads_folder(lab.catalog.path), sha256)
    assert originals.paths(sha256, ["laptop:/photos/fox.png", here]) == [str(upload), here]
    assert originals.file(sha256, ["laptop:/photos/fox.png"]) is None
    upload.parent.mkdir(parents=True)
    upload.write_bytes(CONTENT)
    assert originals.file(sha256, ["laptop:/photos/fox.png"]) == upload
    images = pl.DataFrame({"image_sha256": [sha256] * 2, "path": [here, "laptop:/photos/fox.png"]})
    assert originals.paths_of(images).to_list() == [here, str(upload)]
    lab.close()


@pytest.mark.parametrize("path", ["laptop:/photos/fox.png", "10.0.0.7:/a:b/ö.png", "a-b.c:/x\ny"])
def test_a_path_elsewhere_is_told_by_its_machine(path: str) -> None:
    name, _, rest = path.partition(":")
    assert split(path) == (name, rest)
    assert Names(name).stored(rest) == path and Names(name).here(path) == rest and Names(name).is_here(path)
    assert Names(None).stored(rest) == rest and not Names(None).is_here(path)
    assert Names("other").here(path) == path


@pytest.mark.parametrize("path", ["/photos/fox.png", "fox.png", "laptop:fox.png", ":/x", "/a:/b", "-x:/y", "a b:/c"])
def test_other_paths_are_not_elsewhere(path: str) -> None:
    assert split(path) is None


def test_a_machine_may_be_given_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURATOR_MACHINE", "studio")
    assert machine() == "studio"
    monkeypatch.setenv("CURATOR_MACHINE", "the studio:/")
    with pytest.raises(BadOption, match="can't name a machine"):
        machine()


def test_beside_the_catalog_stages_find_what_was_uploaded(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    sha256 = lab.add("fox.png", 1)
    lab.pending["files"][0] |= {"path": "laptop:/photos/fox.png", "size_bytes": len(picture(1))}
    lab.commit("made", {sha256: "a fox"})
    catalog = lab.write()
    upload = uploaded(uploads_folder(catalog.path), sha256)
    upload.parent.mkdir(parents=True)
    (tmp_path / "images" / "fox.png").rename(upload)
    assert files_state(catalog, "zoo") == FilesState(files=1)
    made = snapshot(catalog, ["zoo/made@1"], tmp_path / "out")
    assert (made.train, [file.read_bytes() for file in (tmp_path / "out" / "train").glob("*.png")]) == (1, [picture(1)])
    _, inputs = image_inputs(catalog, "zoo", [], [])
    assert inputs["image_path"].to_list() == [str(upload)]
    with pytest.raises(BadOption, match="files beside 1 images aren't on this machine"):
        image_inputs(catalog, "zoo", [], [], original_paths=True)
    upload.unlink()
    assert files_state(catalog, "zoo").missing == ["laptop:/photos/fox.png"]
    lab.close()
