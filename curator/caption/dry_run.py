"""A dry run: a few pictures captioned and nothing kept, on a page to look at, with what the whole run would take."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from curator.caption.contact_sheet import GENERATOR, page
from curator.caption.dry_run_result import DryPicture, DryRunResult
from curator.caption.plan import Only, Plan, Request
from curator.caption.plan import plan as planned
from curator.caption.produce import by_expression, by_machine
from curator.caption.result import Effort
from curator.caption.stale import tell_what_is_redone
from curator.catalog import Catalog
from curator.images.html_page import refuse_other_file
from curator.text.one_line import text_on_one_line
from schemas.document import now, write_atomically
from schemas.progress import Notice, Progress, silent, unheard

PICTURES = 8


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
    """Captions 8 images, spread evenly over those that the run would caption (over all, if it would none).

    Writes the page `out` (default: DATASET-SET-dry-run.html here). Raises AlreadyExists where that is another file,
    and what `caption` raises.
    """
    asked = Request(dataset, strategy, set_name, options, by=by, only=only, where=where, limit=limit)
    plan = planned(catalog, asked)
    out = out or Path(re.sub(r"[^\w.-]+", "-", f"{dataset}-{set_name}-dry-run.html"))
    refuse_other_file(out, GENERATOR)
    tell_what_is_redone(plan.result, only, notice)
    places = _spread(plan)
    if catalog.distant:
        for image in plan.inputs[places]["image_sha256"]:
            plan.originals.file(image, [])
    effort = Effort()
    made = _made(plan, plan.inputs[places], effort, progress, notice)
    result = _result(plan, plan.images[places].hstack(plan.inputs[places].select("image_path")).hstack(made), effort)
    result.page = str(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, page(result).encode())
    return result


def _spread(plan: Plan) -> list[int]:
    """Rows of `plan.images`: of those to do, else of all."""
    rows = plan.todo.arg_true().to_list() or list(range(plan.images.height))
    count = min(PICTURES, len(rows))
    return [rows[place * len(rows) // count] for place in range(count)]


def _made(plan: Plan, inputs: pl.DataFrame, effort: Effort, progress: Progress, notice: Notice) -> pl.DataFrame:
    """Text and reason of each row."""
    if plan.captioner.machine is None:
        batches = by_expression(plan.captioner, plan.options, inputs)
    else:
        batches = by_machine(plan, inputs, effort, progress, notice)
    made = pl.DataFrame(schema={"text": pl.String, "reason": pl.String, "failed": pl.Boolean})
    for batch in batches:
        made = made.vstack(batch)
        progress("captioning", made.height, inputs.height)
    return made.with_columns(text_on_one_line()).select("text", "reason")


def _result(plan: Plan, rows: pl.DataFrame, effort: Effort) -> DryRunResult:
    shown, to_caption = max(1, rows.height), int(plan.todo.sum())
    pictures = [
        DryPicture.model_validate({**row, "path": row["image_path"], "current": row["old_text"]})
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
        seconds_each=effort.seconds / shown,
        cost_usd_each=effort.cost_usd / shown,
        estimated_seconds=effort.seconds / shown * to_caption,
        estimated_cost_usd=effort.cost_usd / shown * to_caption,
        made_otherwise=plan.result.made_otherwise,
        warnings=plan.result.warnings,
        made_at=now(),
        page="",
    )
