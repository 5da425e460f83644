"""Fixtures: a real Label Studio shared by the session, or one's own; a project with the labeling page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from curator.annotate.label_studio.labeling_page import instructions, labeling_config
from tests.curator.annotate.live.server import Server, template

MakeServer = Callable[..., Server]
MakeProject = Callable[..., int]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the server."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.label_studio)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of the session. Share it: use projects of your own, never stop it."""
    shared = Server(tmp_path_factory.mktemp("label-studio") / "data", template()).start()
    yield shared
    shared.stop()


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[MakeServer]:
    """`make_server()`: one's own, to stop, break and start again; keywords are environment variables. ~8 s each."""
    made: list[Server] = []

    def make(**environment: str) -> Server:
        made.append(Server(tmp_path / f"label-studio-{len(made)}", template()))
        return made[-1].start(**environment)

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def make_project(server: Server) -> Iterator[MakeProject]:
    """`make_project(title="...", label_config=...)`: the id of a project with the labeling page; deleted after."""
    made: list[int] = []

    def make(**fields: Any) -> int:
        page = {"title": "zoo", "label_config": labeling_config(), "expert_instruction": instructions()}
        made.append(server.api("POST", "/api/projects", page | fields)["id"])
        return made[-1]

    yield make
    for project in made:
        server.request("DELETE", f"/api/projects/{project}")
