"""What a caption run has to do: the strategy with its options, the images with what they have now, those to caption."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from curator import captioners
from curator.caption.inputs import IDENTITY, available_fields, chosen_fields, image_inputs, inputs_digests, sources
from curator.caption.result import CaptionResult
from curator.caption.stale import because
from curator.caption_sets.reference import Reference, check_dataset
from curator.captioners import Captioner, Model
from curator.catalog import Catalog
from curator.catalog.captions import CaptionRun
from curator.images.originals import Originals
from curator.person import user_name
from schemas.errors import BadOption

SET_NAME = re.compile(r"[a-z0-9_-]+")
Only = Literal["changed", "missing", "all"]


@dataclass(frozen=True)
class Request:
    """What was asked for; see `curator.caption.caption`."""

    dataset: str
    strategy: str
    set_name: str
    options: Mapping[str, Any] | Sequence[str] = ()
    by: str | None = None
    person: str | None = None
    only: Only = "changed"
    where: str | None = None
    limit: int | None = None


@dataclass
class Plan:
    """A run before it starts. `todo` says which rows of `images`, and of `inputs` beside it, are to be captioned.

    `images` has image_sha256, file_name, digest (of its inputs) and of the current revision in the set: inputs_digest,
    run_id, strategy, by_person, person, old_text, parent_id; and of the last try, if that failed, why: failed_before.
    """

    captioner: Captioner
    options: Any
    run: CaptionRun
    sources: Mapping[str, Reference]
    images: pl.DataFrame
    inputs: pl.DataFrame
    todo: pl.Series
    result: CaptionResult
    originals: Originals

    @property
    def images_to_do(self) -> pl.DataFrame:
        """The rows of `images` to caption."""
        return self.images.filter(self.todo)

    @property
    def inputs_to_do(self) -> pl.DataFrame:
        """The rows of `inputs` to caption."""
        return self.inputs.filter(self.todo)


def plan(catalog: Catalog, asked: Request) -> Plan:
    """Looks at everything and changes nothing. Raises NotFound (dataset, strategy), BadOption (set, option, field)."""
    captioner = captioners.load(asked.strategy)
    options = captioners.parse_options(captioner, asked.options)
    _check(catalog, captioner, asked)
    in_metadata = catalog.metadata_fields(asked.dataset)
    fields = chosen_fields(captioner, options, available_fields(in_metadata, _other_sets(catalog, asked)))
    captions = sources(catalog, asked.dataset, asked.set_name, fields, in_metadata)
    images, inputs = image_inputs(catalog, asked.dataset, fields, in_metadata, captions, captioner.beside)
    result = CaptionResult(
        dataset=asked.dataset,
        set_name=asked.set_name,
        strategy=asked.strategy,
        strategy_version=captioner.version,
        images=images.height,
        warnings=captioner.warnings(options),
    )
    if captioner.read:
        reading = captioner.read(inputs, options)
        inputs, result.rejects = inputs.hstack(reading.columns), reading.rejects
    if asked.where is not None:
        from curator.where import images_where

        chosen = images["image_sha256"].is_in(images_where(catalog, asked.dataset, asked.where).implode())
        images, inputs = images.filter(chosen), inputs.filter(chosen)
        result.not_chosen = result.images - images.height
    model = captioner.model(options)
    images = images.with_columns(inputs_digests(captioner, options, model, asked.by, inputs.drop(IDENTITY)))
    images = _with_current(catalog, images, result)
    run = _run(captioner, options, model, asked)
    todo = _limited(~_left_alone(catalog, images, captioner, run, asked, result), asked.limit, result)
    return Plan(captioner, options, run, captions, images, inputs, todo, result, Originals(catalog))


def check_set_name(name: str) -> None:
    """Raises BadOption unless it can name a caption set."""
    if not SET_NAME.fullmatch(name):
        raise BadOption(f"--set {name}: a set's name is made of a-z, 0-9, _ and -.")


def _check(catalog: Catalog, captioner: Captioner, asked: Request) -> None:
    check_set_name(asked.set_name)
    check_dataset(catalog, asked.dataset)
    if asked.by is not None and not asked.by.strip():
        raise BadOption("--by: name the person whose captions these are.")
    if asked.by is not None and not captioner.imports:
        raise BadOption(f"--by {asked.by}: captions made by `{captioner.name}` aren't a person's. Leave --by out.")


def _other_sets(catalog: Catalog, asked: Request) -> list[str]:
    rows = catalog.caption_sets().select("dataset", "set_name").iter_rows()
    return [name for dataset, name in rows if dataset == asked.dataset and name != asked.set_name]


def _run(captioner: Captioner, options: Any, model: Model | None, asked: Request) -> CaptionRun:
    """The run's provenance; its id is reserved with its first rows."""
    return CaptionRun(
        run_id=0,
        dataset=asked.dataset,
        set_name=asked.set_name,
        strategy=captioner.name,
        strategy_version=captioner.version,
        options=options.model_dump(mode="json"),
        model=model.name if model else None,
        model_revision=model.revision if model else None,
        by_person=asked.by is not None,
        person=asked.by or asked.person or user_name(),
    )


def _with_current(catalog: Catalog, images: pl.DataFrame, result: CaptionResult) -> pl.DataFrame:
    """The images with the last revision each has in the set, and why the last try failed."""
    current = catalog.current_captions(result.dataset, result.set_name).rename(
        {"text": "old_text", "caption_id": "parent_id"}
    )
    failures = catalog.standing_failures(result.dataset, result.set_name).select("image_sha256", failed_before="reason")
    for more in (current, failures):
        images = images.join(more, on="image_sha256", how="left", maintain_order="left")
    return images


def _left_alone(
    catalog: Catalog,
    images: pl.DataFrame,
    captioner: Captioner,
    run: CaptionRun,
    asked: Request,
    result: CaptionResult,
) -> pl.Series:
    """Which images aren't captioned now; counts them in `result`."""
    has = pl.col("old_text").is_not_null()
    # An import refreshes what the same person imported the same way, and nothing else that is a person's.
    own = (pl.col("person") == asked.by) & (pl.col("strategy") == captioner.name) if asked.by else pl.lit(False)
    kept = (has & pl.col("by_person") & ~own).fill_null(False)
    same = (has & ~kept & (pl.col("inputs_digest") == pl.col("digest"))).fill_null(False)
    states = images.select(kept=kept, same=same, other=has & ~kept & ~same)
    outdated = images.filter(states["other"])
    if outdated.height:
        runs = catalog.runs_of_set(asked.dataset, asked.set_name)
        result.made_otherwise = because(captioner, run, outdated, runs)
    result.kept_by_person = int(states["kept"].sum())
    leave = states["kept"]
    if asked.only != "all":
        result.unchanged = int(states["same"].sum())
        leave = leave | states["same"]
    if asked.only == "missing":
        result.outdated = int(states["other"].sum())
        leave = leave | states["other"]
    return leave


def _limited(todo: pl.Series, limit: int | None, result: CaptionResult) -> pl.Series:
    """The first `limit` of those to do; the others are counted."""
    if limit is None:
        return todo
    reached = todo & (todo.cum_sum() <= limit)
    result.not_reached = int(todo.sum()) - int(reached.sum())
    return reached
