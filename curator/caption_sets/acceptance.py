"""What people did with the captions that were proposed to them: the human cost of a strategy.

Counted are annotations as they stand now. Of those answered (a caption, an emptied one, a rejected image) the share
that took the caption as it was; edit distance and time over those with a caption. A skip is no answer.
"""

from __future__ import annotations

import polars as pl
from pydantic import BaseModel, Field

from curator.caption_sets.reference import Reference
from curator.catalog import Catalog
from curator.text.similarity import edit_distance, token_f1


class Acceptance(BaseModel):
    """How the captions of one strategy were received."""

    strategy: str = Field(description="`all` where several are taken together.")
    images: int
    answers: int = Field(description="Annotations: several people may have answered on one image.")
    unchanged: int
    unchanged_share: float = Field(description="Of the answers, 0 to 1.")
    rejected: int = Field(description="Answers that rejected the image.")
    skipped: int
    median_edit_distance: float | None = Field(description="Characters, over the answers with a caption, 0 included.")
    median_seconds: float | None = Field(description="Time on the page, over the answers with a caption.")


class Agreement(BaseModel):
    """How far people agree on images that several of them captioned."""

    images: int
    people: int
    exact: float = Field(description="Share of pairs of captions that are the same, mean over images, 0 to 1.")
    token_f1: float = Field(description="Mean over pairs, then images, 0 to 1.")


def acceptance(catalog: Catalog, reference: Reference) -> list[Acceptance]:
    """By strategy, of the captions of a version, or of any version of a set. Empty where they were shown to no one."""
    rows = _proposals(catalog, reference)
    strategies = rows["strategy"].unique(maintain_order=True).to_list()
    return [found for name in strategies if (found := _received(name, rows.filter(strategy=name)))]


def overall(catalog: Catalog, reference: Reference) -> Acceptance | None:
    """The same over all strategies of the set."""
    return _received("all", _proposals(catalog, reference))


def agreement(catalog: Catalog, dataset: str, target_set: str) -> Agreement | None:
    """Between people who captioned the same images, each with their last caption; None where none did."""
    rows = catalog.captions_by_person(dataset, target_set)
    if rows.is_empty():
        return None
    pairs = rows.join(rows, on="image_sha256", suffix="_other").filter(pl.col("person") < pl.col("person_other"))
    scored = pairs.with_columns(
        (pl.col("text") == pl.col("text_other")).cast(pl.Float64).alias("exact"),
        token_f1(pairs["text"], pairs["text_other"]).alias("token_f1"),
    )
    by_image = scored.group_by("image_sha256", maintain_order=True).agg(pl.col("exact", "token_f1").mean())
    exact, f1 = by_image.select(pl.col("exact", "token_f1").mean()).row(0)
    return Agreement(images=by_image.height, people=rows["person"].n_unique(), exact=exact, token_f1=f1)


def _proposals(catalog: Catalog, reference: Reference) -> pl.DataFrame:
    rows = catalog.proposals(reference.dataset)
    if reference.number is not None:
        return rows.filter(pl.col("model_version") == str(reference))
    return rows.filter(pl.col("model_version").str.starts_with(f"{reference}@"))


def _received(strategy: str, rows: pl.DataFrame) -> Acceptance | None:
    answers = rows.filter(pl.col("outcome").is_in(["captioned", "rejected", "emptied"]))
    captioned = answers.filter(pl.col("outcome") == "captioned")
    if rows.is_empty():
        return None
    unchanged = int((captioned["text"] == captioned["proposed"]).sum())
    distances = edit_distance(captioned["proposed"], captioned["text"])
    return Acceptance(
        strategy=strategy,
        images=rows["image_sha256"].n_unique(),
        answers=answers.height,
        unchanged=unchanged,
        unchanged_share=unchanged / max(answers.height, 1),
        rejected=int((answers["outcome"] == "rejected").sum()),
        skipped=int((rows["outcome"] == "skipped").sum()),
        median_edit_distance=_median(distances),
        median_seconds=_median(captioned["lead_time_seconds"]),
    )


def _median(values: pl.Series) -> float | None:
    found = values.median()
    return float(found) if isinstance(found, int | float) else None
