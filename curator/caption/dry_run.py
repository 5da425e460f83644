"""Dry run: caption a few images without storing them, estimate the full run, and write a page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from curator.caption.contact_sheet import GENERATOR, page
from curator.caption.dry_run_result import DryRunImage, DryRunResult
from curator.caption.plan import Only, Plan, Request, make_plan
from curator.caption.produce import by_expression, by_model
from curator.caption.result import Effort
from curator.caption.stale import report_stale
from curator.catalog import Catalog
from curator.images.html_page import refuse_other_file
from curator.text.one_line import text_on_one_line
from schemas.document import now, write_atomically
from schemas.progress import Notice, Progress, silent, unheard

IMAGES = 8


def dry_run(
    catalog: Catalog,
    dataset: str,
    strategy: str,
    set_name: str,
    options: Mapping[str, Any] | Sequence[str] = (),
    *,
    by: str | None = None,
    only: Only = "changed",
    where: str | None = None,
    limit: int | None = None,
    out: Path | None = None,
    progress: Progress = silent,
    notice: Notice = unheard,
) -> DryRunResult:
    """Caption 8 images, spread evenly over those that the run would caption (or over all if it would caption none).

    Writes the page `out` (default: ./DATASET-SET-dry-run.html). Raises AlreadyExists if that is another file, and the
    errors of `caption`.
    """
    request = Request(dataset, strategy, set_name, options, by=by, only=only, where=where, limit=limit)
    plan = make_plan(catalog, request)
    out = out or Path(re.sub(r"[^\w.-]+", "-", f"{dataset}-{set_name}-dry-run.html"))
    refuse_other_file(out, GENERATOR)
    report_stale(plan.result, only, notice)
    rows = _spread(plan)
    if catalog.remote_disk:
        for image in plan.inputs[rows]["image_sha256"]:
            plan.originals.file(image, [])
    effort = Effort()
    captions = _captions(plan, plan.inputs[rows], effort, progress, notice)
    result = _result(plan, plan.images[rows].hstack(plan.inputs[rows].select("image_path")).hstack(captions), effort)
    result.page = str(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, page(result).encode())
    return result


def _spread(plan: Plan) -> list[int]:
    rows = plan.todo.arg_true().to_list() or list(range(plan.images.height))
    count = min(IMAGES, len(rows))
    return [rows[index * len(rows) // count] for index in range(count)]


def _captions(plan: Plan, inputs: pl.DataFrame, effort: Effort, progress: Progress, notice: Notice) -> pl.DataFrame:
    if plan.captioner.load_model is None:
        batches = by_expression(plan.captioner, plan.options, inputs)
    else:
        batches = by_model(plan, inputs, effort, progress, notice)
    captions = pl.DataFrame(schema={"text": pl.String, "reason": pl.String, "failed": pl.Boolean})
    for batch in batches:
        captions = captions.vstack(batch)
        progress("captioning", captions.height, inputs.height)
    return captions.with_columns(text_on_one_line()).select("text", "reason")


def _result(plan: Plan, rows: pl.DataFrame, effort: Effort) -> DryRunResult:
    count, to_caption = max(1, rows.height), int(plan.todo.sum())
    pictures = [
        DryRunImage.model_validate({**row, "path": row["image_path"], "current": row["old_text"]})
        for row in rows.iter_rows(named=True)
    ]
    return DryRunResult(
        **plan.run.model_dump(include={"dataset", "set_name", "strategy", "strategy_version", "options"}),
        model=plan.run.model,
        model_revision=plan.run.model_revision,
        images=plan.result.images,
        not_chosen=plan.result.not_chosen,
        to_caption=to_caption,
        pictures=pictures,
        effort=effort,
        seconds_each=effort.seconds / count,
        cost_usd_each=effort.cost_usd / count,
        estimated_seconds=effort.seconds / count * to_caption,
        estimated_cost_usd=effort.cost_usd / count * to_caption,
        made_otherwise=plan.result.made_otherwise,
        warnings=plan.result.warnings,
        made_at=now(),
        page="",
    )
