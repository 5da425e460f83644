"""What is missing on the way to a model is said in that order."""

from __future__ import annotations

from typing import Any

from curator.caption_sets.versions import SetVersions, Version
from curator.datasets import DatasetHealth, SetHealth
from curator.datasets.next_step import next_steps

COMMITTED = Version(number=2, captions=3, digest="d", message="m", person="ana", committed_at="2026-11-23T12:00:00Z")


def health(*sets: SetHealth, rejects: int = 0) -> DatasetHealth:
    counts: dict[str, Any] = {"paths": 3, "near_duplicate_groups": 0, "near_duplicate_images": 0, "without_split": 0}
    return DatasetHealth(dataset="zoo", images=3, rejects=rejects, rejects_by_reason={}, sets=list(sets), **counts)


def line(*versions: Version, uncommitted: int = 0) -> SetVersions:
    return SetVersions(dataset="zoo", set_name="human", captions=3, uncommitted=uncommitted, versions=list(versions))


def kinds(*arguments: Any) -> list[str]:
    return [step.kind for step in next_steps(*arguments)]


def test_from_images_to_a_run() -> None:
    full = SetHealth(set_name="human", captions=3, without_image=0, missing=0)
    assert kinds(health(), [], 0, 0) == ["caption"]
    assert kinds(health(full), [line(uncommitted=3)], 0, 0) == ["commit"]
    assert kinds(health(full), [line(COMMITTED)], 0, 0) == ["snapshot"]
    assert kinds(health(full), [line(COMMITTED)], 1, 0) == ["train"]
    assert kinds(health(full), [line(COMMITTED)], 1, 1) == []


def test_what_is_lacking_comes_before_what_is_next() -> None:
    half = SetHealth(set_name="human", captions=2, without_image=0, missing=1)
    steps = next_steps(health(half, rejects=1), [line(COMMITTED, uncommitted=1)], 0, 0)
    assert [step.kind for step in steps] == ["fill", "commit", "snapshot", "rejects"]
    assert steps[0].text == "1 image without a caption in human."
    assert steps[2].command == "curator snapshot zoo/human@2 --out snapshots/zoo"


def test_many_sets_hide_no_other_kind_of_step() -> None:
    lacking = [SetHealth(set_name=f"s{missing}", captions=1, without_image=0, missing=missing) for missing in (2, 1)]
    lines = [SetVersions(dataset="zoo", set_name=f"s{new}", captions=3, uncommitted=new, versions=[]) for new in (1, 2)]
    steps = next_steps(health(*lacking, rejects=1), lines, 0, 0)
    assert [(step.kind, step.set_name) for step in steps] == [
        ("fill", "s1"), ("commit", "s2"), ("rejects", None), ("fill", "s2"), ("commit", "s1")
    ]  # fmt: skip
