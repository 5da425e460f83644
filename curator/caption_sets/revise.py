"""A person's revision of one caption, and undoing what a person's run changed. Nothing is lost: both add revisions."""

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
# What is looked at and then written, by one thread of a process at a time.
writing = threading.RLock()


class Overtaken(AmatlError):
    """The caption was changed meanwhile. Look at it as it is now, then try again."""


class ReviseResult(BaseModel):
    """The image's caption in the set as it is now."""

    dataset: str
    set_name: str
    image_sha256: str
    caption_id: int
    text: str
    person: str
    unchanged: bool = Field(description="It was this person's, with this very text; nothing was written.")


class UndoResult(BaseModel):
    """What undoing a run put back."""

    reference: str
    run_id: int
    restored: int = Field(description="Captions that are again what they were before the run.")
    left: int = Field(description="Captions of the run that were changed since, and stay as they are.")


def revise(
    catalog: Catalog,
    dataset: str,
    set_name: str,
    image_sha256: str,
    text: str,
    person: str | None = None,
    expected: int | Literal["none", "any"] = "any",
) -> ReviseResult:
    """Gives an image a caption in a set, as a person's: no strategy replaces it.

    `expected` is the caption_id that the person saw, `none` where there was no caption. The same text as a strategy's
    becomes the person's: that is how a caption is accepted. Raises NotFound, BadOption, Overtaken.
    """
    check_dataset(catalog, dataset)
    text, person = on_one_line(text), person or user_name()
    if not SET_NAME.fullmatch(set_name):
        raise BadOption(f"{set_name}: a set's name is made of a-z, 0-9, _ and -.")
    if len(text) > LONGEST:
        raise BadOption(f"text: {len(text):,} characters; {LONGEST:,} are the most.")
    where = f"{dataset}/{set_name}, {_file_name(catalog, dataset, image_sha256)}"
    with writing:
        now = _caption(catalog, dataset, set_name, image_sha256)
        _check_expected(now, expected, where)
        if not (now and now["by_person"] and (now["text"], now["person"]) == (text, person)):
            row = {"image_sha256": image_sha256, "text": text, "parent_id": now["caption_id"] if now else None}
            named = Reference(dataset=dataset, set_name=set_name, number=None, last_caption_id=0)
            rows = pl.DataFrame([row], schema_overrides={"parent_id": pl.Int64})
            write_revisions(catalog, named, STRATEGY, {}, person, rows)
            before, now = now, _caption(catalog, dataset, set_name, image_sha256)
            if now is None or (now["text"], now["person"]) != (text, person):
                raise Overtaken(_what_is_there(where, now))
        else:
            before = now
    return ReviseResult(
        dataset=dataset,
        set_name=set_name,
        image_sha256=image_sha256,
        caption_id=now["caption_id"],
        text=text,
        person=person,
        unchanged=now is before,
    )


def undo(catalog: Catalog, reference: str, run_id: int, person: str | None = None) -> UndoResult:
    """Puts back what the captions of a person's run were before it; those changed since stay.

    Raises NotFound where the set has no such run of a person's, BadOption.
    """
    named = resolve(catalog, reference)
    if named.number is not None:
        raise BadOption(f"{reference}: name the set alone, without a version.")
    runs = catalog.caption_runs_of_dataset(named.dataset)
    runs = runs.filter((runs["set_name"] == named.set_name) & (runs["run_id"] == run_id) & runs["by_person"])
    if not runs.height:
        raise NotFound(f"{named} has no captions by a person's run {run_id}.")
    with writing:
        made = catalog.captions_of_run(named.dataset, named.set_name, run_id)
        current = made.filter(made["current"])
        if current.height:
            rows = _before(catalog, current, run_id)
            told = f"before run {run_id}"
            catalog.restore_captions(named.dataset, named.set_name, told, person or user_name(), rows)
    return UndoResult(reference=str(named), run_id=run_id, restored=current.height, left=made.height - current.height)


def undo_last(
    catalog: Catalog, reference: str, strategy: str, run_id: int | None, person: str | None = None
) -> UndoResult:
    """Undoes a person's run of `strategy` (replace, accept); None: the last of the set that anything is left of.

    Raises NotFound, BadOption.
    """
    named = resolve(catalog, reference)
    runs = catalog.caption_runs_of_dataset(named.dataset)
    own = runs.filter((runs["set_name"] == named.set_name) & (runs["strategy"] == strategy))["run_id"].to_list()
    if run_id is not None:
        if run_id not in own:
            raise NotFound(f"{named} has no {strategy} {run_id}. It has: {', '.join(map(str, own)) or 'none'}.")
        return undo(catalog, reference, run_id, person)
    for last in reversed(own):
        if catalog.captions_of_run(named.dataset, named.set_name, last)["current"].any():
            return undo(catalog, reference, last, person)
    raise NotFound(f"{named}: there is no {strategy} to undo.")


def undo_revision(
    catalog: Catalog, dataset: str, set_name: str, image_sha256: str, caption_id: int, person: str | None = None
) -> UndoResult:
    """Undoes one edit, while its caption is still what the image has. Raises NotFound, Overtaken."""
    check_dataset(catalog, dataset)
    with writing:
        now = _caption(catalog, dataset, set_name, image_sha256)
        where = f"{dataset}/{set_name}, image {image_sha256[:12]}"
        _check_expected(now, caption_id, where)
        if now is None or not now["by_person"] or now["strategy"] != STRATEGY or now["restored_from"]:
            raise NotFound(f"{where}: its caption is no edit that could be undone.")
        return undo(catalog, f"{dataset}/{set_name}", now["run_id"], person)


def inputs_digest(strategy: str, run_id: int, image_sha256: str) -> str:
    """A person's caption depends on nothing that could change: SHA-256 over canonical JSON of what names its writing.

    Written out, since a replace makes one for each of a million captions.
    """
    return hashlib.sha256(f'{{"image":"{image_sha256}","run":{run_id},"strategy":"{strategy}"}}'.encode()).hexdigest()


def write_revisions(
    catalog: Catalog, named: Reference, strategy: str, options: dict[str, Any], person: str, rows: pl.DataFrame
) -> int:
    """Adds a person's captions (image_sha256, text, parent_id: the one seen) as one run; returns its id."""
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
    found = rows.filter(rows["set_name"] == set_name).to_dicts()
    return found[0] if found else None


def _check_expected(now: dict[str, Any] | None, expected: int | str, where: str) -> None:
    has = now["caption_id"] if now and now["text"] is not None else None
    if expected not in ("any", "none" if has is None else has):
        raise Overtaken(_what_is_there(where, now))


def _what_is_there(where: str, now: dict[str, Any] | None) -> str:
    if now is None or now["text"] is None:
        return f"{where}: it has no caption any more. Look at it, then try again."
    whose = now["person"] if now["by_person"] else f"{now['strategy']}, run by {now['person']}"
    return f"{where}: changed meanwhile by {whose} at {now['captioned_at']}. Look at it as it is now, then try again."


def _before(catalog: Catalog, current: pl.DataFrame, run_id: int) -> pl.DataFrame:
    """The rows to append: what each revision replaced, its run copied; taken out where there was nothing."""
    rows = current.select(
        "image_sha256",
        pl.col("parent_text").alias("text"),
        pl.coalesce("parent_inputs_digest", "inputs_digest").alias("inputs_digest"),
        pl.coalesce("parent_id", "caption_id").alias("parent_id"),
        pl.coalesce("parent_run_id", pl.lit(run_id)).alias("old_run_id"),
    )
    new_runs = {old: catalog.reserve_caption_run() for old in rows["old_run_id"].unique(maintain_order=True)}
    return rows.with_columns(run_id=pl.col("old_run_id").replace_strict(new_runs, return_dtype=pl.Int64))
