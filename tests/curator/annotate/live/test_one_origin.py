"""docker/'s proxy before a real service and a real Label Studio: one origin, both work, pictures are seen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.curator.annotate.live.browser import CHROMIUM, QUIET, Annotator
from tests.curator.annotate.live.conftest import MakeServer
from tests.curator.annotate.live.server import OWNER, Server, free_port
from tests.curator.lab import Lab
from tests.curator.server.serving import Serving

pytestmark = pytest.mark.browser
CADDYFILE = Path(__file__).parents[4] / "docker" / "Caddyfile"
PATIENCE_S = 30


class Origin:
    """The proxy, the service and Label Studio, told what compose.yaml tells them."""

    def __init__(self, folder: Path, make_server: MakeServer) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        lab = Lab(folder)
        image = lab.add("fox.png", 200, {"title": "fox"}, size=(640, 480))
        lab.commit("blip", {image: "a fox in the snow"})
        lab.close()
        self.catalog = folder / "lab.duckdb"
        self.token = self.curator("token", "add", "ana", "--scope", "write")["token"]
        own = make_server(LABEL_STUDIO_HOST=f"{self.url}/label-studio", LABEL_STUDIO_CSRF_TRUSTED_ORIGINS=self.url)
        port = free_port()
        self.serving = Serving(self.catalog, "--host", "0.0.0.0", "--port", str(port), "--public-url", self.url)
        told = {
            "AMATL_ADDRESS": self.url,
            "CURATOR": f"127.0.0.1:{port}",
            "LABEL_STUDIO": f"127.0.0.1:{own.port}",
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
        }
        command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(CADDYFILE)]
        self.proxy = subprocess.Popen(command, env=told, stderr=subprocess.DEVNULL)
        self._wait()
        self.label_studio = Server.__new__(Server)  # The same one, as people reach it.
        self.label_studio.url, self.label_studio.token = f"{self.url}/label-studio", own.token

    def curator(self, *words: str) -> Any:
        """What a command answers that runs where the service does."""
        environment = os.environ | {
            "LABEL_STUDIO_URL": f"{self.url}/label-studio",
            "LABEL_STUDIO_API_KEY": OWNER.token,
            "CURATOR_IMAGES_URL": f"{self.url}/annotators",
        }
        command = [sys.executable, "-m", "curator", *words, "--catalog", str(self.catalog), "--json"]
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    def stop(self) -> None:
        """Ends the proxy and the service."""
        self.proxy.terminate()
        self.proxy.wait(PATIENCE_S)
        assert self.serving.stop() == 0

    def _wait(self) -> None:
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            try:
                httpx.get(f"{self.url}/readyz").raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(0.1)
        raise AssertionError("the proxy doesn't answer")


@pytest.fixture
def origin(tmp_path: Path, make_server: MakeServer) -> Iterator[Origin]:
    if not shutil.which("caddy"):
        pytest.skip("caddy isn't installed")
    made = Origin(tmp_path, make_server)
    yield made
    made.stop()


def test_a_round_of_annotation_behind_one_origin(origin: Origin) -> None:
    from playwright.sync_api import sync_playwright

    pushed = origin.curator("annotate", "push", "zoo", "--set", "blip", "--to", "human")
    (told,) = origin.curator("annotate", "status", "zoo")["projects"]
    assert [remark for remark in told["remarks"] if remark["level"] == "problem"] == []
    project = int(pushed["project_url"].split("/projects/")[1].split("/")[0])
    assert pushed["project_url"].startswith(f"{origin.url}/label-studio/")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=QUIET)
        person = Annotator(chromium, origin.label_studio, OWNER.email, OWNER.password, (1440, 900))
        wrong: list[str] = []
        asked: set[str] = set()
        person.page.on("response", lambda answer: wrong.append(answer.url) if answer.status >= 400 else None)
        person.page.on("request", lambda request: asked.add(request.url))
        person.open(project)
        person.wait_for_caption("a fox in the snow")
        assert person.picture_is_shown()
        person.screenshot("one-origin")
        person.write(", looking back")
        with person.page.expect_response(lambda answer: "/annotations" in answer.url and answer.status == 201):
            person.press("Tab", "2", "Control+Enter")
        assert set(wrong) <= {f"{origin.url}/sw.js"}  # of a worker that it does without
        assert {url for url in asked if url.startswith("http") and not url.startswith(f"{origin.url}/")} == set()

        person.page.goto(origin.url)
        person.page.fill("input[type=password]", origin.token)
        person.page.keyboard.press("Enter")
        person.page.get_by_role("link", name="zoo").first.wait_for()
        person.page.wait_for_load_state("networkidle")
        person.screenshot("one-origin-curator")
        chromium.close()
    (pulled,) = origin.curator("annotate", "pull", "zoo")["pulled"]
    assert pulled["new"] == 1
    revisions = origin.curator("history", "fox.png")["revisions"]
    assert [one["text"] for one in revisions if one["set_name"] == "human"] == ["a fox in the snow, looking back"]
