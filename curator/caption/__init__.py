"""Captioning: runs one strategy over a dataset's images into a caption set, redoing only what has to be redone.

An image is captioned when it has no caption in the set, or when what made its caption is no longer so: other options, a
higher version of the strategy, another model, or other inputs of that very image. A person's caption is never replaced
by a strategy. Rows are added batch by batch, each in one transaction: interrupted or killed, the same command goes on
from there, and loses at most the batch in hand. An image that fails is a row with its reason, tried again next time.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from typing import Any

import polars as pl

from curator.caption.plan import Only, Plan, Request, check_set_name
from curator.caption.plan import plan as planned
from curator.caption.produce import by_expression, by_machine
from curator.caption.result import CaptionResult, Effort, Example
from curator.caption.stale import tell_what_is_redone
from curator.caption.store import Keeper, current_examples
from curator.captioners.model import MachineFailed
from curator.catalog import Catalog
from schemas.edge.words import money
from schemas.progress import Notice, Progress, silent, unheard

__all__ = ["CaptionResult", "Effort", "Example", "Only", "caption", "check_set_name"]


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
    limit: int | None = None,
    progress: Progress = silent,
    notice: Notice = unheard,
) -> CaptionResult:
    """Captions the images of `dataset` into `set_name` by the strategy of that name.

    `options` as a mapping or `key=value` pairs; `by` makes imported captions a person's; `person` is who runs it;
    `where` is an expression (curator.where) for the images to consider, which may name `caption.<set_name>` too;
    `limit` leaves all but the first so many of those to do for the next run. `notice` hears before anything is redone
    how many captions were made otherwise.
    Raises NotFound (dataset, strategy), BadOption (set name, option, field, expression), MachineFailed.
    """
    asked = Request(dataset, strategy, set_name, options, by=by, person=person, only=only, where=where, limit=limit)
    plan = planned(catalog, asked)
    tell_what_is_redone(plan.result, only, notice)
    keeper = Keeper(catalog, plan)
    try:
        with closing(_batches(plan, progress, notice)) as batches:
            for made in batches:
                keeper.keep(made)
                progress("captioning", keeper.kept, keeper.images.height, _detail(plan.result, keeper))
    except MachineFailed as error:
        kept = f"{keeper.kept - keeper.failed:,} of {keeper.images.height:,} captions are made and kept"
        raise MachineFailed(f"{str(error).rstrip('.')}. {kept}; the same command goes on from there.") from error
    plan.result.examples = plan.result.examples or current_examples(catalog, plan.images, plan.result)
    return plan.result


def _batches(plan: Plan, progress: Progress, notice: Notice) -> Generator[pl.DataFrame]:
    """Frames (text, reason, failed), in the order of the images to do."""
    inputs = plan.inputs_to_do
    if plan.captioner.machine is None:
        return by_expression(plan.captioner, plan.options, inputs)
    plan.result.effort = Effort()

    def heard(text: str) -> None:
        plan.result.warnings.append(text)
        notice(text)

    return by_machine(plan, inputs, plan.result.effort, progress, heard)


def _detail(result: CaptionResult, keeper: Keeper) -> str:
    """What stands beside the bar."""
    if result.effort is None:
        return ""
    failed = f", {keeper.failed:,} failed" if keeper.failed else ""
    cost = f", {money(result.effort.cost_usd, '$')}" if result.effort.cost_usd else ""
    return f"{result.effort.images_per_second:,.1f} images/s{cost}{failed}"
