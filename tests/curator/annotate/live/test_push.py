"""Push against a real Label Studio: every image once, whatever happened before; people's work is never touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curator.annotate.label_studio.client import LabelStudio
from curator.annotate.label_studio.http import TokenRefused
from curator.annotate.label_studio.labeling_page import instructions, labeling_config
from curator.annotate.label_studio.project import MARK, config_sha256
from curator.annotate.previews.make import preview_folder
from curator.annotate.push import send
from tests.curator.annotate.live.rounds import IMAGES_URL, Round
from tests.curator.annotate.live.server import Server


@pytest.fixture
def round_(tmp_path: Path, server: Server) -> Iterator[Round]:
    made = Round(tmp_path / "lab", server)
    yield made
    made.close()


def texts(task: dict[str, Any]) -> dict[str, str]:
    return {found["model_version"]: found["result"][0]["value"]["text"][0] for found in task["predictions"]}


def test_every_image_is_there_once_with_its_caption(round_: Round) -> None:
    result = round_.push()
    assert (result.sent, result.tasks, result.made_project) == (6, 6, True)
    there = round_.tasks()
    assert list(there) == round_.images
    task = there[round_.images[3]]
    assert texts(task) == {"zoo/blip@1": "a beast, number 3"}
    assert task["data"]["image"].startswith(f"{IMAGES_URL}/previews/{round_.images[3]}.jpg?expires=")
    assert str(round_.folder) not in str(there)
    project = round_.client.project(round_.number)
    assert config_sha256(project.label_config) == config_sha256(labeling_config()) and project.show_instruction
    assert project.model_version == "zoo/blip@1"


def test_again_nothing_happens(round_: Round) -> None:
    first, again = round_.push(), round_.push()
    assert (again.sent, again.replaced, again.updated, again.unchanged) == (0, 0, 0, 6)
    assert again.project == first.project and not again.made_project
    assert len(round_.tasks()) == 6


def test_a_new_version_and_new_images_update_the_project_and_leave_work_alone(round_: Round) -> None:
    round_.push(limit=4)
    made = round_.answer(round_.task(0), "mine", "fixed")
    round_.propose("blip", {image: f"better {n}" for n, image in enumerate(round_.images)})
    result = round_.push(limit=6)
    assert (result.sent, result.replaced) == (2, 4)
    there = round_.tasks()
    assert {image: texts(task)["zoo/blip@2"] for image, task in there.items()} == {
        image: f"better {n}" for n, image in enumerate(round_.images)
    }
    assert round_.client.project(round_.number).model_version == "zoo/blip@2"
    kept = round_.server.api("GET", f"/api/annotations/{made['id']}/")
    assert kept["result"] == made["result"] and kept["parent_prediction"] == made["parent_prediction"]


def test_a_page_that_was_open_can_still_be_submitted_after_a_push(round_: Round) -> None:
    round_.push()
    open_page = round_.task(2)
    round_.propose("blip", dict.fromkeys(round_.images, "another"))
    round_.push()
    round_.answer(open_page)
    round_.pull()
    [row] = round_.revisions(2)
    proposed = round_.catalog.caption_texts("zoo", "blip", 6)
    assert row["text"] == "a beast, number 2" and row["parent_id"] in proposed["caption_id"].to_list()


def test_the_choice_of_images_is_remembered(round_: Round) -> None:
    round_.push(condition="legs = 1")
    assert round_.push().images == 2
    other = round_.push(limit=5)  # the first five: the sixth stays, though it isn't chosen any more
    assert (other.images, other.sent, other.kept, other.tasks) == (5, 4, 1, 6)


def test_other_sets_captions_and_metadata_are_shown_and_renewed(round_: Round) -> None:
    round_.push()
    round_.propose("template", dict.fromkeys(round_.images[:2], "a thing"))
    result = round_.push()
    assert (result.updated, result.unchanged) == (2, 4)
    data = round_.task(1)["data"]
    assert data["captions"] == {"template": "a thing"} and data["metadata"] == {"legs": "1"}
    assert round_.push().unchanged == 6


def test_addresses_that_end_soon_are_renewed(round_: Round) -> None:
    round_.push(days=1)
    before = round_.task(0)["data"]["image"]
    result = round_.push(days=90)
    assert result.updated == 6 and round_.task(0)["data"]["image"] != before
    assert round_.push(days=90).updated == 0


def test_tasks_sent_but_never_noted_are_found_again(round_: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send, "BATCH", 2)
    write = send.Ledger.write
    calls: list[Any] = []

    def dies(self: send.Ledger, tasks: Any) -> None:
        calls.extend(tasks := list(tasks))
        if len(calls) == 4:
            raise KeyboardInterrupt
        write(self, tasks)

    monkeypatch.setattr(send.Ledger, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        round_.push()
    monkeypatch.setattr(send.Ledger, "write", write)
    assert not round_.record["done"] and len(round_.tasks()) == 4
    result = round_.push()
    assert (result.found_again, result.sent, result.tasks) == (2, 2, 6)
    assert len(round_.tasks()) == 6 and round_.record["done"]


def test_a_project_made_but_never_noted_is_found_again(round_: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    create = LabelStudio.create_project

    def dies(self: LabelStudio, settings: Any) -> int:
        create(self, settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(LabelStudio, "create_project", dies)
    with pytest.raises(KeyboardInterrupt):
        round_.push()
    monkeypatch.setattr(LabelStudio, "create_project", create)
    assert not round_.push().made_project
    assert len(round_.client.projects_titled(round_.title)) == 1


def test_killed_half_way_and_run_again(round_: Round, tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from curator.annotate.push import send\n"
        "from curator.annotate.label_studio.client import LabelStudio\n"
        "send.BATCH = 2\n"
        "take = LabelStudio.import_tasks\n"
        "sent = []\n"
        "def dies(self, project, tasks):\n"
        "    ids = take(self, project, tasks)\n"
        "    sent.append(1)\n"
        "    if len(sent) == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return ids\n"
        "LabelStudio.import_tasks = dies\n"
        "from curator.cli import main\n"
        "main()\n"
    )
    round_.catalog.close()
    command = ["annotate", "push", "zoo", "--set", "blip", "--to", "human", "--url", round_.server.url]
    command += ["--images-url", IMAGES_URL, "--project", round_.title, "--catalog", str(round_.folder / "lab.duckdb")]
    environment = os.environ | {"LABEL_STUDIO_API_KEY": round_.server.token}
    killed = subprocess.run([sys.executable, "-c", program, *command], env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    again = subprocess.run([sys.executable, "-m", "curator", *command], env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "sent already by an interrupted push" in again.stdout
    assert round_.server.token not in again.stdout + again.stderr
    round_.reopen()
    assert list(round_.tasks()) == round_.images


def test_doubles_go_but_never_work(round_: Round) -> None:
    round_.push()
    tasks = round_.tasks()
    for place in (0, 1, 2):
        task = tasks[round_.images[place]]
        again = {
            "data": task["data"],
            "predictions": [{"model_version": "zoo/blip@1", "result": task["predictions"][0]["result"]}],
        }
        [double] = round_.client.import_tasks(round_.number, [again])
        if place == 1:
            round_.answer({"id": double, "predictions": task["predictions"]}, "on the double", parent_prediction=None)
        if place == 2:
            round_.answer(task, "on the first")
            round_.answer({"id": double, "predictions": task["predictions"]}, "on the second", parent_prediction=None)
    result = round_.push()
    assert (result.doubles_removed, result.doubles_kept, result.tasks) == (2, 1, 7)
    round_.pull()
    assert [round_.captions().get(image) for image in round_.images[:3]] == [None, "on the double", "on the second"]


def test_a_task_deleted_there_is_sent_again_unless_it_was_answered(round_: Round) -> None:
    round_.push()
    first, second = round_.task(0), round_.task(1)
    round_.answer(first, "kept")
    round_.pull()
    round_.client.delete_tasks(round_.number, [first["id"], second["id"]])
    result = round_.push()
    assert (result.deleted_there, result.sent, result.already_answered) == (2, 1, 1)
    assert set(round_.tasks()) == set(round_.images[1:])
    assert round_.captions() == {round_.images[0]: "kept"}


def test_a_project_deleted_there_is_made_anew_and_nothing_pulled_is_lost(round_: Round) -> None:
    old = round_.push().project
    round_.answer(round_.task(0), "kept")
    round_.pull()
    round_.server.api("DELETE", f"/api/projects/{old}/")
    result = round_.push()
    assert result.made_project and result.project != old and "gone" in result.notes[0]
    assert (result.sent, result.already_answered) == (5, 1)
    assert round_.captions() == {round_.images[0]: "kept"}
    round_.answer(round_.task(1), "new work")
    round_.pull()
    assert round_.captions() == {round_.images[0]: "kept", round_.images[1]: "new work"}


def test_what_was_changed_by_hand_is_put_back(round_: Round) -> None:
    round_.push()
    mine = '<View><Image name="image" value="$image"/><TextArea name="words" toName="image"/></View>'
    hidden = {"label_config": mine, "show_collab_predictions": False, "description": "mine", "expert_instruction": ""}
    round_.client.update_project(round_.number, hidden)
    result = round_.push()
    assert result.project == round_.number and "put back" in result.notes[0]
    project = round_.client.project(round_.number)
    assert config_sha256(project.label_config) == config_sha256(labeling_config()) and project.show_collab_predictions
    assert MARK in project.description and project.description.startswith("mine")
    assert project.expert_instruction == instructions()


def test_tasks_of_others_in_our_project_are_left_alone(round_: Round) -> None:
    round_.push()
    round_.client.import_tasks(round_.number, [{"data": round_.task(0)["data"] | {"dataset": "other"}}])
    result = round_.push()
    assert (result.strangers, result.sent) == (1, 0)
    assert round_.client.totals(round_.number)["total"] == 7


def test_an_image_that_cannot_be_shown_is_left_out_with_its_reason(round_: Round) -> None:
    (round_.folder / "images" / "00002.png").unlink()
    result = round_.push()
    assert (result.sent, sum(result.without_preview.values())) == (5, 1)
    assert "00002.png" in next(iter(result.without_preview))


def test_previews_that_were_removed_are_made_again(round_: Round) -> None:
    """The image server tells annotators to ask for a push: it helps, though nothing has to be sent."""
    round_.push()
    previews = preview_folder(round_.catalog.path)
    for made in previews.glob("*/*.jpg"):
        made.unlink()
    result = round_.push()
    assert (result.unchanged, result.sent, result.updated) == (6, 0, 0)
    assert len(list(previews.glob("*/*.jpg"))) == 6


def test_several_people_can_be_asked(round_: Round) -> None:
    round_.push(annotators=2)
    assert round_.client.project(round_.number).maximum_annotations == 2


@pytest.mark.parametrize("token", ["0" * 40, "e30.e30.e30"])
def test_a_wrong_token_is_one_line_without_the_token(round_: Round, token: str) -> None:
    with LabelStudio(round_.server.url, token) as client, pytest.raises(TokenRefused) as refused:
        round_.push(client=client)
    assert "LABEL_STUDIO_API_KEY" in str(refused.value) and token not in str(refused.value)


def test_a_personal_access_token_works_too(round_: Round) -> None:
    personal = round_.server.api("POST", "/api/token/", {})["token"]
    with LabelStudio(round_.server.url, personal) as client:
        assert round_.push(client=client).sent == 6
        token: Any = client._http.auth
        assert token.access[0] != personal
        token.access = ("e30.e30.e30", float("inf"))  # ended early: another clock, another secret
        assert round_.push(client=client).unchanged == 6
        assert token.access[0] != "e30.e30.e30"
