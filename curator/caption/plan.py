"""Plan a caption run: load the strategy, read each image's current caption, select the images to caption."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from curator import captioners
from curator.caption.inputs import IDENTITY, available_fields, chosen_fields, image_inputs, inputs_digests, sources
from curator.caption.result import CaptionResult
from curator.caption.stale import stale_reasons
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
    """A run before it starts. `todo` selects the rows of `images` and `inputs` to caption.

    Columns of `images`: image_sha256, file_name, digest (of the inputs); of the current revision in the set
    inputs_digest, run_id, strategy, by_person, person, old_text, parent_id; failed_before (the failure's reason).
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
        return self.images.filter(self.todo)

    @property
    def inputs_to_do(self) -> pl.DataFrame:
        return self.inputs.filter(self.todo)


def make_plan(catalog: Catalog, request: Request) -> Plan:
    """Plan a run without changing anything. Raises NotFound (dataset, strategy), BadOption (set, option, field)."""
    captioner = captioners.load(request.strategy)
    options = captioners.parse_options(captioner, request.options)
    _check(catalog, captioner, request)
    in_metadata = catalog.metadata_fields(request.dataset)
    fields = chosen_fields(captioner, options, available_fields(in_metadata, _other_sets(catalog, request)))
    captions = sources(catalog, request.dataset, request.set_name, fields, in_metadata)
    images, inputs = image_inputs(catalog, request.dataset, fields, in_metadata, captions, captioner.original_paths)
    result = CaptionResult(
        dataset=request.dataset,
        set_name=request.set_name,
        strategy=request.strategy,
        strategy_version=captioner.version,
        images=images.height,
        warnings=captioner.warnings(options),
    )
    if captioner.read:
        reading = captioner.read(inputs, options)
        inputs, result.rejects = inputs.hstack(reading.columns), reading.rejects
    if request.where is not None:
        from curator.where import images_where

        chosen = images["image_sha256"].is_in(images_where(catalog, request.dataset, request.where).implode())
        images, inputs = images.filter(chosen), inputs.filter(chosen)
        result.not_chosen = result.images - images.height
    model = captioner.model(options)
    images = images.with_columns(inputs_digests(captioner, options, model, request.by, inputs.drop(IDENTITY)))
    images = _with_current(catalog, images, result)
    run = _run(captioner, options, model, request)
    todo = _limited(~_unaffected(catalog, images, captioner, run, request, result), request.limit, result)
    return Plan(captioner, options, run, captions, images, inputs, todo, result, Originals(catalog))


def check_set_name(name: str) -> None:
    if not SET_NAME.fullmatch(name):
        raise BadOption(f"--set {name}: a set's name consists of a-z, 0-9, _ and -.")


def _check(catalog: Catalog, captioner: Captioner, request: Request) -> None:
    check_set_name(request.set_name)
    check_dataset(catalog, request.dataset)
    if request.by is not None and not request.by.strip():
        raise BadOption("--by: name the person whose captions these are.")
    if request.by is not None and not captioner.imports:
        raise BadOption(f"--by {request.by}: captions made by `{captioner.name}` aren't a person's. Leave --by out.")


def _other_sets(catalog: Catalog, request: Request) -> list[str]:
    rows = catalog.caption_sets().select("dataset", "set_name").iter_rows()
    return [name for dataset, name in rows if dataset == request.dataset and name != request.set_name]


def _run(captioner: Captioner, options: Any, model: Model | None, request: Request) -> CaptionRun:
    return CaptionRun(
        run_id=0,
        dataset=request.dataset,
        set_name=request.set_name,
        strategy=captioner.name,
        strategy_version=captioner.version,
        options=options.model_dump(mode="json"),
        model=model.name if model else None,
        model_revision=model.revision if model else None,
        by_person=request.by is not None,
        person=request.by or request.person or user_name(),
    )


def _with_current(catalog: Catalog, images: pl.DataFrame, result: CaptionResult) -> pl.DataFrame:
    current = catalog.current_captions(result.dataset, result.set_name).rename(
        {"text": "old_text", "caption_id": "parent_id"}
    )
    failures = catalog.standing_failures(result.dataset, result.set_name).select("image_sha256", failed_before="reason")
    for more in (current, failures):
        images = images.join(more, on="image_sha256", how="left", maintain_order="left")
    return images


def _unaffected(
    catalog: Catalog,
    images: pl.DataFrame,
    captioner: Captioner,
    run: CaptionRun,
    request: Request,
    result: CaptionResult,
) -> pl.Series:
    has_caption = pl.col("old_text").is_not_null()
    # An import replaces a person's captions only if the same person imported them by the same strategy.
    same_import = pl.lit(False)
    if request.by:
        same_import = (pl.col("person") == request.by) & (pl.col("strategy") == captioner.name)
    by_person = (has_caption & pl.col("by_person") & ~same_import).fill_null(False)
    fresh = (has_caption & ~by_person & (pl.col("inputs_digest") == pl.col("digest"))).fill_null(False)
    states = images.select(by_person=by_person, fresh=fresh, stale=has_caption & ~by_person & ~fresh)
    stale = images.filter(states["stale"])
    if stale.height:
        runs = catalog.runs_of_set(request.dataset, request.set_name)
        result.made_otherwise = stale_reasons(captioner, run, stale, runs)
    result.kept_by_person = int(states["by_person"].sum())
    unaffected = states["by_person"]
    if request.only != "all":
        result.unchanged = int(states["fresh"].sum())
        unaffected = unaffected | states["fresh"]
    if request.only == "missing":
        result.outdated = int(states["stale"].sum())
        unaffected = unaffected | states["stale"]
    return unaffected


def _limited(todo: pl.Series, limit: int | None, result: CaptionResult) -> pl.Series:
    if limit is None:
        return todo
    reached = todo & (todo.cum_sum() <= limit)
    result.not_reached = int(todo.sum()) - int(reached.sum())
    return reached
