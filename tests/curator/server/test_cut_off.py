"""Broken connections: a change is made completely or not at all, and the same command continues from there."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from curator.catalog import Catalog, remote_disk
from curator.cli import main
from curator.images.locations import uploads_folder
from curator.server.access_tokens import add, revoke
from tests.curator.annotate.live.proxy import Fault, Proxy
from tests.curator.lab import new_catalog
from tests.curator.server.serving import PATIENCE_S, Serving

pytestmark = pytest.mark.slow
PICTURES = 60
CAPTION = ("caption", "zoo", "--set", "made", "--strategy", "fixed", "-o", "text=a drawing")


class Far:
    """A service behind a proxy, a token for it, and a local folder of images."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.catalog = folder, folder / "lab.duckdb"
        new_catalog(self.catalog).close()
        (folder / "zoo").mkdir()
        for number in range(PICTURES):
            Image.new("RGB", (64, 48), (number * 4, 9, 200 - number)).save(folder / "zoo" / f"{number:02}.png")
        with Catalog(self.catalog) as catalog:
            self.token = add(catalog, "bo", "write", None, "ana").token
        self.serving = Serving(self.catalog, "--require-token")
        self.proxy = Proxy(self.serving.facts["url"])

    def run(self, *words: str) -> Result:
        environment = {"CURATOR_TOKEN": self.token, "AMATL_CACHE": str(self.folder / "cache")}
        result = CliRunner().invoke(main, [*words, "--server", self.proxy.url], env=environment)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    def ingest(self) -> Result:
        return self.run("ingest", str(self.folder / "zoo"), "--dataset", "zoo")

    def sent(self) -> int:
        """Return the number of images sent, including those that did not arrive."""
        return sum(seen.startswith("PUT /uploads/") for seen in self.proxy.seen)

    def swept(self, count: int) -> None:
        """Wait until the service has dropped the partial image and stores this many complete ones."""
        ends = time.monotonic() + PATIENCE_S
        while len(self.kept()) != count:
            assert time.monotonic() < ends, self.kept()
            time.sleep(0.05)

    def kept(self) -> list[Path]:
        """Return the uploaded files, including partial ones."""
        return [file for file in uploads_folder(self.catalog).rglob("*") if file.is_file()]


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Far]:
    monkeypatch.setattr(remote_disk, "WAITS_SECONDS", (0.05, 0.05))
    made = Far(tmp_path)
    with made.proxy:
        yield made
    assert made.serving.stop() == 0


def test_an_ingest_that_was_cut_off_goes_on_with_the_picture_it_was_at(far: Far) -> None:
    far.proxy.fail("lost", "PUT", "/uploads/", times=1)
    far.proxy.fail("drop", "POST", "/uploads/lacking", times=1)
    assert far.ingest().exit_code == 0 and len(far.kept()) == PICTURES
    assert far.sent() == PICTURES + 1

    more = [far.folder / "zoo" / f"more-{number}.png" for number in range(12)]
    for number, path in enumerate(more):
        Image.new("RGB", (64, 48), (255, 255, number)).save(path)
    far.proxy.fail("half", "PUT", "/uploads/", times=100)
    cut = far.ingest()
    assert cut.exit_code == 1 and "the connection broke" in cut.stderr, cut.output
    far.proxy.faults.clear()
    far.swept(PICTURES)
    with Catalog(far.catalog) as catalog:
        assert catalog.dataset_counts("zoo")["images"] == PICTURES
    before = far.sent()
    assert far.ingest().exit_code == 0
    assert (far.sent() - before, len(far.kept())) == (12, PICTURES + 12)
    with Catalog(far.catalog) as catalog:
        assert catalog.dataset_counts("zoo")["images"] == PICTURES + 12


@pytest.mark.parametrize(("kind", "made"), [("half", 0), ("lost", PICTURES)])
def test_rows_are_written_once(far: Far, kind: str, made: int) -> None:
    far.proxy.fail(kind, "POST", "/catalog/add_files")
    cut = far.ingest()
    assert cut.exit_code == 1 and "isn't known" in cut.stderr, cut.output
    assert far.proxy.seen.count("POST /catalog/add_files") == 1
    with Catalog(far.catalog) as catalog:
        assert catalog.files_on_record("zoo").height == made
    again = json.loads(far.run("ingest", str(far.folder / "zoo"), "--dataset", "zoo", "--json").stdout)
    assert (again["unchanged"], again["added"], again["images"]) == (made, PICTURES - made, PICTURES)


def test_an_interrupt_keeps_what_arrived(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    from curator.ingest.sending import Sending

    land, calls = Sending._land, iter(range(PICTURES))

    def interrupted(self: Sending) -> None:
        land(self)
        if next(calls) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(Sending, "_land", interrupted)
    ended = far.ingest()
    assert ended.exit_code == 130 and "goes on from there" in ended.stderr, ended.output
    monkeypatch.setattr(Sending, "_land", land)
    with Catalog(far.catalog) as catalog:
        noted = catalog.dataset_counts("zoo")["images"]
    assert 0 < noted <= len(far.kept()) < PICTURES
    arrived, before = len(far.kept()), far.sent()
    assert far.ingest().exit_code == 0
    assert (far.sent() - before, len(far.kept())) == (PICTURES - arrived, PICTURES)


def test_a_token_that_ends_meanwhile_ends_the_ingest_and_a_new_one_goes_on(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault, lock, revoked = far.proxy.fault, threading.Lock(), list[int]()

    def revoking(method: str, path: str) -> Fault | None:
        """Interrupt at the ninth image: four are sent at a time, so some have arrived by then."""
        found = fault(method, path)
        with lock:
            if far.sent() > 8 and not revoked:
                with Catalog(far.catalog) as catalog:
                    revoked.append(revoke(catalog, 1, "ana").token.id)
        return found

    monkeypatch.setattr(far.proxy, "fault", revoking)
    ended = far.ingest()
    assert ended.exit_code == 1 and "wants a token that holds" in ended.stderr, ended.output
    arrived = len(far.kept())
    assert 0 < arrived < PICTURES
    with Catalog(far.catalog) as catalog:
        far.token = add(catalog, "bo", "write", None, "ana").token
    before = far.sent()
    assert far.ingest().exit_code == 0
    assert far.sent() - before == PICTURES - arrived
    with Catalog(far.catalog) as catalog:
        assert catalog.dataset_counts("zoo")["images"] == PICTURES


@pytest.mark.parametrize(("kind", "made"), [("half", 0), ("drop", 0), ("lost", PICTURES)])
def test_a_change_is_made_whole_or_not_and_never_twice(far: Far, kind: str, made: int) -> None:
    assert far.ingest().exit_code == 0
    far.proxy.fail(kind, "POST", "/catalog/add_captions")
    cut = far.run(*CAPTION)
    assert cut.exit_code == 1 and "Whether the last change was made isn't known" in cut.stderr, cut.output
    with Catalog(far.catalog) as catalog:
        assert catalog.current_captions("zoo", "made").height == made
    again = json.loads(far.run(*CAPTION, "--json").stdout)
    assert again["unchanged"] == made
    with Catalog(far.catalog) as catalog:
        image = catalog.images_of_dataset("zoo")["image_sha256"][0]
        assert catalog.current_captions("zoo", "made").height == PICTURES
        assert catalog.image_history(image).height == 1

    far.proxy.fail(kind, "POST", "/catalog/add_version")
    assert far.run("commit", "zoo/made", "-m", "first").exit_code == 1
    assert far.run("commit", "zoo/made", "-m", "first").exit_code == 0
    with Catalog(far.catalog) as catalog:
        assert catalog.versions().height == 1


def test_pictures_are_asked_for_again(far: Far) -> None:
    assert far.ingest().exit_code == 0
    assert far.run(*CAPTION).exit_code == 0
    assert far.run("commit", "zoo/made", "-m", "first").exit_code == 0
    far.proxy.fail("lost", "GET", "/images/", times=3)
    snapshot = far.run("snapshot", "made@1", "--out", str(far.folder / "out"))
    assert snapshot.exit_code == 0, snapshot.output
    far.proxy.fail("drop", "GET", "/images/", times=1000)
    assert far.run("snapshot", "made@1", "--out", str(far.folder / "again")).exit_code == 0
    for file in (far.folder / "cache").rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")
    cut = far.run("snapshot", "made@1", "--out", str(far.folder / "third"))
    assert cut.exit_code == 1 and "the connection broke" in cut.stderr
    assert not (far.folder / "third").exists() and not list(far.folder.glob(".third*"))
