"""`curator moved`: a folder of images is elsewhere on disk, and nothing else changes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from curator.cli import main
from curator.datasets.doctor import doctor
from curator.ingest.moved import moved
from schemas.errors import BadOption, NotFound
from tests.curator.images.pictures import put
from tests.curator.ingest.conftest import Lab


@pytest.fixture
def zoo(lab: Lab) -> Lab:
    """Three images in two folders, a table and a reject."""
    for number, name in enumerate(("b.png", "a.png", "deep/c.png")):
        put(lab.pictures / name, seed=number)
    (lab.pictures / "metadata.csv").write_text("file_name,title\na.png,fox\nb.png,owl\ndeep/c.png,hen\n")
    (lab.pictures / "broken.png").write_bytes(b"\x89PNG")
    lab.ingest()
    return lab


def moved_to(lab: Lab, name: str) -> Path:
    new = lab.pictures.with_name(name)
    lab.pictures.rename(new)
    return new


def test_paths_are_renamed_and_nothing_is_read_again(zoo: Lab) -> None:
    before, metadata, rejects = zoo.images(), zoo.metadata(), list(zoo.rejects().values())
    old, new = zoo.pictures, moved_to(zoo, "elsewhere")
    result = moved(zoo.catalog, old, new, "ana")
    assert result.datasets == {"zoo": 3}
    assert zoo.images()["image_sha256"].to_list() == before["image_sha256"].to_list()
    assert all(path.startswith(f"{new}/") for path in zoo.images()["path"])
    assert zoo.metadata() == metadata
    zoo.pictures = new
    assert list(zoo.rejects().values()) == rejects
    assert all(finding.level == "note" for finding in doctor(zoo.catalog).findings)
    again = zoo.ingest()
    assert (again.read, again.unchanged, again.gone, again.corrected) == (0, 3, 0, 0)


def test_a_folder_is_renamed_at_once_or_not_at_all(zoo: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curator.ingest.store.FILES_A_CHUNK", 1)
    written: list[int] = []
    add = zoo.catalog.add_files
    monkeypatch.setattr(zoo.catalog, "add_files", lambda *given, **more: (written.append(1), add(*given, **more)))
    old, new = zoo.pictures, moved_to(zoo, "elsewhere")
    assert moved(zoo.catalog, old, new, "ana").datasets == {"zoo": 3}
    assert written == [1]


def test_only_a_part_of_a_folder_may_move(zoo: Lab) -> None:
    new = zoo.pictures / "deeper"
    (zoo.pictures / "deep").rename(new)
    assert moved(zoo.catalog, zoo.pictures / "deep", new, "ana").datasets == {"zoo": 1}
    assert str(new / "c.png") in zoo.images()["path"].to_list()


def test_a_folder_may_move_into_itself(zoo: Lab) -> None:
    """The new path of one image is the old path of another."""
    (zoo.pictures / "deep" / "c.png").rename(zoo.pictures / "a.png.aside")
    old, aside = zoo.pictures, moved_to(zoo, "aside")
    (aside / "a.png.aside").rename(aside / "deep" / "c.png")
    old.mkdir()
    aside.rename(old / "deep")
    before = dict(zoo.images().select("image_sha256", "file_name").iter_rows())
    assert moved(zoo.catalog, old, old / "deep", "ana").datasets == {"zoo": 3}
    assert dict(zoo.images().select("image_sha256", "file_name").iter_rows()) == before
    assert sorted(zoo.images()["path"]) == sorted(str(path) for path in (old / "deep").rglob("[abc].png"))


def test_a_copy_with_other_times_is_compared_by_sha256(zoo: Lab) -> None:
    old, new = zoo.pictures, moved_to(zoo, "elsewhere")
    os.utime(new / "a.png", ns=(1, 1))
    assert moved(zoo.catalog, old, new, "ana").datasets == {"zoo": 3}


def test_what_is_missing_or_another_image_changes_nothing(zoo: Lab, tmp_path: Path) -> None:
    before = zoo.images()["path"].to_list()
    old, new = zoo.pictures, moved_to(zoo, "elsewhere")
    put(new / "a.png", seed=9)
    os.utime(new / "a.png", ns=(1, 1))
    with pytest.raises(BadOption, match=r"1 of 3 images aren't there or are others \(.*a\.png is one\)"):
        moved(zoo.catalog, old, new, "ana")
    shutil.rmtree(new / "deep")
    with pytest.raises(BadOption, match="2 of 3 images"):
        moved(zoo.catalog, old, new, "ana")
    with pytest.raises(NotFound, match="there is no such folder"):
        moved(zoo.catalog, old, tmp_path / "nowhere", "ana")
    with pytest.raises(BadOption, match="OLD and NEW are the same folder"):
        moved(zoo.catalog, new, new, "ana")
    with pytest.raises(NotFound, match="the catalog has no image below this folder"):
        moved(zoo.catalog, tmp_path / "other", new, "ana")
    assert zoo.images()["path"].to_list() == before


def test_doctor_names_the_command_and_it_runs(zoo: Lab) -> None:
    old, new = zoo.pictures, moved_to(zoo, "elsewhere")
    (finding,) = [found for found in doctor(zoo.catalog).findings if found.code == "missing-files"]
    assert finding.mend == f"curator moved {old} NEW  (NEW is where the folder is now)"
    path = zoo.catalog.path
    zoo.catalog.close()
    result = CliRunner().invoke(main, ["moved", str(old), str(new), "--catalog", str(path)])
    assert result.exit_code == 0, result.output
    assert "zoo: 3 paths" in result.stdout
