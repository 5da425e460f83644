"""Pages of snapshots and runs: the lineage graph, and charts of losses."""

from __future__ import annotations

import json
import re

from fastapi.testclient import TestClient

from curator.server.web.charts import chart
from curator.server.web.lineage_graph import lineage_graph
from curator.snapshot import SnapshotResult
from curator.snapshot.recorded import snapshots
from tests.curator.lab import Lab
from tests.curator.server.api.conftest import made
from tests.schemas.test_spec import example

__all__ = ["made"]
HTML = {"Accept": "text/html"}


def test_a_run_beside_the_captions_it_came_from(client: TestClient, made: SnapshotResult) -> None:
    document = example("run")
    document["snapshot"]["identity"], document["captions"] = made.identity, "human"
    key = client.post("/api/v1/runs", content=json.dumps(document)).json()["run"]
    page = client.get("/snapshots", headers=HTML).text
    graph = re.findall(r'<a href="([^"]+)"><rect', page)
    assert graph == [
        "/datasets/zoo", "/sets/zoo/human", "/sets/zoo/template", f"/snapshots/{made.identity}", f"/runs/{key}"
    ]  # fmt: skip
    assert page.count("<path d=") == 2 + 2 + 1
    for address in (f"/runs/{key}", f"/snapshots/{made.identity}"):
        shown = client.get(address, headers=HTML).text
        assert "its samples are not" in shown and document["name"] in shown and "Training loss" in shown
    assert client.get(f"/runs/{'0' * 64}", headers=HTML).status_code == 404


def test_a_snapshot_without_runs_says_how_to_make_one(client: TestClient, made: SnapshotResult) -> None:
    shown = client.get(f"/snapshots/{made.identity}", headers=HTML).text
    address = str(client.base_url).rstrip("/")
    assert f"trainer train {address}/snapshots/{made.identity} --captions {made.tracks[0].name} --base" in shown
    assert f"trainer post runs/{made.tracks[0].name} --to {address}" in shown


def test_boxes_of_the_picture_dont_overlap(lab: Lab, made: SnapshotResult) -> None:
    graph = lineage_graph(snapshots(lab.catalog).snapshots, [])
    places = [(box.x, box.y) for box in graph.boxes]
    assert len(set(places)) == len(places) == 4
    assert all(0 <= box.x <= graph.width - 220 and 0 <= box.y <= graph.height - 50 for box in graph.boxes)


def test_a_chart_places_low_losses_low() -> None:
    graph = chart({"a": [(0, 0.3), (1, 0.2)], "b": [(1, 0.1)]})
    assert graph is not None
    (_, start, _), (_, end, _) = graph.lines[0].dots
    assert start < end < graph.lines[1].dots[0][1]
    assert chart({"a": []}) is None
