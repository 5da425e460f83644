"""One blind comparison: its versions, its project in Label Studio, and the URLs of its images.

A project carries a part of the comparison's key in its description. The catalog records the key before the project is
made, so a run that was killed in between finds it. The whole key decides the order people see, so it never leaves.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from curator.annotate.label_studio.client import LabelStudio
from curator.annotate.label_studio.http import NotThere
from curator.annotate.prefer import page as prefer_page
from curator.annotate.previews.sources import Previews, address

if TYPE_CHECKING:
    from curator.catalog import Catalog

MARK = "amatl-prefer:"
RENEW_WITHIN = timedelta(days=14)


@dataclass
class Comparison:
    """One comparison as the catalog knows it. `texts`: captions by version, by image."""

    catalog: Catalog
    client: LabelStudio
    dataset: str
    texts: dict[str, dict[str, str]]
    person: str
    key: str = ""
    number: int = 0
    shown: dict[int, tuple[str, list[str]]] = field(default_factory=dict)  # by task: image, versions in order
    notes: list[str] = field(default_factory=list)

    @property
    def versions(self) -> list[str]:
        """Return the versions' names, dataset/set@n, sorted."""
        return sorted(self.texts)

    def order(self, image_sha256: str) -> list[str]:
        """Return the versions in the order in which a task shows them."""
        return sorted(
            self.versions,
            key=lambda version: hashlib.sha256(f"{self.key} {image_sha256} {version}".encode()).digest(),
        )

    def captions(self, image_sha256: str) -> list[str]:
        """Return the versions' captions in that order."""
        return [self.texts[version][image_sha256] for version in self.order(image_sha256)]


@dataclass(frozen=True)
class Address:
    """The address of the previews, and until when their URLs are valid."""

    images_url: str
    expires_at: datetime
    previews: Previews

    def of(self, image_sha256: str) -> str:
        """Return an image's signed URL."""
        return address(self.previews, self.images_url, image_sha256, self.expires_at)

    def is_good(self, url: str, image_sha256: str) -> bool:
        """Return whether a task's URL is one of ours and stays valid for a while."""
        expires = url.partition("?expires=")[2].partition("&")[0]
        if not expires.isdecimal():
            return False
        until = datetime.fromtimestamp(int(expires), UTC)
        ours = address(self.previews, self.images_url, image_sha256, until) == url
        return ours and (until > datetime.now(UTC) + RENEW_WITHIN or until >= self.expires_at)


def find_or_make(comparison: Comparison, annotators: int | None) -> None:
    """Find our project or make it. Its key is recorded first, so that an interrupted run finds it again."""
    catalog, client = comparison.catalog, comparison.client
    known = [
        row
        for row in catalog.preference_projects().iter_rows(named=True)
        if row["dataset"] == comparison.dataset and json.loads(row["versions"]) == comparison.versions
    ]
    record = known[-1] if known else None
    found = _look(client, record, _title(comparison)) if record else None
    if record and found is None and record["label_studio_id"] is not None:
        comparison.notes.append(
            "The project of this comparison is gone from Label Studio; a new one was begun. Its answers are kept here."
        )
        record = None
    comparison.key = record["project_key"] if record else secrets.token_hex(16)
    if record is None:
        _note(comparison, None, None)
    comparison.number = found if found is not None else client.create_project(_settings(comparison))
    if record is None or record["label_studio_id"] != comparison.number or record["url"] != client.url:
        _note(comparison, client.url, comparison.number)
    _settle(comparison, annotators)


def _look(client: LabelStudio, record: Mapping[str, Any], title: str) -> int | None:
    """Return the number of the project that carries the key, by its number or title."""
    mark = MARK + record["project_key"][:8]
    if record["label_studio_id"] is not None:
        with suppress(NotThere):
            if mark in (client.project(record["label_studio_id"]).description or ""):
                return int(record["label_studio_id"])
    titled = client.projects_titled(title)
    return next((found.id for found in titled if mark in (found.description or "")), None)


def _note(comparison: Comparison, url: str | None, number: int | None) -> None:
    comparison.catalog.add_preference_project(
        comparison.key, comparison.dataset, comparison.versions, url, number, comparison.person
    )


def _title(comparison: Comparison) -> str:
    return f"{comparison.dataset}: which caption?"


def _settings(comparison: Comparison) -> dict[str, Any]:
    """Return the project's settings. They name no version; the mark is too little of the key to tell the order."""
    count = len(comparison.versions)
    return {
        "title": _title(comparison),
        "description": f"Captions compared blind. {MARK}{comparison.key[:8]}",
        "label_config": prefer_page.labeling_config(count),
        "expert_instruction": prefer_page.instructions(count),
        "show_instruction": True,
    }


def _settle(comparison: Comparison, annotators: int | None) -> None:
    there, ours = comparison.client.project(comparison.number), _settings(comparison)
    changes: dict[str, Any] = {}
    if "".join((there.label_config or "").split()) != "".join(ours["label_config"].split()):
        changes["label_config"] = ours["label_config"]
        comparison.notes.append("The page had been changed by hand in Label Studio; it was put back.")
    if annotators is not None and there.maximum_annotations != annotators:
        changes["maximum_annotations"] = annotators
    if changes:
        comparison.client.update_project(comparison.number, changes)
