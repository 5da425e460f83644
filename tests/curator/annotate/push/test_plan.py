"""What a push decides before it sends anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from curator.annotate.label_studio.labeling_page import prediction, task_data
from curator.annotate.previews.serve import key_id, signature_of
from curator.annotate.push.ledger import read_task
from curator.annotate.push.plan import Material, Signing, Task, choose, plan
from schemas.progress import Progress, silent
from tests.curator.annotate.previews.signed_url import signed_url

NOW = datetime(2026, 11, 23, tzinfo=UTC)
KEY = b"k" * 32
SIGNING = Signing("http://here", key_id(KEY), NOW + timedelta(days=90), NOW + timedelta(days=30))
IMAGES = [letter * 64 for letter in "abcd"]


def material(image: str, caption: str | None = "a fox") -> Material:
    return Material(image, task_data("", image, "zoo", "fox.png", {"legs": 4}, {}), caption)


def task(place: int, version: str = "zoo/blip@1") -> Task:
    image = IMAGES[place]
    ends = NOW + timedelta(days=80)
    return Task(place + 1, image, material(image).digest, "http://here", SIGNING.images_key, ends, version)


ALL = {image: material(image) for image in IMAGES}


def test_what_is_as_it_should_be_is_left_alone() -> None:
    made = plan(ALL, IMAGES, map(task, range(4)), (), SIGNING, "zoo/blip@1")
    assert (made.new, made.propose, made.update, made.unchanged) == ([], [], [], 4)


def test_images_without_a_task_are_new_unless_answered_or_without_a_caption() -> None:
    stock = ALL | {IMAGES[3]: material(IMAGES[3], None)}
    made = plan(stock, IMAGES, [task(0)], {IMAGES[1]}, SIGNING, "zoo/blip@1")
    assert (made.new, made.already_answered, made.without_caption) == ([IMAGES[2]], 1, 1)


def test_a_task_not_chosen_any_more_is_kept_and_kept_up_to_date() -> None:
    made = plan(ALL, IMAGES[:1], [task(0), task(1)], (), SIGNING, "zoo/blip@2")
    assert (made.kept, [found.task_id for found in made.propose], made.new) == (1, [1, 2], [])


def test_a_task_of_an_image_that_left_the_dataset_is_only_counted() -> None:
    made = plan({}, [], [task(0)], (), SIGNING, "zoo/blip@2")
    assert (made.kept, made.propose, made.update) == (1, [], [])


@pytest.mark.parametrize(
    "change",
    [
        {"data_digest": "other"},
        {"images_url": "http://there"},
        {"images_key": "another key"},
        {"expires_at": NOW + timedelta(days=29)},
    ],
)
def test_other_data_or_an_address_that_ends_is_renewed(change: dict[str, object]) -> None:
    made = plan(ALL, IMAGES, [replace(task(0), **change), task(1)], (), SIGNING, "zoo/blip@1")  # type: ignore[arg-type]
    assert [found.task_id for found in made.update] == [1]


def test_the_address_of_an_image_is_no_part_of_what_a_task_shows() -> None:
    one = material(IMAGES[0])
    other = Material(IMAGES[0], one.data | {"image": "http://x"}, None)
    assert one.digest == other.digest != Material(IMAGES[0], one.data | {"captions": {"x": "y"}}, None).digest


@pytest.mark.parametrize(
    ("holds", "limit", "found"), [(None, None, "abcd"), (None, 2, "ab"), ("bd", 1, "b"), ("", 3, "")]
)
def test_the_first_so_many_that_the_condition_holds_for(holds: str | None, limit: int | None, found: str) -> None:
    assert "".join(choose("abcd", None if holds is None else set(holds), limit)) == found


class Signed:
    """Addresses by a key at hand, of previews that nobody asks for."""

    def __init__(self, key: bytes) -> None:
        self.key, self.key_id = key, key_id(key)

    def lacking(self, images: Sequence[str]) -> list[str]:
        raise NotImplementedError

    def make(self, images: Sequence[str], progress: Progress = silent) -> list[str]:
        raise NotImplementedError

    def sign(self, images: Iterable[str], expires_at: datetime) -> None:
        """It is quick anyway."""

    def signature(self, image: str, expires_at: datetime) -> str:
        return signature_of(image, int(expires_at.timestamp()), self.key)


def test_a_task_there_is_read_as_it_was_sent() -> None:
    image, ends = IMAGES[0], NOW + timedelta(days=90)
    url = signed_url("http://here", image, ends, KEY)
    sent = {"id": 7, "data": material(image).data | {"image": url}, "predictions": []}
    proposed = [{"id": n, **prediction("a fox", f"zoo/blip@{n}")} for n in (1, 2)]
    found = read_task(sent | {"predictions": proposed}, "zoo", Signed(KEY))
    expected = Task(7, image, material(image).digest, "http://here", key_id(KEY), ends, "zoo/blip@2")
    assert found == expected
    other_key = read_task(sent, "zoo", Signed(b"x" * 32))
    assert other_key and (other_key.images_key, other_key.model_version) == ("", "")


@pytest.mark.parametrize(
    "data", [{}, {"image_sha256": "x", "dataset": "zoo"}, {"image_sha256": "a" * 64, "dataset": "y"}]
)
def test_a_task_of_somebody_else_is_none_of_ours(data: dict[str, str]) -> None:
    assert read_task({"id": 7, "data": data}, "zoo", Signed(KEY)) is None
