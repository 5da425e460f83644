"""Accepts captions as they are: they become a person's, as one run, which can be undone. No strategy replaces them."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl
from pydantic import BaseModel, Field

from curator.caption_sets.reference import resolve
from curator.caption_sets.revise import UndoResult, undo_last, write_revisions, writing
from curator.catalog import Catalog
from curator.person import user_name
from curator.where import images_where
from schemas.errors import BadOption

STRATEGY = "accept"


class AcceptResult(BaseModel):
    """What was, or would be, accepted."""

    reference: str
    dry_run: bool
    images: int = Field(description="Images that were asked about.")
    accepted: int
    already: int = Field(description="Captions that were this person's before.")
    missing: int = Field(description="Images without a caption in the set.")
    overtaken: int = Field(description="Captions that somebody changed since they were looked at; they stay.")
    run_id: int | None = Field(description="What to undo it by; null where nothing was written.")


def accept(
    catalog: Catalog,
    reference: str,
    where: str | None = None,
    images: Collection[str] | None = None,
    seen: int | None = None,
    dry_run: bool = False,
    person: str | None = None,
) -> AcceptResult:
    """Makes the captions of a set the person's: of `images` (None: all) that `where` holds for.

    `seen` is the set's last caption_id when it was looked at: what is newer isn't accepted unseen. Raises NotFound,
    BadOption, BadExpression.
    """
    named, person = resolve(catalog, reference), person or user_name()
    if named.number is not None:
        raise BadOption(f"{reference}: a version never changes; name the set alone: {named.dataset}/{named.set_name}.")
    asked = _asked(catalog, named.dataset, where, images)
    with writing:
        now = catalog.captions_of_images(named.dataset, named.set_name, asked)
        there = now.filter(pl.col("text").is_not_null())
        own = pl.col("by_person") & (pl.col("person") == person)
        others = there.filter(~own)
        rows = others if seen is None else others.filter(pl.col("caption_id") <= seen)
        run_id, accepted = None, rows.height
        if rows.height and not dry_run:
            revisions = rows.select("image_sha256", "text", parent_id="caption_id")
            run_id = write_revisions(catalog, named, STRATEGY, {}, person, revisions)
            accepted = catalog.captions_of_run(named.dataset, named.set_name, run_id).height
    return AcceptResult(
        reference=str(named),
        dry_run=dry_run,
        images=len(asked),
        accepted=accepted,
        already=there.height - others.height,
        missing=len(asked) - there.height,
        overtaken=others.height - accepted,
        run_id=run_id,
    )


def undo_accept(catalog: Catalog, reference: str, run_id: int | None, person: str | None = None) -> UndoResult:
    """Undoes a run of `accept`; None: the last one of the set that anything is left of. Raises NotFound, BadOption."""
    return undo_last(catalog, reference, STRATEGY, run_id, person)


def _asked(catalog: Catalog, dataset: str, where: str | None, images: Collection[str] | None) -> pl.DataFrame:
    """The images that are asked about and there: image_sha256. Of a few, only those are looked at."""
    if images is not None:
        given = pl.DataFrame({"image_sha256": list(images)}, schema={"image_sha256": pl.String})
        there = catalog.names_of_images(dataset, given).select("image_sha256")
        return there if where is None else there.join(_holding(catalog, dataset, where), on="image_sha256", how="semi")
    if where is not None:
        return _holding(catalog, dataset, where)
    return catalog.images_of_dataset(dataset).select("image_sha256")


def _holding(catalog: Catalog, dataset: str, where: str) -> pl.DataFrame:
    return images_where(catalog, dataset, where).alias("image_sha256").to_frame()
