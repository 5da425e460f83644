"""The labeling page as data: what a task shows, and an annotation read back whatever is in it."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from curator.annotate.label_studio import labeling_page


def annotation(**fields: Any) -> dict[str, Any]:
    return {"id": 7, "completed_by": 3, "was_cancelled": False, "lead_time": 4.5, "result": []} | fields


def caption(*texts: str, **fields: Any) -> dict[str, Any]:
    return {
        "from_name": "final_caption",
        "to_name": "image",
        "type": "textarea",
        "value": {"text": list(texts)},
    } | fields


def verdict(*choices: str) -> dict[str, Any]:
    return {"from_name": "verdict", "to_name": "image", "type": "choices", "value": {"choices": list(choices)}}


def test_config_and_prediction_agree() -> None:
    """A prediction that names another control than the page has is dropped by Label Studio without a word."""
    controls = {
        tag.get("name"): tag
        for tag in ElementTree.fromstring(labeling_page.labeling_config()).iter()
        if tag.get("name")
    }
    result = labeling_page.prediction("a fox", "zoo/blip@1")["result"][0]
    assert controls[result["from_name"]].tag == "TextArea"
    assert controls[result["to_name"]].tag == "Image"
    assert controls[result["from_name"]].get("toName") == result["to_name"]
    verdicts = [choice.get("alias") or choice.get("value") for choice in controls["verdict"].iter("Choice")]
    assert tuple(verdicts) == labeling_page.VERDICTS


def test_no_control_is_named_like_a_key_of_the_task() -> None:
    """Exports overwrite one with the other. The image isn't a control: it has no answer."""
    data = labeling_page.task_data("http://x/1.jpg", "0" * 64, "zoo", "fox.png", {}, {})
    answers = {"TextArea", "Choices"}
    names = {
        tag.get("name") for tag in ElementTree.fromstring(labeling_page.labeling_config()).iter() if tag.tag in answers
    }
    assert names and not names & set(data)


def test_every_field_the_config_shows_is_in_the_task() -> None:
    data = labeling_page.task_data("http://x/1.jpg", "0" * 64, "zoo", "fox.png", {}, {})
    shown = {
        value[1:]
        for tag in ElementTree.fromstring(labeling_page.labeling_config()).iter()
        for value in tag.attrib.values()
        if value.startswith("$")
    }
    assert shown <= set(data)


def test_task_data_shows_no_path() -> None:
    metadata = {
        "title": "fox and/or hound, 3/4 view; s/he 1/2",
        "ratio": 1.5,
        "tags": ["red", "quick"],
        "nothing": None,
        "source": "/home/ann/My Pictures/fox.png",
        "windows": "C:\\Users\\ann\\fox.png",
        "share": "\\\\host\\ann\\fox.png",
        "home": "~/ann/fox.png",
        "address": "file:///home/ann/fox.png",
        "license_url": "https://openmoji.org/library/",
        "files": ["b.png", "/home/ann/a.png"],
        "file_name": "ann/2024/fox.png",
        "note": "scanned from '/mnt/ann/1.tif' and C:\\ann\\2.tif (https://example.org/a/b)",
    }
    data = labeling_page.task_data("http://x/1.jpg", "0" * 64, "zoo", "ann/2024/fox.png", metadata, {"blip": "a fox"})
    assert data["file_name"] == "fox.png"
    assert data["metadata"] == {
        "title": "fox and/or hound, 3/4 view; s/he 1/2",
        "ratio": "1.5",
        "tags": "red, quick",
        **dict.fromkeys(["source", "windows", "share", "home", "address", "file_name"], "fox.png"),
        "license_url": "https://openmoji.org/library/",
        "files": "b.png, a.png",
        "note": "scanned from '1.tif' and 2.tif (https://example.org/a/b)",
    }
    assert data["captions"] == {"blip": "a fox"}
    assert "ann" not in str(data).replace("scanned", "")


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("note", 'see "/home/ann/My Pictures/fox.png" there', 'see "fox.png" there'),
        ("note", "it's in `/home/ann/fox.png`, (~ann/b.png)", "it's in `fox.png`, (b.png)"),
        ("note", "path:/home/ann/fox.png|/mnt/ann/b.png", "path:fox.png|b.png"),
        ("note", "[/home/ann/fox.png] <file:///home/ann/b.png> {/mnt/ann/c}", "[fox.png] <b.png> {c}"),
        ("note", '{"path": "/home/ann/fox.png"}', '{"path": "fox.png"}'),
        ("sourcePath", "ann/2024/fox.png", "fox.png"),
        ("source_path", "ann/2024/fox.png", "fox.png"),
        ("original_filename", "ann/2024/fox.png", "fox.png"),
        ("Folder", "ann/2024", "2024"),
        ("profile", "left/right", "left/right"),
        ("note", "https://example.org/a/b and 16:9/4:3 or 12:/", "https://example.org/a/b and 16:9/4:3 or 12:/"),
    ],
)
def test_paths_in_any_dress_are_cut(name: str, value: str, shown: str) -> None:
    assert labeling_page.task_data("", "0" * 64, "zoo", "fox.png", {name: value}, {})["metadata"] == {name: shown}


@pytest.mark.parametrize(
    ("mark", "parent", "origin"),
    [
        ("prediction", 5, "accepted"),
        ("prediction-changed", 5, "edited"),
        ("manual", None, "written"),
        ("manual", 5, "edited"),
        (None, None, "written"),
    ],
)
def test_origin_by_the_mark(mark: str | None, parent: int | None, origin: str) -> None:
    given = annotation(result=[caption("a fox", origin=mark)], parent_prediction=parent)
    assert labeling_page.read_annotation(given).origin == origin


def test_origin_by_the_texts_where_the_proposal_is_there() -> None:
    """The texts decide: a change that was undone is no change, one that the mark missed is one."""
    proposal = labeling_page.prediction("a fox", "zoo/blip@1")
    undone = annotation(result=[caption("a fox ", origin="prediction-changed")], prediction=proposal)
    missed = annotation(result=[caption("a red fox", origin="prediction")], prediction=proposal)
    assert labeling_page.read_annotation(undone).origin == "accepted"
    assert labeling_page.read_annotation(missed).origin == "edited"
    assert labeling_page.read_annotation(missed).model_version == "zoo/blip@1"


def test_reads_all_of_an_annotation() -> None:
    given = annotation(
        result=[verdict("fixed"), caption("a red\n fox ", origin="prediction-changed")],
        parent_prediction=5,
        prediction={"model_version": "zoo/blip@1"},
    )
    assert labeling_page.read_annotation(given) == labeling_page.Answer(
        text="a red fox",
        verdict="fixed",
        origin="edited",
        skipped=False,
        lead_time_seconds=4.5,
        person=3,
        model_version="zoo/blip@1",
    )


def test_a_skip_is_a_skip_though_it_carries_the_text() -> None:
    answer = labeling_page.read_annotation(
        annotation(was_cancelled=True, result=[caption("a fox", origin="prediction")])
    )
    assert answer.skipped and answer.text == "a fox"


@pytest.mark.parametrize("texts", [("",), (" \n",), ()])
def test_an_emptied_caption_is_empty_not_absent(texts: tuple[str, ...]) -> None:
    assert labeling_page.read_annotation(annotation(result=[caption(*texts)])).text == ""
    assert labeling_page.read_annotation(annotation(result=[verdict("reject")])).text is None


@pytest.mark.parametrize(
    "odd",
    [
        {"result": None},
        {"result": ["text", {"from_name": "final_caption"}, {"from_name": "final_caption", "value": None}]},
        {"result": [verdict("superb")], "completed_by": {"id": 3, "email": "ann@x"}},
        {"prediction": None},
    ],
)
def test_odd_annotations_are_read(odd: dict[str, Any]) -> None:
    answer = labeling_page.read_annotation(annotation(**odd))
    assert answer.text is None and answer.verdict is None and answer.origin is None
    assert answer.person == 3
