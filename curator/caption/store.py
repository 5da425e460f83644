"""Store captions batch by batch, each in one transaction, and count the results."""

from __future__ import annotations

from collections import Counter

import polars as pl

from curator.caption.plan import Plan
from curator.caption.result import CaptionResult, Example
from curator.captioners import Captioner
from curator.catalog import Catalog
from curator.text.one_line import text_on_one_line

EXAMPLES = 3


class CaptionStore:
    """Stores the batches of a run, in the order of `plan.images_to_do`. `done`: images stored so far."""

    def __init__(self, catalog: Catalog, plan: Plan) -> None:
        self.catalog, self.plan, self.result = catalog, plan, plan.result
        self.images = plan.images_to_do
        self.sources = _sources(plan)
        self.done = 0
        self._without: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()

    @property
    def failed(self) -> int:
        return self._failed.total()

    def add(self, frame: pl.DataFrame) -> None:
        """Store the next batch (text, reason, failed: see `curator.captioners.captions`)."""
        images = self.images.slice(self.done, frame.height)
        batch = images.hstack(frame.with_columns(text_on_one_line()))
        batch = batch.with_columns(taken_out=_taken_out(self.plan.captioner))
        rows, failures = _revisions(batch), _failures(batch)
        if rows.height or failures.height:
            run = self.plan.run
            run.run_id = run.run_id or self.catalog.reserve_caption_run()
            self.catalog.add_captions(run, rows, failures, self.sources)
        self.done += batch.height
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
            counter.update(batch.filter(~made & group)["reason"].to_list())  # in order: ties are shown by occurrence
        self.result.without_caption = dict(self._without.most_common())
        self.result.failed = dict(self._failed.most_common())
        new = batch.filter(made & (~same).fill_null(True)).select("file_name", "image_sha256", "text")
        self.result.examples += _examples(new, EXAMPLES - len(self.result.examples))


def current_examples(catalog: Catalog, images: pl.DataFrame, result: CaptionResult) -> list[Example]:
    texts = catalog.caption_texts(result.dataset, result.set_name)
    captioned = images.join(texts, on="image_sha256", how="inner", maintain_order="left")
    return _examples(captioned.select("file_name", "image_sha256", "text"), EXAMPLES)


def _taken_out(captioner: Captioner) -> pl.Expr:
    """Select captions of this strategy that it no longer makes. Captions of other strategies stay."""
    same_strategy = (pl.col("strategy") == captioner.name).fill_null(False)
    return same_strategy & pl.col("text").is_null() & pl.col("old_text").is_not_null() & ~pl.col("failed")


def _revisions(batch: pl.DataFrame) -> pl.DataFrame:
    """Return the revisions to add: captions made, unless both text and inputs are the same, and captions removed."""
    made = pl.col("text").is_not_null()
    same = (pl.col("text") == pl.col("old_text")) & (pl.col("inputs_digest") == pl.col("digest"))
    rows = batch.filter((made & ~same.fill_null(False)) | pl.col("taken_out"))
    return rows.select("image_sha256", "text", "parent_id", inputs_digest="digest")


def _failures(batch: pl.DataFrame) -> pl.DataFrame:
    """Return the failure rows to add: images with a new reason, and images that no longer fail."""
    reason = pl.when("failed").then("reason")
    rows = batch.select("image_sha256", "failed_before", reason=reason)
    return rows.filter(pl.col("reason").ne_missing(pl.col("failed_before"))).drop("failed_before")


def _sources(plan: Plan) -> pl.DataFrame:
    sets = {(source.set_name, source.number, source.last_caption_id) for source in plan.sources.values()}
    schema = {"set_name": pl.String, "number": pl.Int32, "last_caption_id": pl.Int64}
    return pl.DataFrame(sorted(sets, key=str), schema=schema, orient="row")


def _examples(rows: pl.DataFrame, count: int) -> list[Example]:
    count = min(count, rows.height)
    picked = [rows.row(index * rows.height // count) for index in range(count)]
    return [Example(file_name=name, image_sha256=sha256, text=text) for name, sha256, text in picked]
