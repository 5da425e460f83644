"""Explain why captions are stale: other strategy, version, model, options or inputs, with counts."""

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
MAX_VALUE = 60  # characters


def stale_reasons(captioner: Captioner, run: CaptionRun, stale: pl.DataFrame, runs: pl.DataFrame) -> dict[str, int]:
    """Count stale captions by reason, most frequent first.

    `stale` has the `run_id` of each caption; `runs` is `Catalog.runs_of_set`.
    """
    reasons = {row["run_id"]: _difference(captioner, run, row) for row in runs.iter_rows(named=True)}
    counts: Counter[str] = Counter()
    for run_id, count in sorted(stale["run_id"].value_counts().iter_rows()):
        counts[reasons[run_id]] += count
    return dict(counts.most_common())


def report_stale(result: CaptionResult, only: str, notice: Notice) -> None:
    """Send a notice for each reason but changed inputs."""
    for reason, count in result.made_otherwise.items():
        if reason != INPUTS:
            images = plural(count, "image was", "images were")
            action = "left as they are (--only missing)" if only == "missing" else "captioned again now"
            notice(f"{images} captioned with {reason}: {action}.")


def _difference(captioner: Captioner, run: CaptionRun, earlier: Mapping[str, Any]) -> str:
    if earlier["strategy"] != run.strategy:
        return f"another strategy ({earlier['strategy']})"
    if earlier["strategy_version"] != run.strategy_version:
        return f"another version of the strategy ({earlier['strategy_version']}, now {run.strategy_version})"
    if (earlier["model"], earlier["model_revision"]) != (run.model, run.model_revision):
        model = model_at(earlier["model"], earlier["model_revision"]) if earlier["model"] else "none"
        return f"another model ({model})"
    ignored = captioner.locations | captioner.speed_options
    before = {name: value for name, value in json.loads(earlier["options"]).items() if name not in ignored}
    now = {name: value for name, value in run.options.items() if name not in ignored}
    if before == now:
        return INPUTS
    differ = [name for name in now | before if before.get(name) != now.get(name)]
    return f"other options ({', '.join(f'{name}={_value(before.get(name))}' for name in differ)})"


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 3] + "..."
