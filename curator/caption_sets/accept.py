"""Accept captions unchanged: a person becomes their author, in one run that can be undone."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl
from pydantic import BaseModel, Field

from curator.caption_sets.reference import resolve
from curator.caption_sets.revise import UndoResult, undo_last, write_lock, write_revisions
from curator.catalog import Catalog
from curator.person import user_name
from curator.where import images_where
from schemas.errors import BadOption

STRATEGY = "accept"


class AcceptResult(BaseModel):
    """The captions that were, or in a dry run would be, accepted."""

    reference: str
    dry_run: bool
    images: int = Field(description="Images selected.")
    accepted: int
    already: int = Field(description="Captions that were this person's before.")
    missing: int = Field(description="Images without a caption in the set.")
    overtaken: int = Field(description="Captions that somebody has changed since the person saw them; they stay.")
    run_id: int | None = Field(description="The run to undo; null if nothing was written.")


def accept(
    catalog: Catalog,
    reference: str,
    where: str | None = None,
    images: Collection[str] | None = None,
    seen: int | None = None,
    dry_run: bool = False,
    person: str | None = None,
) -> AcceptResult:
    """Make a person the author of a set's captions, for the `images` (None: all) that `where` selects.

    `seen`: the set's last caption_id when the person saw it; newer captions aren't accepted. Raises NotFound,
    BadOption, BadExpression.
    """
    named, person = resolve(catalog, reference), person or user_name()
    if named.number is not None:
        raise BadOption(f"{reference}: a version never changes; name the set alone: {named.dataset}/{named.set_name}.")
    selected = _selected(catalog, named.dataset, where, images)
    with write_lock:
        captions = catalog.captions_of_images(named.dataset, named.set_name, selected)
        captions = captions.filter(pl.col("text").is_not_null())
        others = captions.filter(~(pl.col("by_person") & (pl.col("person") == person)))
        rows = others if seen is None else others.filter(pl.col("caption_id") <= seen)
        run_id, accepted = None, rows.height
        if rows.height and not dry_run:
            revisions = rows.select("image_sha256", "text", parent_id="caption_id")
            run_id = write_revisions(catalog, named, STRATEGY, {}, person, revisions)
            accepted = catalog.captions_of_run(named.dataset, named.set_name, run_id).height
    return AcceptResult(
        reference=str(named),
        dry_run=dry_run,
        images=len(selected),
        accepted=accepted,
        already=captions.height - others.height,
        missing=len(selected) - captions.height,
        overtaken=others.height - accepted,
        run_id=run_id,
    )


def undo_accept(catalog: Catalog, reference: str, run_id: int | None, person: str | None = None) -> UndoResult:
    """Undo a run of `accept`; None: the set's last one with captions still current. Raises NotFound, BadOption."""
    return undo_last(catalog, reference, STRATEGY, run_id, person)


def _selected(catalog: Catalog, dataset: str, where: str | None, images: Collection[str] | None) -> pl.DataFrame:
    matching = None if where is None else images_where(catalog, dataset, where).alias("image_sha256").to_frame()
    if images is None:
        return matching if matching is not None else catalog.images_of_dataset(dataset).select("image_sha256")
    rows = pl.DataFrame({"image_sha256": list(images)}, schema={"image_sha256": pl.String})
    existing = catalog.names_of_images(dataset, rows).select("image_sha256")
    return existing if matching is None else existing.join(matching, on="image_sha256", how="semi")
