"""The real server that the tests stand on: people, projects, restarts."""

from __future__ import annotations

import urllib.error

import pytest

from curator.annotate.label_studio.labeling_page import prediction, read_annotation, task_data
from tests.curator.annotate.live.conftest import MakeProject, MakeServer
from tests.curator.annotate.live.server import Server


def test_people_sign_up_by_the_link_and_work_by_their_token(server: Server, make_project: MakeProject) -> None:
    ann = server.add_annotator("ann@example.org")
    project = make_project()
    data = task_data("http://127.0.0.1:9/x.jpg", "0" * 64, "zoo", "fox.png", {"title": "fox"}, {"blip": "a fox"})
    task = {"data": data, "predictions": [prediction("a fox", "zoo/template@1")]}
    (task_id,) = server.api("POST", f"/api/projects/{project}/import?return_task_ids=true", [task])["task_ids"]
    (proposed,) = server.api("GET", f"/api/predictions?task={task_id}")
    assert proposed["model_version"] == "zoo/template@1"
    answer = {"result": proposed["result"], "parent_prediction": proposed["id"], "lead_time": 3.5}
    server.api("POST", f"/api/tasks/{task_id}/annotations/", answer, token=ann.token)
    (annotation,) = server.api("GET", f"/api/tasks/{task_id}")["annotations"]
    read = read_annotation(annotation)
    assert (read.text, read.person, annotation["parent_prediction"]) == ("a fox", ann.id, proposed["id"])


def test_sign_up_needs_the_link(server: Server) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        server.sign_up("/user/signup/", "stranger@example.org", "stranger-password-1")


def test_stopped_and_started_again_it_has_its_data(make_server: MakeServer) -> None:
    server = make_server()
    project = server.api("POST", "/api/projects", {"title": "kept"})["id"]
    server.stop()
    assert server.process and not server.process.running
    assert server.start().api("GET", f"/api/projects/{project}")["title"] == "kept"
