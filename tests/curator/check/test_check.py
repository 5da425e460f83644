"""The check of a whole set: findings, what is allowed, the baseline, and the command."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from curator.caption import caption
from curator.caption_sets.versions import commit
from curator.catalog import Catalog
from curator.check.findings import KINDS, Finding, parse_allow
from curator.check.run import CheckResult, Settings, check
from curator.cli import main
from curator.cli.text.check import text_of_check
from curator.text import tokens
from schemas.errors import BadOption, NotFound
from tests.curator.fill import add_images, sha
from tests.curator.lab import new_catalog
from tests.curator.text.tiny_clip import write_tiny_clip

NAMES = ["fox", "owl", "cat", "dog", "hen", "ant", "bee", "cow", "eel", "elk", "gnu", "hog"]
GOOD = [f"a red {name} by itself" for name in NAMES]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_clip(tmp_path_factory.mktemp("clip"), limit=77))


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with new_catalog(tmp_path / "lab.duckdb") as opened:
        yield opened


def fill(catalog: Catalog, captions: Sequence[str | None], set_name: str = "c") -> None:
    """Image n has caption n, and its name in the metadata."""
    add_images(
        catalog,
        "zoo",
        [
            {"c": text, "name": NAMES[place % len(NAMES)], "tags": ["animal", NAMES[place % len(NAMES)]]}
            for place, text in enumerate(captions)
        ],
    )
    caption(catalog, "zoo", "column", set_name, {"column": "c"})
    # What strategies never write, other ways in might: tests write it past them.
    edit = (
        "UPDATE captions SET text = replace(replace(text, '<empty>', ''), '<break>', chr(10)) WHERE text LIKE '%<%>%'"
    )
    catalog._connection.cursor().execute(edit)


def found(result: CheckResult, code: str, subject: str | None = None) -> Finding:
    (finding,) = [each for each in result.findings if each.code == code and subject in (None, each.subject)]
    return finding


def test_good_captions_pass_and_every_check_is_listed(catalog: Catalog, clip: str) -> None:
    fill(catalog, GOOD)
    result = check(catalog, "c", Settings(clip, trigger="red", fields=["name"], allow={"fused-term": 1}))
    assert (result.reference, result.captions, result.without_caption, result.committed) == ("zoo/c", 12, 0, False)
    assert result.passed
    assert {finding.code for finding in result.findings} == set(KINDS)
    assert {finding.state for finding in result.findings} == {"clean"}


def test_each_kind_of_finding(catalog: Catalog, tmp_path: Path) -> None:
    clip = str(write_tiny_clip(tmp_path / "clip", limit=30))
    long = "a red ant " + " ".join(f"very {name}" for name in NAMES)
    captions = [
        *GOOD[:11],
        "a red<break>hog",
        "<empty>",
        "fox",
        "a na\ufffdve red cat",
        "a red cafÃ©",
        "a red\u200b hen",
        "a red gnu",
        "a red gnu",
    ]
    fill(catalog, [*captions, "gnu: A red", long, None])
    result = check(catalog, "c", Settings(clip, trigger="red", fields=["name"], allow={"fused-term": 0.7}))
    counts = {finding.code: finding.count for finding in result.findings}
    assert counts == {
        "lost-words": 1,
        "empty": 1,
        "one-word": 1,
        "broken-characters": 1,
        "mojibake": 1,
        "control-characters": 1,
        "newline": 1,
        "trigger-missing": 2,
        "fused-term": 0,
        "duplicate": 2,
        "near-duplicate": 3,
        "unmentioned": 0,
    }
    assert (result.captions, result.without_caption, result.passed) == (21, 1, False)
    lost = found(result, "lost-words").examples[0]
    count = len(tokens.load(clip).tokenizer.encode(long).ids)
    assert lost.text == long
    assert lost.detail is not None
    assert lost.detail.startswith(f"{count} tokens, loses: ")
    assert long.endswith(lost.detail.split("loses: ")[1])
    assert found(result, "mojibake").examples[0].detail == "a red café"
    assert [example.file_name for example in found(result, "empty").examples] == ["0012.png"]
    assert [example.image_sha256 for example in found(result, "one-word").examples] == [sha(13)]
    part = found(result, "duplicate").parts[0]
    assert (part.text, part.captions, sorted(part.file_names)) == ("a red gnu", 2, ["0017.png", "0018.png"])
    near = found(result, "near-duplicate").examples[0]
    assert {near.text, near.detail} == {"a red gnu", "gnu: A red"}
    text = text_of_check(result, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "\u200b" not in text and "a red\\u200b hen" in text


def test_the_fused_term_and_the_values_that_never_occur(catalog: Catalog, clip: str) -> None:
    fill(catalog, [*GOOD[:11], "a bird"])
    result = check(catalog, "c", Settings(clip, fields=["name", "tags"]))
    fused = found(result, "fused-term")
    assert (fused.state, fused.count, fused.of) == ("warning", 11, 12)
    assert [(part.text, part.captions, part.share) for part in fused.parts] == [
        ("a red", 11, 11 / 12),
        ("by itself", 11, 11 / 12),
    ]
    name = found(result, "unmentioned", "name")
    assert (name.unit, name.count, name.of, name.state) == ("values", 1, 12, "warning")
    assert [(part.text, part.captions, part.file_names) for part in name.parts] == [("hog", 1, ["0011.png"])]
    tags = found(result, "unmentioned", "tags")
    assert [(part.text, part.captions) for part in tags.parts] == [("animal", 12), ("hog", 1)]


def test_what_is_allowed_passes(catalog: Catalog, clip: str) -> None:
    fill(catalog, [*GOOD[:10], "<empty>", "fox"])
    settings = Settings(clip, allow={"empty": 1 / 12, "one-word": 0.05})
    result = check(catalog, "c", settings)
    assert (found(result, "empty").state, found(result, "one-word").state) == ("allowed", "warning")
    assert not result.passed


def test_against_a_baseline_only_what_got_worse_fails(catalog: Catalog, clip: str) -> None:
    fill(catalog, ["<empty>", "fox", *GOOD[2:]])
    commit(catalog, "c", "one")
    fill(catalog, ["<empty>", "fox", "<empty>", *GOOD[3:]])
    result = check(catalog, "c", Settings(clip), "c@1")
    empty, one_word = found(result, "empty"), found(result, "one-word")
    assert (empty.state, empty.worse, empty.baseline_share, empty.share) == ("error", True, 1 / 12, 2 / 12)
    assert [(example.file_name, example.new) for example in empty.examples] == [("0002.png", True), ("0000.png", False)]
    assert (one_word.state, one_word.worse) == ("allowed", False)
    assert result.baseline == "zoo/c@1"
    assert check(catalog, "c@1", Settings(clip), "c@1").passed
    assert "1 error that got worse" in text_of_check(result, 120)


def test_without_a_tokenizer_lost_words_are_unchecked_and_that_is_no_pass(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> None:
        raise tokens.TokenizerUnavailable(f"{name}: not here.")

    monkeypatch.setattr(tokens, "load", refuse)
    fill(catalog, GOOD)
    result = check(catalog, "c", Settings(allow={"fused-term": 1}))
    assert (found(result, "lost-words").state, result.passed) == ("unchecked", False)
    assert "not here" in result.notices[0]
    assert "couldn't be checked" in text_of_check(result, 100)
    assert check(catalog, "c", Settings(allow={"fused-term": 1, "lost-words": 1})).passed


def test_bad_options_are_named(catalog: Catalog, clip: str) -> None:
    fill(catalog, GOOD)
    for settings, message in (
        (Settings(clip, near=0.4), "--near 0.4"),
        (Settings(clip, trigger=" "), "--trigger"),
        (Settings(clip, fields=["nope"]), "--field nope: no image has that field. Available fields: c, name, tags"),
    ):
        with pytest.raises(BadOption, match=message):
            check(catalog, "c", settings)
    with pytest.raises(NotFound, match="no caption set"):
        check(catalog, "c", Settings(clip), "d@1")
    for pair in ("nope=1", "empty", "empty=2", "empty=x", "empty=-1"):
        with pytest.raises(BadOption, match="--allow"):
            parse_allow([pair])
    assert parse_allow(["empty=5%", "duplicate=0.25"]) == {"empty": 0.05, "duplicate": 0.25}


def test_the_command(catalog: Catalog, clip: str) -> None:
    fill(catalog, ["<empty>", *GOOD[1:]])
    catalog.close()
    where = ["--catalog", str(catalog.path), "--tokenizer", clip]
    run = CliRunner().invoke
    shown = run(main, ["check", "c", *where])
    assert (shown.exit_code, "0000.png" in shown.stdout) == (0, True)
    strict = run(main, ["check", "c", *where, "--strict", "--json"])
    assert strict.exit_code == 1
    assert json.loads(strict.stdout)["passed"] is False
    allowed = ["--allow", "empty=10%", "--allow", "fused-term=1"]
    assert run(main, ["check", "c", *where, "--strict", *allowed]).exit_code == 0
    assert run(main, ["check", "c", *where, "--allow", "empty=lots"]).exit_code == 2
    assert run(main, ["check", "nope", *where]).exit_code == 1
    help_text = run(main, ["check", "--help"]).stdout
    assert all(code in help_text for code in KINDS)
