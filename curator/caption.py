"""Captioning: runs one strategy over a dataset's images into a caption set, redoing only what has to be redone.

An image is captioned when it has no caption in the set, or when what made its caption is no longer so: other options, a
higher version of the strategy, another model, or other inputs of that very image. A person's caption is never replaced
by a strategy. Rows are added batch by batch, each in one transaction: interrupted, the same command goes on from there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from curator import captioners
from curator.captioners import BadCaptioner, Captioner, Rejected
from curator.catalog.captions import CaptionRun
from curator.inputs import IDENTITY, available_fields, chosen_fields, image_inputs, inputs_digests
from curator.person import user_name
from schemas.errors import BadOption, NotFound
from schemas.progress import Progress, silent

if TYPE_CHECKING:
    import polars as pl

    from curator.catalog import Catalog

SET_NAME = re.compile(r"[a-z0-9_-]+")
EXAMPLES = 3
Only = Literal["changed", "missing", "all"]


class Example(BaseModel):
    """A caption to look at."""

    file_name: str
    image_sha256: str
    text: str


class CaptionResult(BaseModel):
    """What a caption run did. Every image of the dataset is in exactly one of `new` to `not_chosen`."""

    dataset: str
    set_name: str
    strategy: str
    strategy_version: int
    images: int
    new: int = Field(default=0, description="Images that had no caption and have one now.")
    changed: int = Field(default=0, description="Captions replaced by another text.")
    unchanged: int = Field(
        default=0, description="Captions that stay: made from the same inputs, or the same text again."
    )
    kept_by_person: int = Field(default=0, description="A person's captions, which no strategy replaces.")
    outdated: int = Field(default=0, description="Captions with other inputs now, left alone by `--only missing`.")
    failed: dict[str, int] = Field(default_factory=dict, description="Images it couldn't caption this time, by reason.")
    without_caption: dict[str, int] = Field(
        default_factory=dict, description="Images it has no caption for, by reason."
    )
    not_chosen: int = Field(default=0, description="Images that `--where` doesn't hold for.")
    taken_out: int = Field(default=0, description="Of those without: earlier captions of this strategy, taken out.")
    rejects: list[Rejected] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    examples: list[Example] = Field(default_factory=list)


def caption(
    catalog: Catalog,
    dataset: str,
    strategy: str,
    set_name: str,
    options: Mapping[str, Any] | Sequence[str] = (),
    *,
    by: str | None = None,
    person: str | None = None,
    only: Only = "changed",
    where: str | None = None,
    progress: Progress = silent,
) -> CaptionResult:
    """Captions the images of `dataset` into `set_name` by the strategy of that name.

    `options` as a mapping or `key=value` pairs; `by` makes imported captions a person's; `person` is who runs it;
    `where` is an expression (curator.where) for the images to consider, which may name `caption.<set_name>` too.
    Raises NotFound (dataset, strategy), BadOption (set name, option, field, expression).
    """
    captioner = captioners.load(strategy)
    parsed = captioners.parse_options(captioner, options)
    _check(catalog, dataset, captioner, set_name, by)
    in_metadata = catalog.metadata_fields(dataset)
    fields = chosen_fields(captioner, parsed, available_fields(in_metadata))
    images, inputs = image_inputs(catalog, dataset, fields, in_metadata)
    result = CaptionResult(
        dataset=dataset,
        set_name=set_name,
        strategy=strategy,
        strategy_version=captioner.version,
        images=images.height,
        warnings=captioner.warnings(parsed),
    )
    if captioner.read:
        reading = captioner.read(inputs, parsed)
        inputs, result.rejects = inputs.hstack(reading.columns), reading.rejects
    if where is not None:
        from curator.where import images_where

        chosen = images["image_sha256"].is_in(images_where(catalog, dataset, where).implode())
        images, inputs = images.filter(chosen), inputs.filter(chosen)
        result.not_chosen = result.images - images.height
    images = images.with_columns(inputs_digests(captioner, parsed, by, inputs.drop(IDENTITY)))
    images = _with_current(catalog, images, result)
    todo = ~_left_alone(images, captioner, by, only, result)
    run = _run(captioner, parsed, result, by, person)
    _caption_batches(catalog, captioner, parsed, images.filter(todo), inputs.filter(todo), run, result, progress)
    result.examples = result.examples or _current_examples(catalog, images, result)
    return result


def check_set_name(name: str) -> None:
    """Raises BadOption unless it can name a caption set."""
    if not SET_NAME.fullmatch(name):
        raise BadOption(f"--set {name}: a set's name is made of a-z, 0-9, _ and -.")


def _check(catalog: Catalog, dataset: str, captioner: Captioner, set_name: str, by: str | None) -> None:
    check_set_name(set_name)
    datasets = catalog.dataset_names()
    if dataset not in datasets:
        there_are = f"There are: {', '.join(datasets)}." if datasets else "There are none yet: curator ingest."
        raise NotFound(f"There is no dataset {dataset!r}. {there_are}")
    if by is not None and not by.strip():
        raise BadOption("--by: name the person whose captions these are.")
    if by is not None and not captioner.imports:
        raise BadOption(f"--by {by}: captions made by `{captioner.name}` aren't a person's. Leave --by out.")


def _run(captioner: Captioner, options: Any, result: CaptionResult, by: str | None, person: str | None) -> CaptionRun:
    """The run's provenance; its id is reserved with its first rows."""
    model = captioner.model(options)
    return CaptionRun(
        run_id=0,
        dataset=result.dataset,
        set_name=result.set_name,
        strategy=captioner.name,
        strategy_version=captioner.version,
        options=options.model_dump(mode="json"),
        model=model.name if model else None,
        model_revision=model.revision if model else None,
        by_person=by is not None,
        person=by or person or user_name(),
    )


def _with_current(catalog: Catalog, images: pl.DataFrame, result: CaptionResult) -> pl.DataFrame:
    """The images with the last revision each has in the set."""
    current = catalog.current_captions(result.dataset, result.set_name).select(
        "image_sha256", "inputs_digest", "strategy", "by_person", "person", old_text="text", parent_id="caption_id"
    )
    return images.join(current, on="image_sha256", how="left", maintain_order="left")


def _left_alone(
    images: pl.DataFrame, captioner: Captioner, by: str | None, only: Only, result: CaptionResult
) -> pl.Series:
    """Which images aren't captioned now; counts them in `result`."""
    import polars as pl

    has = pl.col("old_text").is_not_null()
    # An import refreshes what the same person imported the same way, and nothing else that is a person's.
    own = (pl.col("person") == by) & (pl.col("strategy") == captioner.name) if by else pl.lit(False)
    kept = (has & pl.col("by_person") & ~own).fill_null(False)
    same = (has & ~kept & (pl.col("inputs_digest") == pl.col("digest"))).fill_null(False)
    states = images.select(kept=kept, same=same, other=has & ~kept & ~same)
    result.kept_by_person = int(states["kept"].sum())
    leave = states["kept"]
    if only != "all":
        result.unchanged = int(states["same"].sum())
        leave = leave | states["same"]
    if only == "missing":
        result.outdated = int(states["other"].sum())
        leave = leave | states["other"]
    return leave


def _caption_batches(
    catalog: Catalog,
    captioner: Captioner,
    options: Any,
    images: pl.DataFrame,
    inputs: pl.DataFrame,
    run: CaptionRun,
    result: CaptionResult,
    progress: Progress,
) -> None:
    """Captions batch by batch: rows are in the catalog before the next batch starts."""
    without: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for start in range(0, images.height, captioner.batch_size):
        batch = inputs.slice(start, captioner.batch_size)
        assert captioner.caption is not None
        made = _checked(captioner, captioner.caption(batch, options), batch.height)
        made = images.slice(start, captioner.batch_size).hstack(made)
        made = made.with_columns(taken_out=_taken_out(captioner))
        rows = _revisions(made)
        if rows.height:
            run.run_id = run.run_id or catalog.reserve_caption_run()
            catalog.add_captions(run, rows)
        _count(made, result, without, failed)
        progress("captioning", start + made.height, images.height)
    result.without_caption, result.failed = dict(without.most_common()), dict(failed.most_common())


def _checked(captioner: Captioner, made: pl.DataFrame, height: int) -> pl.DataFrame:
    """What a strategy returned, if it keeps the contract; each caption on one line."""
    import polars as pl

    if made.columns != ["text", "reason", "failed"] or made.height != height:
        raise BadCaptioner(
            f"Strategy {captioner.name!r} returned {made.height} rows of {made.columns} for {height} images; "
            "see curator.captioners.captions."
        )
    one_line = pl.col("text").str.strip_chars().str.replace_all(r"\s*[\r\n\x{85}\x{2028}\x{2029}]+\s*", " ")
    return made.with_columns(one_line)


def _taken_out(captioner: Captioner) -> pl.Expr:
    """Its own captions that it wouldn't make any more; those of other strategies stay."""
    import polars as pl

    own = (pl.col("strategy") == captioner.name).fill_null(False)
    return own & pl.col("text").is_null() & pl.col("old_text").is_not_null() & ~pl.col("failed")


def _revisions(batch: pl.DataFrame) -> pl.DataFrame:
    """The rows to add: every caption made (also of the same text: its inputs are other ones), every one taken out."""
    import polars as pl

    made = pl.col("text").is_not_null()
    again = (pl.col("text") == pl.col("old_text")) & (pl.col("inputs_digest") == pl.col("digest"))
    rows = batch.filter((made & ~again.fill_null(False)) | pl.col("taken_out"))
    return rows.select("image_sha256", "text", "parent_id", inputs_digest="digest")


def _count(batch: pl.DataFrame, result: CaptionResult, without: Counter[str], failed: Counter[str]) -> None:
    import polars as pl

    made, had = pl.col("text").is_not_null(), pl.col("old_text").is_not_null()
    same = pl.col("text") == pl.col("old_text")
    counts = batch.select(
        new=(made & ~had).sum(),
        changed=(made & had & ~same).sum(),
        unchanged=(made & had & same).sum(),
        taken_out=pl.col("taken_out").sum(),
    ).row(0, named=True)
    for name, count in counts.items():
        setattr(result, name, getattr(result, name) + count)
    for counter, group in ((without, ~pl.col("failed")), (failed, pl.col("failed"))):
        counter.update(dict(batch.filter(~made & group)["reason"].value_counts().iter_rows()))
    fresh = batch.filter(made & (~same).fill_null(True)).select("file_name", "image_sha256", "text")
    result.examples += _examples(fresh, EXAMPLES - len(result.examples))


def _examples(rows: pl.DataFrame, count: int) -> list[Example]:
    """Some rows (file_name, image_sha256, text), spread evenly."""
    count = min(count, rows.height)
    picked = [rows.row(place * rows.height // count) for place in range(count)]
    return [Example(file_name=name, image_sha256=sha256, text=text) for name, sha256, text in picked]


def _current_examples(catalog: Catalog, images: pl.DataFrame, result: CaptionResult) -> list[Example]:
    """Where nothing was made: captions the set has."""
    texts = catalog.caption_texts(result.dataset, result.set_name)
    return _examples(
        images.join(texts, on="image_sha256", how="inner", maintain_order="left").select(
            "file_name", "image_sha256", "text"
        ),
        EXAMPLES,
    )
