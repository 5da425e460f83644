"""A whole round through a service that holds the catalog: by its socket here, and by its URL with a token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from curator.catalog import Catalog
from curator.cli import main
from curator.server.access_tokens import add
from tests.curator.annotate.live.rounds import Round
from tests.curator.annotate.live.server import Server
from tests.curator.server.serving import Serving

pytestmark = pytest.mark.slow


class Through:
    """A round whose catalog a service holds; commands go `by` its socket or its URL."""

    def __init__(self, round_: Round, by: str) -> None:
        self.round, catalog = round_, round_.folder / "lab.duckdb"
        token = add(round_.catalog, "bo", "write", None, "ana").token
        round_.lab.close()
        self.serving = Serving(catalog, "--require-token")
        self.url = self.serving.facts["url"]
        self.environment = {"LABEL_STUDIO_API_KEY": round_.server.token, "LABEL_STUDIO_URL": round_.server.url}
        self.where = ("--catalog", str(catalog))
        if by == "url":
            self.where, self.environment["CURATOR_TOKEN"] = ("--server", self.url), token
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("CURATOR_TOKEN", token)
                round_.catalog = round_.lab.catalog = Catalog(self.url)
        else:
            round_.reopen()

    def run(self, *words: str, code: int = 0) -> dict[str, Any]:
        """What a command tells as JSON."""
        result = CliRunner().invoke(main, [*words, *self.where, "--json"], env=self.environment)
        assert result.exit_code == code, result.output
        told: dict[str, Any] = json.loads(result.stdout)
        return told


@pytest.fixture(params=["socket", "url"])
def through(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Iterator[Through]:
    made = Through(Round(tmp_path / "lab", server, images=4), request.param)
    yield made
    made.round.close()
    assert made.serving.stop() == 0


def test_pushed_answered_and_pulled(through: Through) -> None:
    round_, images_url = through.round, f"{through.url}/annotators"
    push = ("annotate", "push", "zoo", "--set", "blip", "--to", "human", "--project", round_.title)
    first = through.run(*push, "--images-url", images_url)
    assert (first["sent"], first["tasks"], first["without_preview"]) == (4, 4, {})
    again = through.run(*push)
    assert (again["sent"], again["unchanged"], again["updated"]) == (0, 4, 0)
    for task in round_.tasks().values():
        seen = httpx.get(task["data"]["image"])
        assert (seen.status_code, seen.headers["content-type"]) == (200, "image/jpeg")
    forged = httpx.get(round_.task(0)["data"]["image"].replace("signature=", "signature=0")[:-1])
    assert forged.status_code == 403

    round_.answer(round_.task(0), "a beast, asleep")
    taken = round_.answer(round_.task(1))
    round_.answer(round_.task(2), verdict="reject")
    status = through.run("annotate", "status")
    [project] = [one for one in status["projects"] if one["title"] == round_.title]
    assert (project["to_pull"], project["remarks"]) == (3, [])
    pull = ("annotate", "pull", "--project", round_.title)
    [pulled] = through.run(*pull)["pulled"]
    assert pulled["outcomes"] == {"captioned": 2, "rejected": 1}
    texts = [round_.captions().get(image) for image in round_.images]
    assert texts == ["a beast, asleep", "a beast, number 1", "a beast, number 2", None]
    assert len(round_.catalog.rejected_images("zoo")) == 1
    assert through.run(*pull)["pulled"][0]["new"] == 0
    round_.edit(taken["id"], "a beast, after all")
    through.run(*pull)
    assert round_.captions()[round_.images[1]] == "a beast, after all"
    assert len(round_.revisions(1)) == 2


def test_a_blind_comparison(through: Through) -> None:
    round_ = through.round
    round_.propose("short", {image: f"beast {n}" for n, image in enumerate(round_.images)})
    prefer = ("annotate", "prefer", "zoo", "--sets", "blip@1,short@1", "--images-url", f"{through.url}/annotators")
    first = through.run(*prefer)
    assert (first["images"], first["sent"], first["without_preview"]) == (4, 4, {})
    tasks = [task for page in round_.client.tasks(first["project"], "data") for task in page]
    assert {httpx.get(task["data"]["image"]).status_code for task in tasks} == {200}
    again = through.run(*prefer)
    assert (again["images"], again["sent"], again["notes"]) == (4, 0, [])
