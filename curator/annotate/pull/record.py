"""Write revisions to the catalog in one transaction, with their captions, each image's choice, and the watermark.

Captions are written so that the last row of an image is the one that speaks for it. If that is an older one (another
person edited, an annotation was deleted, the rule changed), it is written once more. If none is left, the caption is
removed from the set.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from curator.annotate.label_studio.client import TIME_FORMAT
from curator.annotate.pull.revisions import Revision, Rule, is_caption
from schemas.digest import sha256_json

if TYPE_CHECKING:
    from curator.catalog import Catalog

STRATEGY, STRATEGY_VERSION = "annotate", 1


@dataclass
class Recorder:
    """Writes the revisions of one pull of one project."""

    catalog: Catalog
    project: Mapping[str, Any]  # as Catalog.annotation_projects has it
    rule: Rule
    person: str
    runs: dict[tuple[str, str], int] = field(default_factory=dict)

    def write(
        self,
        revisions: Sequence[Revision],
        watermark: str | None,
        also_settle: Collection[str] = (),
        gone: Collection[int] = (),
        swept: bool = False,
        counts: Mapping[str, int] | None = None,
    ) -> int:
        """Write a page in one transaction. Return on how many images another annotation speaks now.

        `also_settle`: images to decide again though nothing on them is new. `gone`: tasks deleted in Label Studio.
        """
        page = self._page(revisions, {*also_settle, *(revision.image_sha256 for revision in revisions)})
        frames = page.frames()
        frames["gone_tasks"] = _frame([{"task_id": task_id} for task_id in sorted(gone)], {"task_id": int})
        names = {name: self.project[name] for name in ("project_key", "dataset", "target_set")}
        self.catalog.add_annotation_page(
            names, frames, str(self.rule), watermark, swept, dict(counts or {}), self.person
        )
        return len(page.choices)

    def _page(self, revisions: Sequence[Revision], images: Collection[str]) -> _Page:
        page = _Page()
        if not images:
            return page
        ids = self.catalog.reserve_revision_ids(len(revisions))
        new = [asdict(revision) | {"revision_id": id_} for id_, revision in zip(ids, _by_time(revisions), strict=True)]
        spoken, picked = self._spoken(images), self._picked(new, images)
        captions = _in_order([row for row in new if is_caption(row)], picked)
        for row, caption_id in zip(captions, self.catalog.reserve_caption_ids(len(captions)), strict=True):
            row["caption_id"] = caption_id
            page.captions.append(self._caption(page, row, row["parent_caption_id"], row["updated_at"]))
        self._settle(page, picked, images)
        page.revisions = [row | {"caption_id": row.get("caption_id")} for row in new]
        for image in sorted(images):
            speaks = picked[image] or {"revision_id": None, "verdict": None}
            choice = (speaks["revision_id"], speaks["verdict"])
            if spoken.get(image, (None, None)) != choice:
                page.choices.append({"image_sha256": image, "revision_id": choice[0], "verdict": choice[1]})
        return page

    def _spoken(self, images: Collection[str]) -> dict[str, tuple[int | None, str | None]]:
        """Return the revision that spoke for each image so far, and its verdict."""
        rows = self._of_images(self.catalog.choices_of_images, images)
        return {row["image_sha256"]: (row["revision_id"], row["verdict"]) for row in rows}

    def _picked(self, new: Sequence[dict[str, Any]], images: Collection[str]) -> dict[str, dict[str, Any] | None]:
        """Return the annotation that speaks for each image now."""
        standing = {
            (row["project_key"], row["annotation_id"]): row
            for row in self._of_images(self.catalog.annotations_of_images, images)
        }
        for row in new:
            standing[self.project["project_key"], row["annotation_id"]] = row
        by_image: dict[str, list[dict[str, Any]]] = {image: [] for image in images}
        for row in standing.values():
            by_image[row["image_sha256"]].append(row)
        return {image: self.rule.pick(rows) for image, rows in by_image.items()}

    def _settle(self, page: _Page, picked: Mapping[str, dict[str, Any] | None], images: Collection[str]) -> None:
        """Write the chosen caption again, or remove it, if an image's last row isn't the one that speaks for it."""
        now = self._current(images)
        now |= {row["image_sha256"]: (row["text"], row["caption_id"], True) for row in page.captions}
        moment = datetime.now(UTC).strftime(TIME_FORMAT)
        for image in sorted(images):
            speaks = picked[image]
            text, caption_id, by_annotation = now.get(image, (None, None, False))
            wanted = (speaks["text"] or None) if speaks else None
            if wanted == text or (wanted is None and not by_annotation):
                continue
            [new_id] = self.catalog.reserve_caption_ids(1)
            row = speaks or {"person": self.person, "model_version": None, "annotation_id": None, "updated_at": moment}
            row = row | {"image_sha256": image, "text": wanted, "caption_id": new_id}
            parent = (speaks or {}).get("caption_id") or caption_id  # who rejects may leave no caption
            page.captions.append(self._caption(page, row, parent, moment))

    def _current(self, images: Collection[str]) -> dict[str, tuple[str | None, int, bool]]:
        """Return each image's caption in the set now, its id, and whether an annotation made it."""
        rows = self.catalog.current_captions(self.project["dataset"], self.project["target_set"])
        columns = rows.select("image_sha256", "text", "caption_id", "strategy").iter_rows()
        return {image: (text, id_, strategy == STRATEGY) for image, text, id_, strategy in columns if image in images}

    def _caption(self, page: _Page, row: Mapping[str, Any], parent: int | None, moment: str) -> dict[str, Any]:
        """Return a row of `captions`. Its run is added to the page with the first row."""
        told = {"project": self.project["project_key"], "annotation": row["annotation_id"], "at": row["updated_at"]}
        return {
            "caption_id": row["caption_id"],
            "image_sha256": row["image_sha256"],
            "text": row["text"],
            "inputs_digest": sha256_json(told),
            "parent_id": parent,
            "run_id": self._run(page, row["person"], row.get("model_version") or ""),
            "captioned_at": moment,
        }

    def _run(self, page: _Page, person: str, model_version: str) -> int:
        """Return the caption run of a person and the version proposed to them."""
        if (person, model_version) not in self.runs:
            run_id = self.catalog.reserve_caption_run()
            options = {
                "proposed": model_version or None,
                "label_studio": self.project["url"],
                "project": self.project["label_studio_id"],
                "rule": str(self.rule),
            }
            self.runs[person, model_version] = run_id
            page.runs.append(
                {
                    "run_id": run_id,
                    "strategy": STRATEGY,
                    "strategy_version": STRATEGY_VERSION,
                    "options": json.dumps(options, ensure_ascii=False),
                    "person": person,
                }
            )
        return self.runs[person, model_version]

    def _of_images(self, query: Any, images: Collection[str]) -> list[dict[str, Any]]:
        rows = _frame([{"image_sha256": image} for image in sorted(images)], {"image_sha256": str})
        found: pl.DataFrame = query(self.project["dataset"], self.project["target_set"], rows)
        return found.to_dicts()


@dataclass
class _Page:
    """The rows of one transaction."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    captions: list[dict[str, Any]] = field(default_factory=list)
    revisions: list[dict[str, Any]] = field(default_factory=list)
    choices: list[dict[str, Any]] = field(default_factory=list)

    def frames(self) -> dict[str, pl.DataFrame]:
        """Return the tables that `Catalog.add_annotation_page` takes."""
        return {
            "runs": _frame(self.runs, RUNS),
            "captions_made": _frame(self.captions, CAPTIONS),
            "revisions": _frame(self.revisions, REVISIONS),
            "choices": _frame(self.choices, CHOICES),
        }


RUNS = {"run_id": int, "strategy": str, "strategy_version": int, "options": str, "person": str}
CAPTIONS = {
    "caption_id": int,
    "image_sha256": str,
    "text": str,
    "inputs_digest": str,
    "parent_id": int,
    "run_id": int,
    "captioned_at": str,
}
CHOICES = {"image_sha256": str, "revision_id": int, "verdict": str}
REVISIONS = {
    "revision_id": int,
    "task_id": int,
    "annotation_id": int,
    "image_sha256": str,
    "outcome": str,
    "verdict": str,
    "origin": str,
    "text": str,
    "lead_time_seconds": float,
    "person": str,
    "person_id": int,
    "model_version": str,
    "parent_caption_id": int,
    "caption_id": int,
    "answer": str,
    "created_at": str,
    "updated_at": str,
}


def _frame(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, type]) -> pl.DataFrame:
    """Return a table of exactly these columns, typed even if there is no row."""
    types = {int: pl.Int64, str: pl.String, float: pl.Float64}
    return pl.DataFrame(
        [{name: row[name] for name in columns} for row in rows],
        schema={name: types[kind] for name, kind in columns.items()},
    )


def _by_time(revisions: Iterable[Revision]) -> list[Revision]:
    return sorted(revisions, key=lambda revision: (revision.updated_at, revision.annotation_id))


def _in_order(rows: Iterable[dict[str, Any]], picked: Mapping[str, Mapping[str, Any] | None]) -> list[dict[str, Any]]:
    """Sort by time, but put what speaks for its image last."""
    return sorted(rows, key=lambda row: (picked[row["image_sha256"]] is row, row["revision_id"]))
