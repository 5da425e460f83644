"""Read the answers of a blind comparison. Every revision is kept; each answer counts as it stands."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from curator.annotate.prefer import page as prefer_page
from curator.annotate.prefer.comparison import Address, Comparison
from curator.annotate.prefer.figures import Given
from curator.annotate.pull.revisions import nameless
from schemas.progress import Progress

# Label Studio applies the list to tasks and to the annotations in them alike.
FIELDS = "data,annotations,result,completed_by,was_cancelled,lead_time,updated_at"


def read_back(comparison: Comparison, address: Address, progress: Progress) -> None:
    """Record every revision of every answer. Renew images' URLs that end soon."""
    before = {row["annotation_id"]: row for row in standing(comparison)}
    names, rows, seen, done = comparison.client.people(), [], set[int](), 0
    for page in comparison.client.tasks(comparison.number, FIELDS):
        for task in page:
            if task["id"] not in comparison.shown:
                continue
            image, _ = comparison.shown[task["id"]]
            if not address.is_good(str(task["data"].get("image")), image):
                comparison.client.update_task(task["id"], task["data"] | {"image": address.of(image)})
            for annotation in task.get("annotations") or []:
                seen.add(annotation["id"])
                known = before.get(annotation["id"])
                row = _row(annotation, int(task["id"]), image, len(comparison.versions), names, known)
                if known != row:
                    rows.append(row)
        done += len(page)
        progress("reading answers", done, len(comparison.shown))
    gone = [row | {"outcome": "deleted", "place": None} for number, row in before.items() if number not in seen]
    rows += [row for row in gone if before[row["annotation_id"]]["outcome"] != "deleted"]
    if rows:
        frame = pl.DataFrame(rows, schema=_answer_columns())
        comparison.catalog.add_preference_answers(comparison.key, frame)


def _answer_columns() -> dict[str, Any]:
    return {
        "task_id": pl.Int64,
        "annotation_id": pl.Int64,
        "image_sha256": pl.String,
        "outcome": pl.String,
        "place": pl.Int32,
        "person": pl.String,
        "lead_time_seconds": pl.Float64,
        "updated_at": pl.String,
    }


def standing(comparison: Comparison) -> list[dict[str, Any]]:
    return list(comparison.catalog.preference_answers(comparison.key).iter_rows(named=True))


def _row(
    annotation: Mapping[str, Any],
    task: int,
    image: str,
    candidates: int,
    names: Mapping[int, str],
    known: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return an answer as the catalog keeps it. A removed person keeps the login last known."""
    outcome, place = prefer_page.read_answer(annotation, candidates)
    by = annotation.get("completed_by")
    by = by.get("id") if isinstance(by, Mapping) else by
    lead_time = annotation.get("lead_time")
    return {
        "task_id": task,
        "annotation_id": annotation["id"],
        "image_sha256": image,
        "outcome": outcome,
        "place": place,
        "person": (by and names.get(by)) or (known["person"] if known else nameless(by)),
        "lead_time_seconds": None if lead_time is None else float(lead_time),
        "updated_at": str(annotation.get("updated_at")),
    }


def given(comparison: Comparison, rows: Iterable[Mapping[str, Any]]) -> list[Given]:
    """Return one answer for each person and image: the last."""
    last: dict[tuple[str, str], Given] = {}
    shown = {
        task: json.loads(order) for task, _, order in comparison.catalog.preference_tasks(comparison.key).iter_rows()
    }
    for row in sorted(rows, key=lambda row: row["updated_at"]):
        image, order = row["image_sha256"], shown[row["task_id"]]
        texts = {version: comparison.texts[version][image] for version in order}
        chosen = texts[order[row["place"]]] if row["outcome"] == "chosen" else None
        seconds = row["lead_time_seconds"]
        last[image, row["person"]] = Given(image, row["person"], texts, chosen, row["place"], seconds)
    return list(last.values())
