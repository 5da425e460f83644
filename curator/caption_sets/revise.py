"""A person's revision of one caption, and undo of a person's run. Both only add revisions."""

from __future__ import annotations

import hashlib
import re
import threading
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, Field

from curator.caption_sets.reference import Reference, check_dataset, resolve
from curator.catalog import Catalog
from curator.catalog.working_copy import row_of_image, working_copy
from curator.person import user_name
from curator.text.one_line import on_one_line
from schemas.errors import AmatlError, BadOption, NotFound

STRATEGY = "edit"
LONGEST = 10_000
SET_NAME = re.compile(r"[a-z0-9_-]+")
# Held from reading captions to writing revisions.
write_lock = threading.RLock()


class Overtaken(AmatlError):
    """The caption was changed meanwhile. Look at the current one, then try again."""


class ReviseResult(BaseModel):
    dataset: str
    set_name: str
    image_sha256: str
    caption_id: int
    text: str
    person: str
    unchanged: bool = Field(description="The caption had this text and person before; nothing was written.")


class UndoResult(BaseModel):
    reference: str
    run_id: int
    restored: int = Field(description="Captions restored to their state before the run.")
    left: int = Field(description="Captions of the run that have changed since; they stay.")


def revise(
    catalog: Catalog,
    dataset: str,
    set_name: str,
    image_sha256: str,
    text: str,
    person: str | None = None,
    expected: int | Literal["none", "any"] = "any",
) -> ReviseResult:
    """Set an image's caption as a person, so that no strategy replaces it.

    `expected`: the caption_id that the person saw, or `none` for no caption. The unchanged text of a strategy accepts
    its caption. Raises NotFound, BadOption, Overtaken.
    """
    check_dataset(catalog, dataset)
    text, person = on_one_line(text), person or user_name()
    if not SET_NAME.fullmatch(set_name):
        raise BadOption(f"{set_name}: a set's name consists of a-z, 0-9, _ and -.")
    if len(text) > LONGEST:
        raise BadOption(f"text: {len(text):,} characters; the limit is {LONGEST:,}.")
    subject = f"{dataset}/{set_name}, {_file_name(catalog, dataset, image_sha256)}"
    with write_lock:
        current = _caption(catalog, dataset, set_name, image_sha256)
        _check_expected(current, expected, subject)
        unchanged = bool(current and current["by_person"]) and _is(current, text, person)
        if not unchanged:
            row = {"image_sha256": image_sha256, "text": text, "parent_id": current["caption_id"] if current else None}
            named = Reference(dataset=dataset, set_name=set_name, number=None, last_caption_id=0)
            rows = pl.DataFrame([row], schema_overrides={"parent_id": pl.Int64})
            write_revisions(catalog, named, STRATEGY, {}, person, rows)
            current = _caption(catalog, dataset, set_name, image_sha256)
        if current is None or not _is(current, text, person):
            raise Overtaken(_overtaken_message(subject, current))
    return ReviseResult(
        dataset=dataset,
        set_name=set_name,
        image_sha256=image_sha256,
        caption_id=current["caption_id"],
        text=text,
        person=person,
        unchanged=unchanged,
    )


def undo(catalog: Catalog, reference: str, run_id: int, person: str | None = None) -> UndoResult:
    """Restore the captions before a person's run, except those changed since.

    Raises BadOption; NotFound if the set has no such run of a person.
    """
    named = resolve(catalog, reference)
    if named.number is not None:
        raise BadOption(f"{reference}: name the set alone, without a version.")
    runs = catalog.caption_runs_of_dataset(named.dataset)
    runs = runs.filter((runs["set_name"] == named.set_name) & (runs["run_id"] == run_id) & runs["by_person"])
    if not runs.height:
        raise NotFound(f"{named} has no captions by a person's run {run_id}.")
    with write_lock:
        captions = catalog.captions_of_run(named.dataset, named.set_name, run_id)
        current = captions.filter(captions["current"])
        if current.height:
            rows, origin = _before(catalog, current, run_id), f"before run {run_id}"
            catalog.restore_captions(named.dataset, named.set_name, origin, person or user_name(), rows)
    left = captions.height - current.height
    return UndoResult(reference=str(named), run_id=run_id, restored=current.height, left=left)


def undo_last(
    catalog: Catalog, reference: str, strategy: str, run_id: int | None, person: str | None = None
) -> UndoResult:
    """Undo a person's run of `strategy` (replace, accept); None: the set's last one with captions still current.

    Raises NotFound, BadOption.
    """
    named = resolve(catalog, reference)
    runs = catalog.caption_runs_of_dataset(named.dataset)
    run_ids = runs.filter((runs["set_name"] == named.set_name) & (runs["strategy"] == strategy))["run_id"].to_list()
    if run_id is not None:
        if run_id not in run_ids:
            raise NotFound(f"{named} has no {strategy} {run_id}. It has: {', '.join(map(str, run_ids)) or 'none'}.")
        return undo(catalog, reference, run_id, person)
    for last in reversed(run_ids):
        if catalog.captions_of_run(named.dataset, named.set_name, last)["current"].any():
            return undo(catalog, reference, last, person)
    raise NotFound(f"{named}: there is no {strategy} to undo.")


def undo_revision(
    catalog: Catalog, dataset: str, set_name: str, image_sha256: str, caption_id: int, person: str | None = None
) -> UndoResult:
    """Undo one edit if its caption is still current. Raises NotFound, Overtaken."""
    check_dataset(catalog, dataset)
    with write_lock:
        current = _caption(catalog, dataset, set_name, image_sha256)
        subject = f"{dataset}/{set_name}, image {image_sha256[:12]}"
        _check_expected(current, caption_id, subject)
        if current is None or not current["by_person"] or current["strategy"] != STRATEGY or current["restored_from"]:
            raise NotFound(f"{subject}: its caption isn't an edit, so there is nothing to undo.")
        return undo(catalog, f"{dataset}/{set_name}", current["run_id"], person)


def inputs_digest(strategy: str, run_id: int, image_sha256: str) -> str:
    """Return the inputs digest of a person's caption: SHA-256 over canonical JSON of image, run and strategy.

    The JSON is spelled out for speed, since a replace may need a million digests.
    """
    return hashlib.sha256(f'{{"image":"{image_sha256}","run":{run_id},"strategy":"{strategy}"}}'.encode()).hexdigest()


def write_revisions(
    catalog: Catalog, named: Reference, strategy: str, options: dict[str, Any], person: str, rows: pl.DataFrame
) -> int:
    """Add a person's captions (image_sha256, text, parent_id: the caption seen) as one run. Returns its id."""
    run_id = catalog.reserve_caption_run()
    digests = pl.Series([inputs_digest(strategy, run_id, image) for image in rows["image_sha256"]], dtype=pl.String)
    rows = rows.select("image_sha256", "text", "parent_id", inputs_digest=digests)
    catalog.revise_captions(named.dataset, named.set_name, run_id, strategy, options, person, rows)
    return run_id


def _file_name(catalog: Catalog, dataset: str, image_sha256: str) -> str:
    if row := row_of_image(working_copy(catalog, dataset), image_sha256):
        return str(row["file_name"])
    names = catalog.names_of_images(dataset, pl.DataFrame({"image_sha256": [image_sha256]}))
    if not names.height:
        raise NotFound(f"{dataset} has no image {image_sha256[:12]}. Ingest it first.")
    return str(names["file_name"][0])


def _caption(catalog: Catalog, dataset: str, set_name: str, image_sha256: str) -> dict[str, Any] | None:
    rows = catalog.captions_of_image(dataset, image_sha256)
    return next(iter(rows.filter(rows["set_name"] == set_name).to_dicts()), None)


def _is(caption: dict[str, Any] | None, text: str, person: str) -> bool:
    return caption is not None and (caption["text"], caption["person"]) == (text, person)


def _check_expected(current: dict[str, Any] | None, expected: int | str, subject: str) -> None:
    caption_id = current["caption_id"] if current and current["text"] is not None else "none"
    if expected not in ("any", caption_id):
        raise Overtaken(_overtaken_message(subject, current))


def _overtaken_message(subject: str, current: dict[str, Any] | None) -> str:
    if current is None or current["text"] is None:
        return f"{subject}: the caption was removed meanwhile. Look at the image, then try again."
    author = current["person"] if current["by_person"] else f"{current['strategy']}, run by {current['person']}"
    time = current["captioned_at"]
    return f"{subject}: changed meanwhile by {author} at {time}. Look at the current caption, then try again."


def _before(catalog: Catalog, current: pl.DataFrame, run_id: int) -> pl.DataFrame:
    """Return the rows to append: the revisions that the run replaced, with copies of their runs; null text if none."""
    rows = current.select(
        "image_sha256",
        pl.col("parent_text").alias("text"),
        pl.coalesce("parent_inputs_digest", "inputs_digest").alias("inputs_digest"),
        pl.coalesce("parent_id", "caption_id").alias("parent_id"),
        pl.coalesce("parent_run_id", pl.lit(run_id)).alias("old_run_id"),
    )
    new_runs = {old: catalog.reserve_caption_run() for old in rows["old_run_id"].unique(maintain_order=True)}
    return rows.with_columns(run_id=pl.col("old_run_id").replace_strict(new_runs, return_dtype=pl.Int64))
