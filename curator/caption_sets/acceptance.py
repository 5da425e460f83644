"""People's answers to proposed captions: the human cost of a strategy.

Counts current annotations. An answer is a caption, an emptied caption or a rejected image; a skip is not. Edit distance
and time are over answers with a caption.
"""

from __future__ import annotations

import polars as pl
from pydantic import BaseModel, Field

from curator.caption_sets.reference import Reference
from curator.catalog import Catalog
from curator.text.similarity import edit_distance, token_f1


class Acceptance(BaseModel):
    strategy: str = Field(description="`all`: all strategies together.")
    images: int
    answers: int = Field(description="Annotations; an image may have several, by several people.")
    unchanged: int
    unchanged_share: float = Field(description="Share of the answers, 0 to 1.")
    rejected: int = Field(description="Answers that rejected the image.")
    skipped: int
    median_edit_distance: float | None = Field(description="Characters, over answers with a caption, unchanged too.")
    median_seconds: float | None = Field(description="Time on the page, over answers with a caption.")


class Agreement(BaseModel):
    images: int
    people: int
    exact: float = Field(description="Share of pairs of captions that are the same, mean over images, 0 to 1.")
    token_f1: float = Field(description="Mean over pairs, then images, 0 to 1.")


def acceptance(catalog: Catalog, reference: Reference) -> list[Acceptance]:
    """Return the acceptance by strategy, for a version or for all versions of a set. Empty if none was proposed."""
    rows = _proposals(catalog, reference)
    strategies = rows["strategy"].unique(maintain_order=True).to_list()
    return [result for name in strategies if (result := _acceptance(name, rows.filter(strategy=name)))]


def overall(catalog: Catalog, reference: Reference) -> Acceptance | None:
    """Return the acceptance of all strategies of a set together, or None if none was proposed."""
    return _acceptance("all", _proposals(catalog, reference))


def agreement(catalog: Catalog, dataset: str, target_set: str) -> Agreement | None:
    """Compare the last captions of people who captioned the same images. None if there are none."""
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


def _acceptance(strategy: str, rows: pl.DataFrame) -> Acceptance | None:
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
    median = values.median()
    return float(median) if isinstance(median, int | float) else None
