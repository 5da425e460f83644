"""`trainer compare`: what it takes, what it refuses and in which words, what it prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from schemas.comparison import Comparison
from tests.trainer_client.compare.synthetic_runs import TRACKS, Plan, make_run, prompts, sha
from trainer_client.cli import main
from trainer_client.compare import compare

SCHEMA = Path(__file__).parents[3] / "schemas" / "json" / "comparison.schema.json"


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def two(tmp_path: Path, **odd: Any) -> list[Path]:
    """A template run, and a human one that differs in `odd` as well."""
    make_run(tmp_path / "a", Plan(captions="template"))
    make_run(tmp_path / "b", Plan(captions="human", **odd))
    return [tmp_path / "a", tmp_path / "b"]


def test_four_strategies_give_a_page_and_an_answer(tmp_path: Path) -> None:
    for track in TRACKS:
        make_run(tmp_path / "runs" / track, Plan(captions=track))
    out = tmp_path / "pages" / "report.html"
    result = invoke(*sorted((tmp_path / "runs").iterdir()), "--out", out)
    assert result.exit_code == 0, result.output
    assert "captions" in result.stdout and str(out) in result.stdout
    assert out.read_text().startswith("<!doctype html>")


def test_methods_may_be_compared_and_not_their_settings(tmp_path: Path) -> None:
    lora = {"method": "lora", "learning_rate": 1e-3, "rank": 4}
    make_run(tmp_path / "full", Plan(captions="human", config={"method": "full"}))
    make_run(tmp_path / "lora", Plan(captions="human", config=lora))
    make_run(tmp_path / "wider", Plan(captions="human", config=lora | {"rank": 8}))
    result = invoke(tmp_path / "full", tmp_path / "lora", "--out", tmp_path / "r.html", "--json")
    assert result.exit_code == 0, result.output
    (group,) = json.loads(result.stdout)["groups"]
    assert group["paired"]
    assert [run["label"] for run in group["runs"]] == ["full", "lora"]
    assert [run["differs"]["method"] for run in group["runs"]] == ["full", "lora"]
    result = invoke(tmp_path / "lora", tmp_path / "wider", "--out", tmp_path / "r.html")
    assert result.exit_code == 1
    assert "setting rank (4 against 8)" in result.stderr


def test_json_is_valid_by_the_committed_schema_and_reads_back(tmp_path: Path) -> None:
    make_run(tmp_path / "study" / "old", Plan(captions="fixed"))
    result = invoke(*two(tmp_path), "--beside", tmp_path / "study", "--out", tmp_path / "r.html", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    comparison = Comparison.model_validate(document)
    assert [group.live for group in comparison.groups] == [True, False]
    assert [run.label for run in comparison.groups[0].runs] == ["template", "human"]


@pytest.mark.parametrize(
    ("odd", "named"),
    [
        ({"fields": {"seeds": [1, 9]}}, "sampling seeds"),
        ({"prompts": prompts(3)}, "prompts (4 against 3)"),
        ({"config": {"seed": 7}}, "setting seed (0 against 7)"),
        ({"config": {"learning_rate": 1e-5}}, "setting learning_rate"),
        ({"epochs": (0, 1, 5)}, "setting epochs (3 against 5)"),
        ({"held_out": 12}, "held-out images evaluated (16 against 12)"),
    ],
)
def test_runs_that_are_no_pair_are_refused_by_name(tmp_path: Path, odd: dict[str, Any], named: str) -> None:
    runs = two(tmp_path, **odd)
    result = invoke(*runs, "--out", tmp_path / "r.html")
    assert result.exit_code == 1
    assert named in result.stderr and "--unpaired" in result.stderr and "template and human" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("Error: ") and "Traceback" not in result.stderr
    assert not (tmp_path / "r.html").exists()


def rewrite(folder: Path, **changes: Any) -> None:
    """Changes fields of a run.json by dotted name."""
    path = folder / "run.json"
    document = json.loads(path.read_text())
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        target = document
        for parent in parents:
            target = target[int(parent) if parent.isdigit() else parent]
        target[last] = value
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"snapshot__images_identity": sha("other")}, "images or split"),
        ({"base__digest": sha("other base")}, "base model"),
        ({"epochs__0__steps": 99}, "steps at epoch 1 (8 against 99)"),
        ({"train_subset_images": [sha(str(number)) for number in range(12)]}, "training images evaluated"),
    ],
)
def test_other_images_base_or_steps_are_refused(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    runs = two(tmp_path)
    rewrite(runs[1], **changes)
    result = invoke(*runs, "--out", tmp_path / "r.html")
    assert result.exit_code == 1 and named in result.stderr


def test_what_does_not_touch_the_comparison_may_differ(tmp_path: Path) -> None:
    runs = two(
        tmp_path,
        config={"device": "cuda", "price_per_hour": 2.5, "out": "elsewhere", "save_epochs": [1], "tracker": "none"},
    )
    rewrite(runs[1], base__name="another/folder/of/the/same/weights")
    assert invoke(*runs, "--out", tmp_path / "r.html").exit_code == 0


def test_unpaired_runs_are_shown_and_the_page_says_so(tmp_path: Path) -> None:
    runs = two(tmp_path, config={"seed": 7}, prompts=prompts(3), held_out=12)
    result = invoke(*runs, "--unpaired", "--out", tmp_path / "r.html", "--json")
    assert result.exit_code == 0, result.output
    group = Comparison.model_validate_json(result.stdout).groups[0]
    assert not group.paired
    assert any("setting seed" in line for line in group.differences)
    assert any("not paired" in line for line in group.summary)
    page = (tmp_path / "r.html").read_text()
    assert "These runs are not paired." in page and "setting seed (0 against 7)" in page
    assert 'class="tile none"' in page  # the prompt that only one run drew


def test_a_group_beside_must_be_a_pair_as_well(tmp_path: Path) -> None:
    make_run(tmp_path / "study" / "a", Plan(captions="empty"))
    make_run(tmp_path / "study" / "b", Plan(captions="fixed", config={"seed": 3}))
    result = invoke(*two(tmp_path), "--beside", tmp_path / "study", "--out", tmp_path / "r.html")
    assert result.exit_code == 1 and "empty and fixed" in result.stderr


def test_a_folder_of_groups_beside_makes_one_group_each(tmp_path: Path) -> None:
    for name in ("76", "all"):
        make_run(tmp_path / "study" / name / "empty", Plan(captions="empty"))
    comparison = compare(two(tmp_path), tmp_path / "r.html", [tmp_path / "study"])
    assert [group.title for group in comparison.groups] == ["These runs", "study/76", "study/all"]


@pytest.mark.parametrize("beside", ["nowhere", "hollow"])
def test_nothing_beside_is_an_error(tmp_path: Path, beside: str) -> None:
    (tmp_path / "hollow").mkdir()
    result = invoke(*two(tmp_path), "--beside", tmp_path / beside, "--out", tmp_path / "r.html")
    assert result.exit_code == 1 and beside in result.stderr


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    result = invoke(tmp_path, "--json", "--out", tmp_path / "r.html")
    assert result.exit_code == 1
    error = json.loads(result.stderr)["error"]
    assert error["type"] == "NotFound" and str(tmp_path) in error["message"]


@pytest.mark.parametrize("content", ["", "{", '{"type": "amatl/run/v2"}', "[]"])
def test_a_broken_report_is_named(tmp_path: Path, content: str) -> None:
    runs = two(tmp_path)
    (runs[1] / "run.json").write_text(content)
    result = invoke(*runs, "--out", tmp_path / "r.html")
    assert result.exit_code == 1
    assert str(runs[1] / "run.json") in result.stderr and "Traceback" not in result.stderr


def test_losses_that_fit_no_image_are_named(tmp_path: Path) -> None:
    runs = two(tmp_path)
    rewrite(runs[0], checkpoints__1__evaluation__held_out__template=[0.1, 0.2])
    result = invoke(*runs, "--out", tmp_path / "r.html")
    assert result.exit_code == 1
    assert "epoch 1, held_out.template has 2 losses for 16 images" in result.stderr


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_a_run_that_diverged_is_named(tmp_path: Path, value: str) -> None:
    runs = two(tmp_path)
    rewrite(runs[0], checkpoints__1__evaluation__held_out__template=[float(value)] * 16)
    result = invoke(*runs, "--out", tmp_path / "r.html")
    assert result.exit_code == 1 and "epoch 1, held_out.template" in result.stderr and "diverged" in result.stderr


def test_a_grid_outside_the_run_is_refused(tmp_path: Path) -> None:
    runs = two(tmp_path)
    rewrite(runs[0], checkpoints__1__grid__file__path="../b/grids/epoch-001.png")
    result = invoke(*runs, "--out", tmp_path / "r.html")
    assert result.exit_code == 1
    assert f"{runs[0] / 'run.json'}: checkpoints.1.grid.file.path" in result.stderr


def test_a_missing_and_a_changed_grid_are_named(tmp_path: Path) -> None:
    runs = two(tmp_path)
    grid = runs[0] / "grids" / "epoch-001.png"
    content = grid.read_bytes()
    grid.unlink()
    missing = invoke(*runs, "--out", tmp_path / "r.html")
    assert missing.exit_code == 1 and str(grid) in missing.stderr and "missing" in missing.stderr
    grid.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    changed = invoke(*runs, "--out", tmp_path / "r.html")
    assert changed.exit_code == 1 and str(grid) in changed.stderr
    assert not (tmp_path / "r.html").exists()


def test_no_run_is_a_usage_error() -> None:
    assert invoke().exit_code == 2


def test_help_has_an_example() -> None:
    assert "trainer compare runs/*" in invoke("--help").stdout


def test_a_run_given_twice_counts_once(tmp_path: Path) -> None:
    make_run(tmp_path / "a", Plan())
    comparison = compare([tmp_path / "a", tmp_path / "a" / ".." / "a"], tmp_path / "r.html")
    assert len(comparison.groups[0].runs) == 1


def test_two_versions_of_a_track_are_told_apart(tmp_path: Path) -> None:
    make_run(tmp_path / "one", Plan(name="one"))
    make_run(tmp_path / "two", Plan(name="two"))
    rewrite(tmp_path / "two", snapshot__tracks__2__version="openmoji/template@2")
    rewrite(tmp_path / "two", snapshot__tracks__2__version_digest=sha("template@2"))
    group = compare([tmp_path / "one", tmp_path / "two"], tmp_path / "r.html").groups[0]
    assert [run.label for run in group.runs] == ["template@1", "template@2"]
    assert {"template@1", "template@2"} <= set(group.tracks)
    assert set(group.runs[1].epochs[-1].held_out_change) == {"empty", "fixed", "template@2", "human"}


def test_runs_on_the_same_captions_go_by_their_names(tmp_path: Path) -> None:
    make_run(tmp_path / "a", Plan(name="slow"))
    make_run(tmp_path / "b", Plan(name="fast", config={"learning_rate": 1e-3}))
    group = compare([tmp_path / "a", tmp_path / "b"], tmp_path / "r.html", unpaired=True).groups[0]
    assert [run.label for run in group.runs] == ["slow", "fast"]
    assert group.runs[1].differs["learning_rate"] == 1e-3


def test_a_page_has_a_place_before_any_work(tmp_path: Path) -> None:
    make_run(tmp_path / "run", Plan())
    (tmp_path / "file").write_text("here already")
    for out, said in ((tmp_path, "is a folder"), (tmp_path / "file" / "deep" / "r.html", "is a file")):
        result = CliRunner().invoke(main, ["compare", str(tmp_path / "run"), "--out", str(out), "--json"])
        assert result.exit_code == 2
        assert said in json.loads(result.stderr)["error"]["message"]
