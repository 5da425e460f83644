"""Keeps captions as they are made: a batch is one transaction, and what became of each image is counted."""

from __future__ import annotations

from collections import Counter

import polars as pl

from curator.caption.plan import Plan
from curator.caption.result import CaptionResult, Example
from curator.captioners import Captioner
from curator.catalog import Catalog
from curator.text.one_line import text_on_one_line

EXAMPLES = 3


class Keeper:
    """Takes the batches of a run in the order of `plan.images_to_do`."""

    def __init__(self, catalog: Catalog, plan: Plan) -> None:
        self.catalog, self.plan, self.result = catalog, plan, plan.result
        self.images = plan.images_to_do
        self.sources = _sources(plan)
        self.kept = 0
        self._without: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()

    @property
    def failed(self) -> int:
        """Images that failed so far."""
        return self._failed.total()

    def keep(self, made: pl.DataFrame) -> None:
        """The next batch (text, reason, failed: see `curator.captioners.captions`) is in the catalog on return."""
        images = self.images.slice(self.kept, made.height)
        batch = images.hstack(made.with_columns(text_on_one_line()))
        batch = batch.with_columns(taken_out=_taken_out(self.plan.captioner))
        rows, failures = _revisions(batch), _failures(batch)
        if rows.height or failures.height:
            run = self.plan.run
            run.run_id = run.run_id or self.catalog.reserve_caption_run()
            self.catalog.add_captions(run, rows, failures, self.sources)
        self.kept += batch.height
        self._count(batch)

    def _count(self, batch: pl.DataFrame) -> None:
        made, had = pl.col("text").is_not_null(), pl.col("old_text").is_not_null()
        same = pl.col("text") == pl.col("old_text")
        counts = batch.select(
            new=(made & ~had).sum(),
            changed=(made & had & ~same).sum(),
            unchanged=(made & had & same).sum(),
            taken_out=pl.col("taken_out").sum(),
        ).row(0, named=True)
        for name, count in counts.items():
            setattr(self.result, name, getattr(self.result, name) + count)
        for counter, group in ((self._without, ~pl.col("failed")), (self._failed, pl.col("failed"))):
            counter.update(batch.filter(~made & group)["reason"].to_list())  # as they occur: so are equal counts told
        self.result.without_caption = dict(self._without.most_common())
        self.result.failed = dict(self._failed.most_common())
        fresh = batch.filter(made & (~same).fill_null(True)).select("file_name", "image_sha256", "text")
        self.result.examples += _examples(fresh, EXAMPLES - len(self.result.examples))


def current_examples(catalog: Catalog, images: pl.DataFrame, result: CaptionResult) -> list[Example]:
    """Where nothing was made: captions the set has."""
    texts = catalog.caption_texts(result.dataset, result.set_name)
    found = images.join(texts, on="image_sha256", how="inner", maintain_order="left")
    return _examples(found.select("file_name", "image_sha256", "text"), EXAMPLES)


def _taken_out(captioner: Captioner) -> pl.Expr:
    """Its own captions that it wouldn't make any more; those of other strategies stay."""
    own = (pl.col("strategy") == captioner.name).fill_null(False)
    return own & pl.col("text").is_null() & pl.col("old_text").is_not_null() & ~pl.col("failed")


def _revisions(batch: pl.DataFrame) -> pl.DataFrame:
    """The rows to add: every caption made (also of the same text: its inputs are other ones), every one taken out."""
    made = pl.col("text").is_not_null()
    again = (pl.col("text") == pl.col("old_text")) & (pl.col("inputs_digest") == pl.col("digest"))
    rows = batch.filter((made & ~again.fill_null(False)) | pl.col("taken_out"))
    return rows.select("image_sha256", "text", "parent_id", inputs_digest="digest")


def _failures(batch: pl.DataFrame) -> pl.DataFrame:
    """The rows to add: each image that failed, unless it did for the same reason before, and each put right."""
    reason = pl.when("failed").then("reason")
    rows = batch.select("image_sha256", "failed_before", reason=reason)
    return rows.filter(pl.col("reason").ne_missing(pl.col("failed_before"))).drop("failed_before")


def _sources(plan: Plan) -> pl.DataFrame:
    """The sets that the run's captions are made of."""
    found = {(named.set_name, named.number, named.last_caption_id) for named in plan.sources.values()}
    schema = {"set_name": pl.String, "number": pl.Int32, "last_caption_id": pl.Int64}
    return pl.DataFrame(sorted(found, key=str), schema=schema, orient="row")


def _examples(rows: pl.DataFrame, count: int) -> list[Example]:
    """Some rows (file_name, image_sha256, text), spread evenly."""
    count = min(count, rows.height)
    picked = [rows.row(place * rows.height // count) for place in range(count)]
    return [Example(file_name=name, image_sha256=sha256, text=text) for name, sha256, text in picked]
