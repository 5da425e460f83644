"""A caption run killed at any moment: what was finished is kept, and the next run does exactly what is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from curator.caption import caption
from curator.catalog import Catalog
from tests.curator.captioners.model.fake import Robot, install
from tests.curator.fill import add_images, sha
from tests.curator.lab import empty_catalog

IMAGES, BATCH = 200, 4
RUN = """
import sys, time, pytest
from curator.cli import main
from tests.curator.captioners.model.fake import Robot, install

class Loud(Robot):
    def generate(self, items, prepared):
        print("writing", file=sys.stderr, flush=True)
        if len(self.written) == 5:
            time.sleep(600)  # until it is killed
        return super().generate(items, prepared)

install(pytest.MonkeyPatch(), Loud(batch_size={batch}))
main(["caption", "zoo", "--strategy", "robot", "--set", "seen", "--json", "--catalog", {path!r}])
"""


def kept(path: Path) -> set[str]:
    with Catalog(path) as catalog:
        return set(catalog.caption_texts("zoo", "seen")["image_sha256"])


def started(path: Path) -> subprocess.Popen[str]:
    """A real run of the command, while it writes its sixth batch."""
    code = RUN.format(batch=BATCH, path=str(path))
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr
    begun = (line for line in process.stderr if line == "writing\n")
    assert len(list(islice(begun, 6))) == 6
    assert process.poll() is None, process.communicate()
    return process


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "lab.duckdb"
    path.write_bytes(empty_catalog())
    with Catalog(path) as catalog:
        add_images(catalog, "zoo", [{}] * IMAGES)
    return path


@pytest.mark.slow
def test_killed_it_loses_a_batch_at_most_and_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = started(path)
    process.kill()
    process.communicate()
    done = kept(path)
    assert 0 < len(done) < IMAGES
    assert len(done) % BATCH == 0
    assert done == {sha(number) for number in range(len(done))}  # in order: nothing before the last batch is missing
    robot = Robot(batch_size=BATCH)
    install(monkeypatch, robot)
    with Catalog(path) as catalog:
        result = caption(catalog, "zoo", "robot", "seen")
    assert (result.unchanged, result.new) == (len(done), IMAGES - len(done))
    assert len(robot.prepared) == IMAGES - len(done)
    assert len(kept(path)) == IMAGES


@pytest.mark.slow
def test_interrupted_it_ends_at_once_with_what_was_finished(path: Path) -> None:
    process = started(path)
    os.kill(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, ""), stderr
    assert '"type": "Interrupted"' in stderr.splitlines()[-1]
    assert 0 < len(kept(path)) < IMAGES
