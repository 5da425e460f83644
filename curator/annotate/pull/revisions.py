"""Turn a task's annotations into revisions: each that is new, was edited, or was deleted since the last pull.

    outcome      when                                       the image's caption
    captioned    the box holds a text                       becomes this text, if the rule picks this annotation
    rejected     the verdict is "reject"                    the same; the image stays out of snapshots
    emptied      the box is empty                           never becomes empty: as if there were no annotation
    skipped      the task was skipped, whatever is in it    as if there were none
    unreadable   the labeling page was changed by hand      as if there were none; the answer is kept as it came
    deleted      the annotation was deleted there           as if there were none; what it said stays in the history

If no annotation is left that could speak for an image, its caption is removed from the set (if an annotation had put it
there). A task deleted there keeps its annotations here; so does a user removed there, under the name last known. Drafts
are no answers and aren't read. An edit after a commit is a new revision of the
set; the version stays as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, TypeVar

from curator.annotate.label_studio.client import TIME_FORMAT
from curator.annotate.label_studio.http import LabelStudioFailed
from curator.annotate.label_studio.labeling_page import Answer, read_annotation
from schemas.errors import BadOption

Row = TypeVar("Row", bound=Mapping[str, Any])
Outcome = Literal["captioned", "rejected", "emptied", "skipped", "unreadable", "deleted"]
SPEAKS: tuple[Outcome, ...] = ("captioned", "rejected")  # outcomes that can speak for an image
NEEDED = frozenset({"result", "completed_by", "was_cancelled", "created_at", "updated_at", "parent_prediction"})
REMOVED = "somebody removed"


@dataclass(frozen=True)
class Revision:
    """One annotation at one time. `model_version`, `parent_caption_id`: what was proposed, None if nothing was."""

    task_id: int
    annotation_id: int
    image_sha256: str
    outcome: Outcome
    verdict: str | None
    origin: str | None
    text: str | None
    lead_time_seconds: float | None
    person: str
    person_id: int | None
    model_version: str | None
    parent_caption_id: int | None
    answer: str
    created_at: str
    updated_at: str


class Proposed(Protocol):
    """Finds the caption_id that a version has for an image, or None."""

    def __call__(self, model_version: str, image_sha256: str) -> int | None: ...


class PersonOf(Protocol):
    """Finds a person's login by their id in Label Studio, or None."""

    def __call__(self, person_id: int) -> str | None: ...


def is_caption(revision: Mapping[str, Any]) -> bool:
    """Return whether a revision, as a row, becomes a caption of the set."""
    return revision["outcome"] in SPEAKS and bool(revision["text"])


def outcome_of(answer: Answer, result: Sequence[Any]) -> Outcome:
    """Return the outcome of an answer; see the table above."""
    if answer.skipped:
        return "skipped"
    if answer.verdict == "reject":
        return "rejected"
    if answer.text:
        return "captioned"
    if answer.text is None and answer.verdict is None and result:
        return "unreadable"
    return "emptied"


def revisions_of(
    task: Mapping[str, Any],
    image_sha256: str,
    known: Mapping[int, Mapping[str, Any]],
    proposed: Proposed,
    person_of: PersonOf,
) -> list[Revision]:
    """Return the revisions on a task of Label Studio's list that aren't `known` (by annotation) yet."""
    predictions = {found["id"]: found for found in task.get("predictions") or []}
    found: list[Revision] = []
    there = set()
    if "annotations" not in task:  # else everything known would look deleted
        raise LabelStudioFailed(f"Label Studio tells no annotations of task {task['id']}. Look at its version and log.")
    for raw in task["annotations"]:
        if lacking := NEEDED - raw.keys():
            raise LabelStudioFailed(f"Label Studio tells no {', '.join(sorted(lacking))} of annotation {raw['id']}.")
        there.add(raw["id"])
        before = known.get(raw["id"])
        if before and before["outcome"] != "deleted" and before["updated_at"] == exact(raw["updated_at"]):
            continue
        prediction = predictions.get(raw.get("parent_prediction"), {})
        found.append(_revision(raw | {"prediction": prediction}, task["id"], image_sha256, before, proposed, person_of))
    for annotation_id, before in known.items():
        if annotation_id not in there and before["outcome"] != "deleted":
            found.append(_deleted(before, exact(task["updated_at"])))
    return found


def exact(moment: str) -> str:
    """Return a time in the form that filters take: Label Studio itself leaves out microseconds that are zero."""
    return datetime.fromisoformat(moment).astimezone(UTC).strftime(TIME_FORMAT)


def _revision(
    raw: Mapping[str, Any],
    task_id: int,
    image_sha256: str,
    before: Mapping[str, Any] | None,
    proposed: Proposed,
    person_of: PersonOf,
) -> Revision:
    answer = read_annotation(raw)
    model_version = answer.model_version or (before or {}).get("model_version")
    parent = proposed(model_version, image_sha256) if model_version else None
    person_id = _number(raw.get("updated_by")) or answer.person
    return Revision(
        task_id=task_id,
        annotation_id=raw["id"],
        image_sha256=image_sha256,
        outcome=outcome_of(answer, raw.get("result") or []),
        verdict=answer.verdict,
        origin=answer.origin,
        text=answer.text,
        lead_time_seconds=answer.lead_time_seconds,
        person=_person(person_id, before, person_of),
        person_id=person_id,
        model_version=model_version,
        parent_caption_id=parent or (before or {}).get("parent_caption_id"),
        answer=json.dumps(raw.get("result") or [], ensure_ascii=False),
        created_at=exact(raw["created_at"]),
        updated_at=exact(raw["updated_at"]),
    )


def _deleted(before: Mapping[str, Any], updated_at: str) -> Revision:
    same = ("task_id", "annotation_id", "image_sha256", "text", "person", "person_id", "model_version", "created_at")
    return Revision(
        **{name: before[name] for name in same},
        outcome="deleted",
        verdict=None,
        origin=None,
        lead_time_seconds=None,
        parent_caption_id=before["parent_caption_id"],
        answer="[]",
        updated_at=max(updated_at, before["updated_at"]),
    )


def _person(person_id: int | None, before: Mapping[str, Any] | None, person_of: PersonOf) -> str:
    """Return the login of a revision's person. A removed person keeps the one last known."""
    if person_id is not None and (name := person_of(person_id)):
        return name
    if before and person_id in (None, before["person_id"]):
        return str(before["person"])
    return nameless(person_id)


def nameless(person_id: int | None) -> str:
    """Return a name for a person whose login was never known here."""
    return REMOVED if person_id is None else f"Label Studio user {person_id}"


def _number(person: Any) -> int | None:
    number = person.get("id") if isinstance(person, Mapping) else person
    return int(number) if number is not None else None


@dataclass(frozen=True)
class Rule:
    """The rule that picks which annotation speaks for an image: the latest, or a reviewer's before any other."""

    reviewer: str | None = None

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Parse `latest` or `reviewer=NAME`. Raise BadOption."""
        kind, _, name = text.partition("=")
        if kind == "reviewer" and name.strip():
            return cls(name.strip())
        if text == "latest":
            return cls()
        raise BadOption(f"--pick {text}: write latest, or reviewer=NAME with a person's login.")

    def __str__(self) -> str:
        return "latest" if self.reviewer is None else f"reviewer={self.reviewer}"

    def is_reviewer(self, person: str) -> bool:
        """Return whether a login is the reviewer's: ana and ana@example.org both name ana@example.org."""
        wanted = (self.reviewer or "").casefold()
        return wanted in (person.casefold(), person.casefold().partition("@")[0])

    def pick(self, annotations: Iterable[Row]) -> Row | None:
        """Return the annotation that speaks (each has outcome, person, updated_at, revision_id), or None."""
        able = [annotation for annotation in annotations if annotation["outcome"] in SPEAKS]
        able = [annotation for annotation in able if self.is_reviewer(annotation["person"])] or able
        return max(able, key=lambda one: (one["updated_at"], one["revision_id"]), default=None)
