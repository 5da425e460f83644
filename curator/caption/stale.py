"""Why captions are made again: what of their making is no longer so, in words, with how many images it is true of."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import polars as pl

from curator.caption.result import CaptionResult
from curator.captioners import Captioner, model_at
from curator.catalog.captions import CaptionRun
from schemas.edge.words import plural
from schemas.progress import Notice

INPUTS = "other inputs"
LONGEST = 60


def because(captioner: Captioner, run: CaptionRun, outdated: pl.DataFrame, runs: pl.DataFrame) -> dict[str, int]:
    """How many captions have what against them, the most frequent first.

    `outdated` has the `run_id` of each; `runs` is `Catalog.runs_of_set`.
    """
    against = {row["run_id"]: _difference(captioner, run, row) for row in runs.iter_rows(named=True)}
    counted: Counter[str] = Counter()
    for run_id, count in sorted(outdated["run_id"].value_counts().iter_rows()):
        counted[against[run_id]] += count
    return dict(counted.most_common())


def tell_what_is_redone(result: CaptionResult, only: str, notice: Notice) -> None:
    """A line for each thing but inputs that the set's captions have against them."""
    for reason, count in result.made_otherwise.items():
        if reason != INPUTS:
            what = plural(count, "image was", "images were")
            then = "left as they are (--only missing)" if only == "missing" else "due again"
            notice(f"{what} captioned with {reason}: {then}.")


def _difference(captioner: Captioner, run: CaptionRun, earlier: Mapping[str, Any]) -> str:
    """The first thing that differs between an earlier run and this one."""
    if earlier["strategy"] != run.strategy:
        return f"another strategy ({earlier['strategy']})"
    if earlier["strategy_version"] != run.strategy_version:
        return f"another version of the strategy ({earlier['strategy_version']}, now {run.strategy_version})"
    if (earlier["model"], earlier["model_revision"]) != (run.model, run.model_revision):
        model = model_at(earlier["model"], earlier["model_revision"]) if earlier["model"] else "none"
        return f"another model ({model})"
    passed_over = captioner.locations | captioner.pace
    before = {name: value for name, value in json.loads(earlier["options"]).items() if name not in passed_over}
    now = {name: value for name, value in run.options.items() if name not in passed_over}
    if before == now:
        return INPUTS
    differ = [name for name in now | before if before.get(name) != now.get(name)]
    return f"other options ({', '.join(f'{name}={_value(before.get(name))}' for name in differ)})"


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
