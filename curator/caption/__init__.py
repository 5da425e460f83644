"""Captioning: runs one strategy over a dataset's images into a caption set, redoing only what has to be redone.

An image is captioned when it has no caption in the set, or when what made its caption is no longer so: other options, a
higher version of the strategy, another model, or other inputs of that very image. A person's caption is never replaced
by a strategy. Rows are added batch by batch, each in one transaction: interrupted, the same command goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from curator.caption.keep import Keeper, current_examples
from curator.caption.make import by_expression, by_machine
from curator.caption.plan import Only, Plan, Request, check_set_name
from curator.caption.plan import plan as planned
from curator.caption.result import CaptionResult, Effort, Example
from schemas.progress import Progress, silent

if TYPE_CHECKING:
    from curator.catalog import Catalog

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
    progress: Progress = silent,
) -> CaptionResult:
    """Captions the images of `dataset` into `set_name` by the strategy of that name.

    `options` as a mapping or `key=value` pairs; `by` makes imported captions a person's; `person` is who runs it;
    `where` is an expression (curator.where) for the images to consider, which may name `caption.<set_name>` too.
    Raises NotFound (dataset, strategy), BadOption (set name, option, field, expression), MachineFailed.
    """
    plan = planned(catalog, Request(dataset, strategy, set_name, options, by, person, only, where))
    keeper = Keeper(catalog, plan)
    for made in _batches(plan, progress):
        keeper.keep(made)
        progress("captioning", keeper.kept, keeper.images.height)
    plan.result.examples = plan.result.examples or current_examples(catalog, plan.images, plan.result)
    return plan.result


def _batches(plan: Plan, progress: Progress) -> Any:
    """Frames (text, reason, failed), in the order of the images to do."""
    if plan.captioner.machine is None:
        return by_expression(plan.captioner, plan.options, plan.inputs_to_do)
    plan.result.effort = Effort()
    return by_machine(
        plan.captioner, plan.options, plan.inputs_to_do, plan.result.effort, progress, plan.result.warnings.append
    )
