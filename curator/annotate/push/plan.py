"""Decide what a push has to do, before anything is sent: new tasks, outdated captions, outdated data."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from schemas.digest import sha256_json


@dataclass(frozen=True)
class Material:
    """One image as a task shows it. `data`: the task's data, `image` empty. `caption`: None if there is none."""

    image_sha256: str
    data: dict[str, Any]
    caption: str | None

    @property
    def digest(self) -> str:
        """Return the digest of what the task shows, without the image's URL: that is renewed for other reasons."""
        return sha256_json({key: value for key, value in self.data.items() if key != "image"})


@dataclass(frozen=True)
class Task:
    """A task as it was last sent."""

    task_id: int
    image_sha256: str
    data_digest: str
    images_url: str
    images_key: str
    expires_at: datetime
    model_version: str


@dataclass(frozen=True)
class Signing:
    """The address and the key that images' URLs have now, and which URLs to renew."""

    images_url: str
    images_key: str
    expires_at: datetime
    renew_before: datetime  # a URL that ends earlier is renewed

    def outdated(self, task: Task) -> bool:
        """Return whether a task's image needs a new URL."""
        here = (task.images_url, task.images_key) == (self.images_url, self.images_key)
        return not here or task.expires_at < self.renew_before


@dataclass
class Plan:
    """The tasks to send. `new`: images without a task; `propose`, `update`: tasks. Everything else is counted."""

    new: list[str] = field(default_factory=list)
    propose: list[Task] = field(default_factory=list)
    update: list[Task] = field(default_factory=list)
    unchanged: int = 0
    kept: int = 0
    already_answered: int = 0
    without_caption: int = 0


def plan(
    material: Mapping[str, Material],
    chosen: Collection[str],
    tasks: Iterable[Task],
    answered: Collection[str],
    signing: Signing,
    model_version: str,
) -> Plan:
    """Compare the tasks with what they should be.

    `material`: by image, for every image that is chosen or has a task and is still in the dataset. `answered`: images
    with an answer in the catalog: if their task is gone, nobody is asked a second time.
    """
    made, held, chosen = Plan(), set(), set(chosen)
    for task in tasks:
        held.add(task.image_sha256)
        made.kept += task.image_sha256 not in chosen
        shown = material.get(task.image_sha256)
        if shown is None:
            continue
        other_caption = task.model_version != model_version and shown.caption is not None
        other_data = task.data_digest != shown.digest or signing.outdated(task)
        made.propose += [task] if other_caption else []
        made.update += [task] if other_data else []
        made.unchanged += not (other_caption or other_data)
    for image in (image for image in material if image in chosen and image not in held):
        if image in answered:
            made.already_answered += 1
        elif material[image].caption is None:
            made.without_caption += 1
        else:
            made.new.append(image)
    return made


def choose(captioned: Iterable[str], holds: Collection[str] | None, limit: int | None) -> list[str]:
    """Return the first `limit` captioned images that `--where` holds for, in the dataset's order."""
    found = [image for image in captioned if holds is None or image in holds]
    return found if limit is None else found[:limit]
