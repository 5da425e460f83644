"""What the comparison says of sets, pairs, fields, words and images; what it refuses; the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from curator.cli import main
from curator.cli.text.compare import text_of_compare
from curator.compare import compare
from curator.compare.result import CompareResult
from schemas.errors import AlreadyExists, BadOption, NotFound
from tests.curator.lab import Lab


@pytest.fixture
def result(lab: Lab, tokenizer: str) -> CompareResult:
    return compare(lab.catalog, "zoo", ["t@1", "h@1"], tokenizer=tokenizer)


def test_each_pair_over_the_images_that_all_have(lab: Lab, tokenizer: str) -> None:
    result = compare(lab.catalog, "zoo", ["t@1", "h", "zoo/w@1"], tokenizer=tokenizer)
    assert (result.images, result.images_of_dataset) == (3, 4)
    assert [each.label for each in result.sets] == ["t@1", "h", "w@1"]
    assert [each.stats.captions for each in result.sets] == [4, 4, 3]
    figures = {(pair.first, pair.second): pair for pair in result.pairs}
    assert set(figures) == {("t@1", "h"), ("t@1", "w@1"), ("h", "w@1")}
    assert figures["t@1", "h"].token_f1.mean == pytest.approx((1 + 0 + 1) / 3)
    assert figures["t@1", "w@1"].token_f1.mean == pytest.approx((1 + 1 + 0) / 3)
    assert figures["h", "w@1"].identical == pytest.approx(1 / 3)
    assert figures["t@1", "w@1"].edit_distance.median == 0
    assert "h and w@1 furthest apart, 33%" in result.headline


def test_fields_words_and_who(result: CompareResult) -> None:
    template, human = result.sets
    assert {field: (each.images, each.mentioned) for field, each in template.fields.items()} == {
        "name": (4, 4),
        "tags": (4, 4),
        "id": (4, 0),
    }
    assert template.fields["tags"].values_share == 0.5  # the name, not "animal"
    assert (human.fields["name"].mentioned, human.fields["name"].share) == (2, 0.5)
    assert (human.vocabulary, human.only_here) == (8, 4)
    assert [(word.text, word.count, word.share) for word in human.only_here_words] == [
        ("bird", 1, 0.25),
        ("brown", 1, 0.25),
        ("hound", 1, 0.25),
        ("night", 1, 0.25),
    ]
    assert [word.text for word in template.only_here_words] == ["dog", "owl"]
    assert template.made_by == ["fixed"]


def test_the_images_that_differ_most_come_first(result: CompareResult) -> None:
    assert [each.file_name for each in result.differing[:2]] in (["owl.png", "dog.png"], ["dog.png", "owl.png"])
    assert [each.token_f1 for each in result.differing] == [0, 0, 1, 1]
    edits = [each.captions for each in result.differing]
    assert {"t@1": "a red dog", "h@1": "hound, brown"} in edits
    assert result.headline == "t@1 and h@1 share 50% of their words."


def test_files_that_are_gone_are_said(lab: Lab, tokenizer: str) -> None:
    (lab.folder / "images" / "owl.png").unlink()
    result = compare(lab.catalog, "zoo", ["t@1", "h@1"], tokenizer=tokenizer)
    assert [each.file_name for each in result.differing if each.path is None] == ["owl.png"]
    assert "1 of the 4 images shown aren't on this disk any more: owl.png" in result.notices[0]


def test_what_people_made_of_them_is_shown_where_it_is_known(lab: Lab, tokenizer: str) -> None:
    lab.run("INSERT INTO annotation_projects VALUES ('k', 1, 'zoo', 'human', 'captions', 'ana', now())")
    answers = (("captioned", "a red fox", 4.0), ("captioned", "a red barn owl", 8.0), ("skipped", "", 1.0))
    proposed = lab.run("SELECT caption_id, image_sha256 FROM captions WHERE set_name = 't' ORDER BY caption_id")
    for number, ((outcome, text, seconds), (caption_id, image)) in enumerate(zip(answers, proposed, strict=False)):
        lab.run(
            "INSERT INTO annotation_revisions BY NAME SELECT "
            f"{number} AS revision_id, 'k' AS project_key, {number} AS task_id, {number} AS annotation_id, "
            f"'{image}' AS image_sha256, '{outcome}' AS outcome, '{text}' AS text, {seconds} AS lead_time_seconds, "
            f"'ana' AS person, 'zoo/t@1' AS model_version, {caption_id} AS parent_caption_id, '[]' AS answer, "
            "now() AS created_at, now() AS updated_at, 1 AS pull_id"
        )
    result = compare(lab.catalog, "zoo", ["t@1", "h@1"], tokenizer=tokenizer)
    assert [each.acceptance is None for each in result.sets] == [False, True]
    rows = [line.split() for line in text_of_compare(result, 100).splitlines()]
    assert ["people's", "answers", "2", "–"] in rows
    assert ["accepted", "unchanged", "50.0%", "–"] in rows
    assert ["characters", "edited", "2.5", "–"] in rows
    assert ["seconds", "per", "caption", "6.0", "–"] in rows


def test_what_it_refuses(lab: Lab, tokenizer: str, tmp_path: Path) -> None:
    lab.commit("other", {"f" * 64: "not an image of the others"})
    lab.write()
    there = tmp_path / "page.html"
    there.write_text("mine")
    for sets, message in (
        (["t@1"], r"name two or more sets.*zoo has: h, other, t, w"),
        (["t@1", "t@1"], "named twice"),
        (["t@1", "other@1"], r"no image has a caption in all of them \(t@1 4, other@1 1\)"),
    ):
        with pytest.raises(BadOption, match=message):
            compare(lab.catalog, "zoo", sets, tokenizer=tokenizer)
    for sets, message in ((["t@1", "nope"], "no caption set 'zoo/nope'"), (["t@1", "h@7"], "no version @7")):
        with pytest.raises(NotFound, match=message):
            compare(lab.catalog, "zoo", sets, tokenizer=tokenizer)
    with pytest.raises(NotFound, match=r"no dataset 'farm'\. There are: zoo"):
        compare(lab.catalog, "farm", ["t", "h"], tokenizer=tokenizer)
    with pytest.raises(AlreadyExists, match=r"page\.html"):
        compare(lab.catalog, "zoo", ["t", "h"], tokenizer=tokenizer, page=there)
    for page, message in ((tmp_path, "is a folder"), (there / "page.html", "is a file")):
        with pytest.raises(BadOption, match=message):
            compare(lab.catalog, "zoo", ["t", "h"], tokenizer=tokenizer, page=page)
    assert there.read_text() == "mine"


def test_a_set_of_another_dataset(lab: Lab, tokenizer: str) -> None:
    lab.run("INSERT INTO datasets VALUES ('farm', now())")
    lab.run(
        "INSERT INTO caption_runs SELECT * REPLACE ('farm' AS dataset, 99 AS run_id) FROM caption_runs WHERE run_id = 1"
    )
    lab.run(
        "INSERT INTO captions SELECT * REPLACE ('farm' AS dataset, caption_id + 99 AS caption_id) "
        "FROM captions WHERE run_id = 1"
    )
    with pytest.raises(BadOption, match=r"farm/t: a set of farm\. Compare sets of one dataset"):
        compare(lab.catalog, "zoo", ["t", "farm/t"], tokenizer=tokenizer)


def test_sets_named_like_columns_and_empty_captions(lab: Lab, tokenizer: str) -> None:
    images = [image for (image,) in lab.run("SELECT image_sha256 FROM dataset_images")]
    lab.caption("token_f1", dict.fromkeys(images, ""))
    lab.caption("image_sha256", dict.fromkeys(images, ""))
    lab.write()
    result = compare(lab.catalog, "zoo", ["token_f1", "image_sha256"], tokenizer=tokenizer)
    assert [each.label for each in result.sets] == ["zoo/token_f1", "zoo/image_sha256"]
    assert result.headline == "zoo/token_f1 and zoo/image_sha256 have the same caption for every image."
    assert (result.sets[0].vocabulary, result.sets[0].only_here_words) == (0, [])


def test_the_command(lab: Lab, tokenizer: str, tmp_path: Path) -> None:
    lab.close()
    where = ["--catalog", str(lab.catalog.path), "--tokenizer", tokenizer]
    page = tmp_path / "pages" / "page.html"
    shown = CliRunner().invoke(main, ["compare", "zoo", "--sets", "t@1, h@1", "--out", str(page), *where])
    assert shown.exit_code == 0
    assert "t@1 and h@1 share 50% of their words." in shown.stdout
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    again = CliRunner().invoke(main, ["compare", "zoo", "--sets", "t@1,w@1", "--out", str(page), *where])
    assert again.exit_code == 0
    assert "w@1" in page.read_text(encoding="utf-8")
    found = CliRunner().invoke(main, ["compare", "zoo", "--sets", "t@1,h@1", "--json", *where])
    assert json.loads(found.stdout)["pairs"][0]["token_f1"]["mean"] == 0.5
    for sets, code in (("t@1", 2), ("t@1,nope", 1), ("", 2)):
        assert CliRunner().invoke(main, ["compare", "zoo", "--sets", sets, *where]).exit_code == code
