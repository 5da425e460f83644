"""Fixtures of the pages: a service with images, captions and runs, and a browser."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from curator.cli import main
from curator.runs import receive_picture, receive_record
from curator.server import Settings, create_app
from curator.snapshot import Holdout, snapshot
from tests.curator.lab import Lab, picture
from tests.curator.server.conftest import app, catalog, client, lab, make_client, settings
from tests.schemas.test_spec import example

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["app", "catalog", "client", "lab", "make_client", "settings"]


WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


IMAGES = 300


PATIENCE_MS = 60_000


# What is said stays: a machine that is busy elsewhere may look for it late.
LASTING = "const short = setTimeout; window.setTimeout = (done, ms) => short(done, ms >= 6000 ? 600_000 : ms);"


class Service:
    """A service with its own catalog and port."""

    def __init__(self, lab: Lab) -> None:
        import uvicorn

        self.lab = lab
        app = create_app(lab.write(), Settings(lab.catalog.path), main)
        self.server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="on"))
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        self.address = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.lab.catalog.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    lab = Lab(tmp_path_factory.mktemp("pages"))
    images = [
        lab.add(f"{number:03}.png", number, {"title": f"animal {number}"}, size=(40, 30)) for number in range(IMAGES)
    ]
    lab.add("again.png", 999, near=images[0])
    lab.commit("template", {image: f"a drawing of animal {number}" for number, image in enumerate(images)}, "template")
    lab.commit(
        "human", {image: f"an animal in the snow, {number}" for number, image in enumerate(images[:50])}, "human"
    )
    made = snapshot(lab.write(), ["human@1", "template@1"], lab.folder / "snapshot", holdout=Holdout(count=5))
    running = Service(lab)
    for name in ("human", "template"):
        report_run(running, made.identity, name)
    yield running
    running.stop()


def report_run(service: Service, identity: str, name: str) -> None:
    """Report a run with sample grids at epochs 0 and 1: two prompts, one seed."""
    document = example("run")
    document["name"] = document["captions"] = name
    document["snapshot"]["identity"] = identity
    document["references"] = None
    document["checkpoints"] = document["checkpoints"][:2]
    contents = []
    for place, checkpoint in enumerate(document["checkpoints"]):
        contents.append(picture(100 + place, size=(64, 128)))
        file = {"path": f"grids/{place}.png", "sha256": sha256(contents[-1]).hexdigest()}
        file["size_bytes"] = len(contents[-1])
        checkpoint["epoch"], checkpoint["grid"] = place, {"file": file, "rows": 2, "columns": 1, "tile_px": 64}
    pictures = service.lab.catalog.path.with_name("lab.duckdb.service") / "runs"
    receipt = receive_record(service.lab.catalog, json.dumps(document).encode(), "ana", pictures)
    for content in contents:
        receive_picture(service.lab.catalog, receipt.digest, sha256(content).hexdigest(), content, pictures)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found, "the browser tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    """Yield a page; fail on script errors and content-policy violations.

    Chromium also reports a refused change (412) as an error; that one is allowed.
    """
    context = browser.new_context(base_url=service.address, viewport=WIDE)  # type: ignore[arg-type]
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    opened.add_init_script(LASTING)
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    yield opened
    context.close()
    assert [one for one in complaints if "412" not in one] == []


def said(page: Page, text: str) -> None:
    page.wait_for_function("text => document.getElementById('said').textContent.startsWith(text)", arg=text)
