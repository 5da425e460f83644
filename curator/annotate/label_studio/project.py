"""Find our project in Label Studio, or make it; restore settings that were changed there by hand.

A project of ours carries a key in its description (amatl:...). The catalog records the key before the project is made:
a push that was killed in between finds the project, and a Label Studio that moved to another address is recognised.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from curator.annotate.label_studio.client import LabelStudio
from curator.annotate.label_studio.http import NotThere, Refused, Uncertain
from curator.annotate.label_studio.labeling_page import instructions, labeling_config

if TYPE_CHECKING:
    from label_studio_sdk.types.lse_project_response import LseProjectResponse

    from curator.catalog import Catalog

LOOKS = (1.0, 2.0, 4.0, 8.0)  # seconds before each look for a project that may have been made
MARK = "amatl:"


class ProjectGone(NotThere):
    """The project is gone from Label Studio. Make a new one with: curator annotate push"""


@dataclass(frozen=True)
class Place:
    """Our project there. `made`: just now; `replaced`: the number of the deleted project that it replaces."""

    project_key: str
    label_studio_id: int
    made: bool = False
    replaced: int | None = None


def config_sha256(config: str) -> str:
    """Return the sha256 of a labeling config, white space aside."""
    return hashlib.sha256(" ".join(config.split()).encode()).hexdigest()


def records(catalog: Catalog) -> list[dict[str, Any]]:
    """Return the current projects, oldest first, as rows of `Catalog.annotation_projects`."""
    return [row for row in catalog.annotation_projects().to_dicts() if row["current"]]


def record_of(catalog: Catalog, dataset: str, target_set: str, title: str) -> dict[str, Any] | None:
    """Return the current project of these three, or None."""
    wanted = (dataset, target_set, title)
    return next((r for r in records(catalog) if (r["dataset"], r["target_set"], r["title"]) == wanted), None)


def here(client: LabelStudio, record: Mapping[str, Any]) -> LseProjectResponse:
    """Return our project as it is there, found by number or by key. Raise ProjectGone."""
    number = record["label_studio_id"]
    if number is not None:
        try:
            found = client.project(number)
            if _mark(record) in (found.description or "") or _is_ours(client, found, record):
                return found
        except NotThere:
            pass
    for titled in client.projects_titled(record["title"]):
        if _mark(record) in (titled.description or "") and titled.id is not None:
            return client.project(titled.id)
    raise ProjectGone(
        f"{record['dataset']}/{record['target_set']}: the project {record['title']!r} is gone from Label Studio at "
        f"{client.url}. What was pulled is kept; a new one is made by: "
        f"curator annotate push {record['dataset']} --set SET --to {record['target_set']}"
    )


def find_or_make(
    client: LabelStudio, catalog: Catalog, dataset: str, target_set: str, title: str, person: str
) -> Place:
    """Return our project for these three. Make it if there is none, or if it was deleted."""
    record = record_of(catalog, dataset, target_set, title)
    if record:
        with suppress(ProjectGone):
            return Place(record["project_key"], number_of(here(client, record)))
    replaced = record["label_studio_id"] if record else None
    key = (
        record["project_key"] if record and replaced is None else _new_key(catalog, dataset, target_set, title, person)
    )
    return Place(key, _make(client, key, dataset, target_set, title), made=True, replaced=replaced)


def settle(client: LabelStudio, place: Place, last_config: str | None, annotators: int | None) -> list[str]:
    """Restore the project's settings where they differ. Return notes for the user.

    `last_config`: sha256 of the config that the last push set; any other one was set by hand.
    """
    there = client.project(place.label_studio_id)
    config, notes = labeling_config(), []
    changes: dict[str, Any] = {}
    if config_sha256(there.label_config or "") != config_sha256(config):
        changes["label_config"] = config
        if last_config is not None and config_sha256(there.label_config or "") != last_config:
            notes.append("The labeling config had been changed by hand in Label Studio; it was put back.")
    if not there.show_collab_predictions:
        changes["show_collab_predictions"] = True
        notes.append("Label Studio no longer showed the proposed captions; it does again.")
    if not (there.expert_instruction or "").strip():
        changes |= {"expert_instruction": instructions(), "show_instruction": True}
    if MARK + place.project_key not in (there.description or ""):
        changes["description"] = f"{there.description or ''} {MARK}{place.project_key}".strip()
    if annotators is not None and there.maximum_annotations != annotators:
        changes["maximum_annotations"] = annotators
    if changes:
        _change(client, place, changes)
    return notes


def _change(client: LabelStudio, place: Place, changes: Mapping[str, Any]) -> None:
    try:
        client.update_project(place.label_studio_id, changes)
    except Refused as error:
        raise Refused(
            f"{str(error).rstrip('.')}, when {', '.join(sorted(changes))} of project {place.label_studio_id} was to be "
            "put right. Put it right by hand, or delete the project there: push makes a new one, and no work is lost."
        ) from error


def number_of(project: LseProjectResponse) -> int:
    """Return a project's number, which the SDK types as optional."""
    assert project.id is not None
    return project.id


def _mark(record: Mapping[str, Any]) -> str:
    return f"{MARK}{record['project_key']}"


def _is_ours(client: LabelStudio, found: LseProjectResponse, record: Mapping[str, Any]) -> bool:
    """Return whether a project without a key is ours all the same: it has our title and our kind of tasks."""
    if MARK in (found.description or ""):
        return False  # another catalog's
    first = next(client.tasks(number_of(found), "data", page_size=1), [])
    data = first[0].get("data") or {} if first else {}
    same_title = found.title == record["title"]
    return same_title and data.get("dataset") == record["dataset"] and "image_sha256" in data


def _new_key(catalog: Catalog, dataset: str, target_set: str, title: str, person: str) -> str:
    key = secrets.token_hex(8)
    catalog.add_annotation_project(key, dataset, target_set, title, person)
    return key


def _make(client: LabelStudio, key: str, dataset: str, target_set: str, title: str) -> int:
    """Make the project. If nobody can tell whether it was made, look for its key before making it again."""
    settings = {
        "title": title,
        "description": f"Captions of {dataset}, refined into {dataset}/{target_set}. {MARK}{key}",
        "label_config": labeling_config(),
        "expert_instruction": instructions(),
        "show_instruction": True,
        "show_collab_predictions": True,
    }
    try:
        return client.create_project(settings)
    except Uncertain:
        for seconds in LOOKS:
            client.pause(seconds)
            for found in client.projects_titled(title):
                if MARK + key in (found.description or "") and found.id is not None:
                    return found.id
        return client.create_project(settings)
