"""Pull against a real Label Studio: every revision arrives once, attributed; each kind of answer has its outcome."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curator.annotate.label_studio import client as client_module
from curator.annotate.label_studio.client import LabelStudio
from curator.annotate.label_studio.http import LabelStudioFailed
from curator.annotate.label_studio.project import ProjectGone
from curator.annotate.pull.record import Recorder
from curator.caption_sets.acceptance import acceptance, agreement
from curator.caption_sets.reference import resolve
from curator.caption_sets.versions import commit
from curator.cli.text.annotate import text_of_pull
from curator.snapshot import NothingToExport, snapshot
from tests.curator.annotate.live.rounds import Round
from tests.curator.annotate.live.server import Annotator, Server


@pytest.fixture(scope="module")
def ben(server: Server) -> Annotator:
    """A second person."""
    return server.add_annotator("ben@example.org")


@pytest.fixture
def round_(tmp_path: Path, server: Server) -> Iterator[Round]:
    made = Round(tmp_path / "lab", server)
    made.push()
    yield made
    made.close()


def test_what_people_do_arrives_with_all_that_is_known_of_it(round_: Round, ben: Annotator) -> None:
    tasks = round_.tasks()
    one, two, three = (tasks[image] for image in round_.images[:3])
    round_.answer(one)
    round_.answer(two, "a cat, asleep", "fixed", ben.token)
    round_.answer(three, "a dog", "fixed", parent_prediction=None, result=[_box("a dog")])
    result = round_.pull()
    assert (result.new, result.outcomes, result.images, result.problem) == (3, {"captioned": 3}, 3, None)
    assert round_.captions() == dict(zip(round_.images, ("a beast, number 0", "a cat, asleep", "a dog"), strict=False))
    seen = round_.seen("person, origin, verdict, lead_time_seconds, model_version")
    assert seen == [
        ("owner@example.org", "accepted", "good", 7.5, "zoo/blip@1"),
        ("ben@example.org", "edited", "fixed", 7.5, "zoo/blip@1"),
        ("owner@example.org", "written", None, 7.5, None),
    ]
    [revision] = round_.revisions(1)
    proposed = dict(round_.catalog.caption_texts("zoo", "blip").select("image_sha256", "caption_id").iter_rows())
    assert (revision["person"], revision["parent_id"]) == ("ben@example.org", proposed[round_.images[1]])
    assert revision["by_person"] and revision["strategy"] == "annotate"
    assert round_.revisions(2)[0]["parent_id"] is None


def test_again_nothing_is_new(round_: Round) -> None:
    round_.answer(round_.task(0))
    round_.pull()
    again = round_.pull()
    assert not again.changed and len(round_.seen("1")) == 1


def test_every_revision_seen_is_kept_also_after_a_commit(round_: Round) -> None:
    made = round_.answer(round_.task(0), "first", "fixed")["id"]
    round_.pull()
    commit(round_.catalog, "zoo/human", "one")
    round_.edit(made, "second")
    result = round_.pull()
    assert (result.new, result.edited, result.uncommitted) == (0, 1, 1)
    round_.edit(made, "third")
    round_.pull()
    assert [row["text"] for row in round_.revisions(0)] == ["first", "second", "third"]
    assert [row["versions"] for row in round_.revisions(0)] == [[1], None, None]
    assert len({row["parent_id"] for row in round_.revisions(0)}) == 1


def test_skips_and_emptied_captions_make_no_caption_and_are_counted(round_: Round) -> None:
    tasks = round_.tasks()
    round_.answer(tasks[round_.images[0]], "what stood in the box", None, was_cancelled=True)
    round_.answer(tasks[round_.images[1]], "", "good")
    result = round_.pull()
    assert result.outcomes == {"skipped": 1, "emptied": 1} and round_.captions() == {}
    assert round_.seen("outcome, text", "outcome") == [("emptied", ""), ("skipped", "what stood in the box")]


def test_a_caption_emptied_later_falls_out_and_comes_back(round_: Round) -> None:
    made = round_.answer(round_.task(0), "mine", "fixed")["id"]
    round_.pull()
    round_.edit(made, "")
    round_.pull()
    assert round_.captions() == {}
    round_.edit(made, "mine again")
    round_.pull()
    assert [row["text"] for row in round_.revisions(0)] == ["mine", None, "mine again"]


def test_of_several_annotations_the_rule_picks_one_and_is_recorded(round_: Round, ben: Annotator) -> None:
    task = round_.task(0)
    round_.answer(task, "by ben", "fixed", ben.token)
    round_.answer(task, "by the owner", "fixed")
    result = round_.pull()
    assert (result.rule, round_.captions()) == ("latest", {round_.images[0]: "by the owner"})
    assert [row["text"] for row in round_.revisions(0)] == ["by ben", "by the owner"]
    result = round_.pull("reviewer=ben")
    assert (result.rule, result.images, round_.captions()) == ("reviewer=ben", 1, {round_.images[0]: "by ben"})
    assert result.notes == []
    (note,) = round_.pull("reviewer=bne").notes  # nobody: the latest holds, and that is said
    assert note.startswith("bne hasn't answered") and "ben@example.org" in note
    assert round_.captions() == {round_.images[0]: "by the owner"} and "Note: bne" in text_of_pull(round_.pull())
    round_.pull("reviewer=ben")
    assert round_.record["rule"] == "reviewer=ben" and round_.pull().rule == "reviewer=ben"
    assert round_.revisions(0)[-1]["person"] == "ben@example.org"
    found = agreement(round_.catalog, "zoo", "human")
    assert found and (found.images, found.people, found.exact) == (1, 2, 0.0) and 0 < found.token_f1 < 1


def test_a_deleted_annotation_gives_way_to_the_next(round_: Round, ben: Annotator) -> None:
    task = round_.task(0)
    first = round_.answer(task, "by ben", "fixed", ben.token)["id"]
    second = round_.answer(task, "by the owner", "fixed")["id"]
    round_.pull()
    round_.server.api("DELETE", f"/api/annotations/{second}/")
    assert round_.pull().deleted == 1 and round_.captions() == {round_.images[0]: "by ben"}
    round_.server.api("DELETE", f"/api/annotations/{first}/")
    result = round_.pull()
    assert (result.deleted, result.images, round_.captions()) == (1, 1, {})
    assert [row["text"] for row in round_.revisions(0)] == ["by ben", "by the owner", "by ben", None]


def test_annotations_deleted_in_bulk_are_noticed(round_: Round) -> None:
    for image, task in round_.tasks().items():
        round_.answer(task, f"of {image[:4]}", "fixed")
    round_.pull()
    action = f"/api/dm/actions?id=delete_tasks_annotations&project={round_.number}"
    round_.server.api("POST", action, {"selectedItems": {"all": True, "excluded": []}})
    assert round_.pull().deleted == 6 and round_.captions() == {}


def test_a_task_deleted_there_keeps_its_captions_here(round_: Round) -> None:
    task = round_.task(0)
    round_.answer(task, "kept", "fixed")
    round_.pull()
    round_.client.delete_tasks(round_.number, [task["id"]])
    result = round_.pull()
    assert (result.tasks_gone, result.deleted, round_.captions()) == (1, 0, {round_.images[0]: "kept"})
    assert not round_.pull().changed


def test_a_caption_of_the_set_that_no_annotation_made_stays(round_: Round) -> None:
    round_.propose("human", {round_.images[0]: "by hand, before"})
    made = round_.answer(round_.task(0), "", "good")["id"]
    round_.pull()
    assert round_.captions() == {round_.images[0]: "by hand, before"}
    round_.edit(made, "refined")
    round_.pull()
    assert round_.captions() == {round_.images[0]: "refined"}


def test_an_image_rejected_stays_out_of_snapshots_until_taken_back(round_: Round, tmp_path: Path) -> None:
    made = round_.answer(round_.task(0), None, "reject")["id"]
    round_.answer(round_.task(1))
    assert round_.pull().outcomes == {"rejected": 1, "captioned": 1}
    result = snapshot(round_.catalog, ["zoo/blip@1"], tmp_path / "without")
    assert (result.left_out, result.train + result.held_out) == ({"rejected": 1}, 5)
    result = snapshot(round_.catalog, ["zoo/blip@1"], tmp_path / "with", keep_rejected=True)
    assert (result.left_out, result.train + result.held_out) == ({}, 6)
    with pytest.raises(NothingToExport, match=r"1 rejected by a person.*--keep-rejected"):
        snapshot(round_.catalog, ["zoo/blip@1"], tmp_path / "none", where="legs = 0 and file_name = '00000.png'")
    round_.edit(made, "fine after all", "good")
    round_.pull()
    assert snapshot(round_.catalog, ["zoo/blip@1"], tmp_path / "again").left_out == {}


def test_somebody_removed_keeps_their_work_and_name(round_: Round) -> None:
    eva = round_.server.add_annotator(f"eva-{round_.folder.parent.name}@example.org")
    made = round_.answer(round_.task(0), "by eva", "fixed", eva.token)["id"]
    round_.answer(round_.task(1), "by eva, never pulled before", "fixed", eva.token)
    round_.pull()
    never = round_.server.add_annotator(f"never-{round_.folder.parent.name}@example.org")
    round_.answer(round_.task(2), "by eva, pulled after she left", "fixed", eva.token)
    round_.answer(round_.task(3), "by somebody never heard of", "fixed", never.token)
    for person in (eva, never):
        status, text = round_.server.request("DELETE", f"/api/organizations/1/memberships/{person.id}/")
        assert status == 204, text
    round_.edit(made, "after she left")
    round_.pull()
    assert round_.captions()[round_.images[0]] == "after she left"
    owner, nobody = "owner@example.org", f"Label Studio user {never.id}"
    assert [person for (person,) in round_.seen("person")] == [eva.email, eva.email, eva.email, nobody, owner]


def test_drafts_are_no_answer_yet(round_: Round) -> None:
    task = round_.task(0)
    round_.server.api("POST", f"/api/tasks/{task['id']}/drafts", {"result": [_box("half a caption")], "lead_time": 1})
    assert not round_.pull().changed
    assert round_.client.count(round_.number, ("draft_exists", "equal", True, "Boolean")) == 1


def test_a_page_changed_by_hand_is_said_and_loses_nothing(round_: Round) -> None:
    mine = '<View><Image name="image" value="$image"/><TextArea name="words" toName="image"/></View>'
    task = round_.task(0)
    round_.client.update_project(round_.number, {"label_config": mine})
    box = _box("in another box") | {"from_name": "words"}
    round_.answer(task, "", parent_prediction=None, result=[box])
    result = round_.pull()
    assert result.outcomes == {"unreadable": 1} and "changed by hand" in (result.problem or "")
    assert "in another box" in round_.seen("CAST(answer AS VARCHAR)")[0][0]
    round_.push()
    assert round_.pull().problem is None


def test_a_project_that_is_gone_is_said_and_nothing_is_lost(round_: Round) -> None:
    round_.answer(round_.task(0), "kept", "fixed")
    round_.pull()
    round_.server.api("DELETE", f"/api/projects/{round_.number}/")
    with pytest.raises(ProjectGone, match="curator annotate push zoo"):
        round_.pull()
    assert round_.captions() == {round_.images[0]: "kept"}


def test_many_pages_are_read_whole(round_: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LabelStudio.tasks_since, "__defaults__", (2,))
    monkeypatch.setattr(LabelStudio.tasks, "__kwdefaults__", {"page_size": 2})
    assert client_module.PAGE > 2
    round_.pull()
    for image, task in round_.tasks().items():
        round_.answer(task, f"of {image[:4]}", "fixed")
    assert round_.pull().new == 6
    assert not round_.pull().changed


def test_ended_in_the_middle_it_goes_on(round_: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LabelStudio.tasks_since, "__defaults__", (2,))
    round_.pull()
    for image, task in round_.tasks().items():
        round_.answer(task, f"of {image[:4]}", "fixed")
    write, calls = Recorder.write, []

    def dies(self: Recorder, *arguments: Any, **named: Any) -> int:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write(self, *arguments, **named)

    monkeypatch.setattr(Recorder, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        round_.pull()
    assert len(round_.captions()) == len(round_.seen("1")) == 2
    monkeypatch.setattr(Recorder, "write", write)
    assert round_.pull().new == 4
    assert round_.captions() == {image: f"of {image[:4]}" for image in round_.images}


def test_a_clock_set_back_there_hides_nothing(round_: Round) -> None:
    round_.answer(round_.task(0))
    round_.pull()
    round_.lab.run("UPDATE annotation_pulls SET watermark = watermark + INTERVAL 1 YEAR")
    round_.answer(round_.task(1))
    assert round_.pull().new == 1


def test_an_answer_without_what_we_need_is_an_error_not_a_deletion(
    round_: Round, monkeypatch: pytest.MonkeyPatch
) -> None:
    round_.answer(round_.task(0))
    round_.pull()
    monkeypatch.setattr("curator.annotate.pull.run.INCLUDE", "id,updated_at,data")
    with pytest.raises(LabelStudioFailed, match="no annotations of task"):
        round_.pull()
    assert len(round_.captions()) == 1


def test_acceptance_by_strategy(round_: Round) -> None:
    round_.propose("other", dict.fromkeys(round_.images, "an animal"))
    tasks = round_.tasks()
    round_.answer(tasks[round_.images[0]], lead_time=10)
    round_.answer(tasks[round_.images[1]], "a beast, number 11", "fixed", lead_time=20)
    round_.answer(tasks[round_.images[2]], None, "reject")
    round_.answer(tasks[round_.images[3]], "x", None, was_cancelled=True)
    round_.push("other")
    round_.answer(round_.task(4), "an animal!", "fixed", lead_time=40)
    round_.pull()
    [blip] = acceptance(round_.catalog, resolve(round_.catalog, "zoo/blip@1"))
    assert (blip.strategy, blip.images, blip.answers, blip.unchanged, blip.rejected, blip.skipped) == (
        "blip",
        4,
        3,
        1,
        1,
        1,
    )
    assert (blip.unchanged_share, blip.median_edit_distance, blip.median_seconds) == (1 / 3, 0.5, 15.0)
    [other] = acceptance(round_.catalog, resolve(round_.catalog, "zoo/other"))
    assert (other.answers, other.unchanged, other.median_edit_distance) == (1, 0, 1.0)
    assert acceptance(round_.catalog, resolve(round_.catalog, "zoo/human")) == []


def _box(text: str) -> dict[str, Any]:
    return {"id": "a", "from_name": "final_caption", "to_name": "image", "type": "textarea", "value": {"text": [text]}}
