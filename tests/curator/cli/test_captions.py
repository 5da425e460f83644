"""The commands on captions, as a person and as a script meet them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from curator import captioners
from curator.caption_sets.diff import diff
from curator.catalog import Catalog
from curator.cli import main
from curator.cli.text.captions import text_of_diff
from tests.curator.fill import add_images, sha
from tests.curator.lab import filled_catalog
from tests.curator.text.tiny_clip import write_tiny_clip


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "lab.duckdb"
    path.write_bytes(filled_catalog(fill))
    monkeypatch.setenv("CURATOR_CATALOG", str(path))
    return path


def fill(catalog: Catalog) -> None:
    add_images(catalog, "zoo", [{"name": "fox"}, {"name": "owl"}, {}])


def curator(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def document(*arguments: str, code: int = 0) -> Any:
    return json.loads(curator(*arguments, "--json", code=code).stdout)


def caption(text: str = "a ${name}", *more: str) -> Result:
    return curator("caption", "zoo", "--strategy", "template", "--set", "t", "-o", f"template={text}", *more)


def test_the_whole_line_of_a_set(lab: Path) -> None:
    shown = caption().stdout
    assert "zoo/t: 3 images by template" in shown
    assert "        2  new" in shown
    assert "        1  without a caption: no value for name" in shown
    assert "0000.png  a fox" in shown
    assert 'Next: curator commit zoo/t -m "draft"' in shown
    assert "zoo/t@1  2 captions  (2 added, 0 changed, 0 removed)" in curator("commit", "t", "-m", "first").stdout
    assert "Nothing new to commit: zoo/t@1" in curator("commit", "t", "-m", "first").stdout
    assert "2  changed" in caption("the ${name}").stdout
    assert "[-a-]{+the+} fox" in curator("diff", "t").stdout
    assert "2 uncommitted" in curator("versions").stdout
    assert "Restored zoo/t@1: 0 added, 2 changed, 0 removed" in curator("restore", "t@1").stdout
    assert "nothing to do" in curator("restore", "t@1").stdout
    history = curator("history", "0000.png").stdout
    assert "restored from zoo/t@1 by" in history
    assert "template=a ${name}" in history


def test_json_is_one_document_with_what_the_stage_returned(lab: Path) -> None:
    made = document("caption", "zoo", "--strategy", "template", "--set", "t", "-o", "template=a ${name}")
    assert (made["new"], made["without_caption"]) == (2, {"no value for name": 1})
    assert document("commit", "t", "-m", "first")["version"] == "zoo/t@1"
    assert document("versions", "t")["sets"][0]["versions"][0]["number"] == 1
    caption("the ${name}")
    (first, _) = document("diff", "t")["changes"]
    assert [word["op"] for word in first["words"]] == ["delete", "insert", "equal"]
    assert document("restore", "t@1")["changed"] == 2
    assert document("history", sha(0)[:8])["image_sha256"] == sha(0)


def test_a_diff_in_colour_marks_words_by_colour_alone(lab: Path) -> None:
    caption()
    curator("commit", "t", "-m", "first")
    caption("the ${name}")
    with Catalog(lab) as catalog:
        coloured = text_of_diff(diff(catalog, "t", limit=1), coloured=True)
    assert "[-" not in coloured
    assert "\x1b[31m" in coloured
    assert "\x1b[32mthe\x1b[0m fox" in coloured
    assert "... and 1 more (--limit)" in coloured


def test_stats_show_lengths_and_lost_words(lab: Path, tmp_path: Path) -> None:
    caption("a ${name} in the red red red nest")
    folder = str(write_tiny_clip(tmp_path / "clip", limit=6))
    shown = curator("stats", "t", "--tokenizer", folder).stdout
    assert "zoo/t  2 captions, 0 empty, uncommitted" in shown
    assert f"{folder}, limit 6" in shown
    assert "2 captions over the limit of 6 tokens" in shown
    assert "red red red nest" in shown
    assert document("stats", "t", "--tokenizer", folder)["tokens"]["truncated"] == 2


def test_a_tokenizer_asked_for_and_not_had_is_an_error_after_the_rest(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("curator.text.tokens._probe", refuse)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda name, file: None)
    caption()
    result = curator("stats", "t", "--tokenizer", "some/model", code=1)
    assert "2 captions" in result.stdout
    assert "--tokenizer FOLDER" in result.stderr
    assert "Notice: No token counts." in curator("stats", "t").stdout
    result = curator("stats", "t", "--tokenizer", "some/model", "--json", code=1)
    assert json.loads(result.stdout)["captions"] == 2
    assert json.loads(result.stderr)["error"]["type"] == "TokenizerUnavailable"


def test_rejects_are_shown_and_strict_makes_them_an_error(lab: Path, tmp_path: Path) -> None:
    human = tmp_path / "human.csv"
    rows = "".join(f"{number:04}.png,nobody\n" for number in range(90, 97))
    human.write_text("file_name,caption\n0000.png,my fox\n" + rows, encoding="utf-8")
    arguments = ["caption", "zoo", "--strategy", "column", "--set", "human", "--by", "ana"]
    arguments += ["-o", f"file={human}", "-o", "column=caption"]
    shown = curator(*arguments).stdout
    assert "7  rejected" in shown
    assert f"{human}:3: the dataset has no image '0090.png'" in shown
    assert "all of them with --json" in shown
    assert len(document(*arguments)["rejects"]) == 7
    curator(*arguments, "--strict", code=1)
    kept = curator("caption", "zoo", "--strategy", "empty", "--set", "human").stdout
    assert "1  kept, a person's" in kept


def test_a_template_that_a_shell_ate_warns(lab: Path) -> None:
    shown = caption("drawing of , ").stdout
    assert "Warning: The template 'drawing of , ' has no ${field}. If the shell removed it, use single quotes." in shown


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["caption", "zoo", "--set", "t"], 2, "Missing option '--strategy'"),
        (["caption", "zoo", "--strategy", "fixed", "--set", "t"], 2, "fixed needs -o text="),
        (["caption", "zoo", "--strategy", "blop", "--set", "t"], 1, "There is no strategy"),
        (["caption", "farm", "--strategy", "empty", "--set", "t"], 1, "There are: zoo"),
        (["caption", "zoo", "--strategy", "empty", "--set", "T"], 2, "a-z, 0-9, _ and -"),
        (["caption", "zoo", "--strategy", "empty", "--set", "t", "--only", "x"], 2, "'changed', 'missing', 'all'"),
        (["caption", "zoo", "--strategy", "empty", "--set", "t", "--where", "nam = 1"], 2, "nam"),
        (["commit", "t"], 2, "Missing option '-m'"),
        (["commit", "t", "-m", "x"], 1, "There are none yet"),
        (["diff", "t@1", "t@2"], 1, "There is no caption set 't'"),
        (["restore", "t@1"], 1, "There is no caption set 't'"),
        (["stats", "t@x"], 2, "not a caption set"),
        (["history", "nope.png"], 1, "No image 'nope.png'"),
        (["versions", "--catalog", "nowhere.duckdb"], 1, "curator init nowhere.duckdb"),
    ],
)
def test_errors_are_one_line_with_an_exit_code(lab: Path, arguments: list[str], code: int, message: str) -> None:
    plain = curator(*arguments, code=code)
    assert message in plain.stderr
    assert plain.stdout == ""
    as_json = curator(*arguments, "--json", code=code)
    assert message in json.loads(as_json.stderr)["error"]["message"]


def test_help_lists_the_strategies_and_explains_each() -> None:
    shown = curator("caption", "--help").stdout
    for name in captioners.names():
        assert f"  {name} " in shown
        own = curator("caption", "--strategy", name, "--help").stdout
        for option in captioners.load(name).options.model_fields:
            assert f"    {option} " in own
    assert "Strategies:" in curator("caption", "--strategy", "blop", "--help").stdout


@pytest.mark.parametrize("command", ["caption", "commit", "versions", "diff", "restore", "stats", "history"])
def test_help_has_an_example(command: str) -> None:
    assert f"Example:\n    curator {command} " in curator(command, "--help").stdout
