"""Prompt files and the default suite."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schemas.errors import BadDocument, NotFound
from schemas.run import Prompt
from tests.trainer_client.conftest import write_snapshot
from trainer_client.data.snapshot import Snapshot
from trainer_client.sample.prompts import ROLES, default_prompts, read_prompts, speaking_tracks


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    def caption(split: str, number: int) -> dict[str, str | None]:
        return {
            "human": f"A frog number {number} sits by the long river in the {split} set, near a house.",
            "template": f"drawing of frog {number}, animal",
            "fixed": "drawing",
            "empty": "",
        }

    tracks = ("human", "template", "fixed", "empty")
    return Snapshot.open(write_snapshot(tmp_path_factory.mktemp("four"), caption=caption, tracks=tracks))


def read(text: str, opened: Snapshot, tmp_path: Path) -> list[Prompt]:
    path = tmp_path / "prompts.txt"
    path.write_text(text, encoding="utf-8")
    return read_prompts(path, opened)


def test_roles_comments_and_plain_lines(opened: Snapshot, tmp_path: Path) -> None:
    prompts = read("# a comment\n\n[unrelated] a red car\n  a blue frog \n[generic]an image\n", opened, tmp_path)
    assert [(prompt.role, prompt.text) for prompt in prompts] == [
        ("unrelated", "a red car"),
        ("custom", "a blue frog"),
        ("generic", "an image"),
    ]


def test_a_caption_of_the_snapshot_is_recognised_with_its_image(opened: Snapshot, tmp_path: Path) -> None:
    seen, held_out = opened.rows("train")[3], opened.rows("validation")[1]
    caption = seen.captions["human"]
    text = f"{caption}\n{held_out.captions['human']}\n[made-up-subject] {caption} \ndrawing\n"
    with pytest.raises(BadDocument, match=r"line 3: the prompt .* is repeated"):
        read(text, opened, tmp_path)
    prompts = read(text.replace("[made-up-subject]", "#"), opened, tmp_path)
    assert [(prompt.role, prompt.image_sha256, prompt.track) for prompt in prompts] == [
        ("seen-caption", seen.sha256, "human"),
        ("held-out-caption", held_out.sha256, "human"),
        ("custom", None, None),  # The fixed track calls every image that: it is no image's own caption.
    ]


def test_a_given_role_wins_over_the_recognised_one(opened: Snapshot, tmp_path: Path) -> None:
    row = opened.rows("train")[0]
    (prompt,) = read(f"[other-track-caption] {row.captions['template']}", opened, tmp_path)
    assert (prompt.role, prompt.track) == ("other-track-caption", "template")
    assert prompt.image_sha256 is not None


def test_a_bad_role_names_the_line_and_the_roles(opened: Snapshot, tmp_path: Path) -> None:
    with pytest.raises(BadDocument) as caught:
        read("a frog\n[sene-caption] a frog", opened, tmp_path)
    assert "prompts.txt, line 2: `sene-caption` is not a role" in str(caught.value)
    assert all(role in str(caught.value) for role in ROLES)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "[generic]\n"])
def test_files_without_prompts_are_refused(opened: Snapshot, tmp_path: Path, text: str) -> None:
    with pytest.raises(BadDocument):
        read(text, opened, tmp_path)


def test_unreadable_files_are_named(opened: Snapshot, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"missing\.txt"):
        read_prompts(tmp_path / "missing.txt", opened)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(BadDocument, match="not UTF-8"):
        read_prompts(tmp_path / "latin.txt", opened)


def test_the_default_suite_asks_for_every_reason(opened: Snapshot) -> None:
    prompts = default_prompts(opened)
    by_role = {prompt.role: prompt for prompt in prompts}
    assert set(by_role) == set(ROLES) - {"custom"}
    seen, other = by_role["seen-caption"], by_role["other-track-caption"]
    assert (seen.track, other.track) == ("human", "template")
    assert seen.image_sha256 == other.image_sha256 in {row.sha256 for row in opened.rows("train")}
    assert by_role["held-out-caption"].image_sha256 in {row.sha256 for row in opened.rows("validation")}
    assert by_role["made-up-subject"].text.startswith("A frog number ")  # The words all human captions begin with.
    assert "oil painting" in by_role["fighting-style"].text
    unrelated = [prompt.text for prompt in prompts if prompt.role == "unrelated"]
    assert unrelated == ["a red car", "a guitar"]  # A house is in the captions.


def test_the_default_suite_of_mute_tracks_has_no_captions(tmp_path: Path) -> None:
    folder = write_snapshot(tmp_path, caption=lambda split, number: {"fixed": "drawing"}, tracks=("fixed",))
    snapshot = Snapshot.open(folder)
    assert speaking_tracks(snapshot) == []
    roles = {prompt.role for prompt in default_prompts(snapshot)}
    assert roles == {"made-up-subject", "generic", "fighting-style", "unrelated"}


def test_another_style_is_asked_for_what_the_style_words_leave(tmp_path: Path) -> None:
    def caption(split: str, number: int) -> dict[str, str | None]:
        human = f"{('drawing of a', 'the')[number % 2]} frog, number {number} of the {split} set, by a long river"
        return {"human": human, "template": f"openmoji drawing of a {('red', 'blue')[number % 2]} frog"}

    snapshot = Snapshot.open(write_snapshot(tmp_path / "s", caption=caption, tracks=("human", "template")))
    by_role = {prompt.role: prompt.text for prompt in default_prompts(snapshot)}
    assert re.fullmatch(r"an oil painting with thick brush strokes of a (red|blue) frog", by_role["fighting-style"])
    assert by_role["made-up-subject"] == "openmoji drawing of a purple elephant with wings"
