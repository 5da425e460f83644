"""What a dataset's page counts is what a commit counts, also where images are gone."""

from __future__ import annotations

from pathlib import Path

from curator.caption import caption
from curator.caption_sets.versions import commit, versions
from curator.cli.text.captions import text_of_commit
from curator.datasets import dataset_health
from curator.ingest import ingest
from tests.curator.lab import new_catalog, picture


def test_captions_of_images_that_are_gone_count_the_same_everywhere(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(picture(number))
    with new_catalog(tmp_path / "lab.duckdb") as catalog:
        ingest(catalog, folder, "zoo", person="me")
        caption(catalog, "zoo", "fixed", "t", {"text": "a picture"})
        (folder / "0.png").unlink()
        (folder / "3.png").write_bytes(picture(3))
        ingest(catalog, folder, "zoo", person="me")
        health = dataset_health(catalog, "zoo")
        (found,) = health.sets
        made = commit(catalog, "t", "all")
        (line,) = versions(catalog, "t").sets
        assert (found.captions, found.without_image, found.missing, health.images) == (3, 1, 1, 3)
        assert (made.captions, made.without_image) == (line.captions, 1) == (3, 1)
        assert "3 captions, 1 for images that are gone  (3 added" in text_of_commit(made)
        (folder / "0.png").write_bytes(picture(0))
        ingest(catalog, folder, "zoo", person="me")
        (found,) = dataset_health(catalog, "zoo").sets
        assert (found.captions, found.without_image, found.missing) == (3, 0, 1)
        assert commit(catalog, "t", "again").without_image == 0
