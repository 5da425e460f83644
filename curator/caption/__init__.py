"""Captioning: run one strategy over a dataset into a caption set, redoing only stale captions.

An image is captioned if it has no caption in the set, or a stale one: made with other options, strategy version or
model, or from other inputs of that image. A strategy never replaces a person's caption. Each batch is one transaction:
after a kill the same command goes on from there, having lost at most one batch. A failed image is a row with its
reason, and is retried by the next run.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from typing import Any

import polars as pl

from curator.caption.plan import Only, Plan, Request, check_set_name, make_plan
from curator.caption.produce import by_expression, by_model
from curator.caption.result import CaptionResult, Effort, Example
from curator.caption.stale import report_stale
from curator.caption.store import CaptionStore, current_examples
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
    """Caption the images of `dataset` into `set_name`.

    `options`: a mapping or `key=value` pairs; `by`: the person whose captions are imported; `person`: who runs it;
    `where`: an expression (curator.where) that selects images; `limit`: the most images of this run; `notice` receives
    the counts of stale captions first. Raises NotFound (dataset, strategy), BadOption (set name, option, field,
    expression), MachineFailed.
    """
    request = Request(dataset, strategy, set_name, options, by=by, person=person, only=only, where=where, limit=limit)
    plan = make_plan(catalog, request)
    report_stale(plan.result, only, notice)
    store = CaptionStore(catalog, plan)
    try:
        with closing(_batches(plan, progress, notice)) as batches:
            for batch in batches:
                store.add(batch)
                progress("captioning", store.done, store.images.height, _detail(plan.result, store))
    except MachineFailed as error:
        stored = f"{store.done - store.failed:,} of {store.images.height:,} captions are stored"
        raise MachineFailed(f"{str(error).rstrip('.')}. {stored}; the same command goes on from there.") from error
    plan.result.examples = plan.result.examples or current_examples(catalog, plan.images, plan.result)
    return plan.result


def _batches(plan: Plan, progress: Progress, notice: Notice) -> Generator[pl.DataFrame]:
    inputs = plan.inputs_to_do
    if plan.captioner.load_model is None:
        return by_expression(plan.captioner, plan.options, inputs)
    plan.result.effort = Effort()

    def warn(text: str) -> None:
        plan.result.warnings.append(text)
        notice(text)

    return by_model(plan, inputs, plan.result.effort, progress, warn)


def _detail(result: CaptionResult, store: CaptionStore) -> str:
    if result.effort is None:
        return ""
    failed = f", {store.failed:,} failed" if store.failed else ""
    cost = f", {money(result.effort.cost_usd, '$')}" if result.effort.cost_usd else ""
    return f"{result.effort.images_per_second:,.1f} images/s{cost}{failed}"
