"""Check that runs are paired: they differ only in captions or method.

Images, split, base, seed, steps and prompts must match. Runs by different methods use the same noise too; settings or
defaults of a method may differ between them.
"""

from __future__ import annotations

import json
from typing import Any

from schemas.errors import AmatlError
from trainer_client.compare.runs import Run
from trainer_client.config import as_resolved_now, method_fields

# Settings that may differ between paired runs: captions, paths, cost, speed. Prompts and base are compared after
# they are resolved; missing checkpoints do not change the others.
MAY_DIFFER = {
    "base",
    "base_config",
    "cache",
    "captions",
    "device",
    "eval_batch_size",
    "out",
    "price_per_hour",
    "prompts",
    "revision",
}
MAY_DIFFER |= {"sample_batch_size", "save_epochs", "seeds", "snapshot", "state_every_seconds", "tracker"}
NAMED, LONG = 12, 48  # differences in an error, characters of a value


class NotPaired(AmatlError):
    """These runs differ in more than their captions. Train them again alike, or pass --unpaired."""


def differences(runs: list[Run]) -> list[str]:
    """Describe how each other run differs from the first; empty if they are paired."""
    return [line for run in runs[1:] for line in _between(runs[0], run)]


def refuse_unpaired(runs: list[Run]) -> None:
    """Raise NotPaired with every difference and what to do."""
    found = differences(runs)
    if found:
        more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise NotPaired(
            f"These runs differ in more than their captions: {'; '.join(found[:NAMED])}{more}. "
            "Train them again on the same snapshot with the same settings, leave out the runs that differ, "
            "or pass --unpaired to compare them all the same (the page says so)."
        )


def settings(runs: list[Run]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the settings that are equal in all runs, and each run's other settings."""
    flat = [{**_flat(run.report.config), **_flat(dict(run.report.environment), "environment.")} for run in runs]
    keys = sorted({key for values in flat for key in values})
    equal = {key: flat[0].get(key) for key in keys if all(values.get(key) == flat[0].get(key) for values in flat)}
    return equal, [{key: values.get(key) for key in keys if key not in equal} for values in flat]


def _between(first: Run, other: Run) -> list[str]:
    a, b = first.report, other.report
    pairs: list[tuple[str, Any, Any]] = [
        ("images or split", a.snapshot.images_identity[:12], b.snapshot.images_identity[:12]),
        ("base model", a.base.digest[:12], b.base.digest[:12]),
        ("sampling seeds", a.seeds, b.seeds),
        ("prompts", [prompt.text for prompt in a.prompts], [prompt.text for prompt in b.prompts]),
        ("held-out images evaluated", a.held_out_images, b.held_out_images),
        ("training images evaluated", a.train_subset_images, b.train_subset_images),
    ]
    config_a, config_b = _flat(as_resolved_now(a.config)), _flat(as_resolved_now(b.config))
    may_differ = MAY_DIFFER if config_a["method"] == config_b["method"] else {*MAY_DIFFER, "method", *method_fields()}
    keys = sorted(key for key in config_a.keys() | config_b.keys() if key.split(".")[0] not in may_differ)
    pairs += [(f"setting {key}", config_a.get(key), config_b.get(key)) for key in keys]
    found = [f"{first.name} and {other.name}: {what} ({_short(x, y)})" for what, x, y in pairs if x != y]
    return found + _steps(first, other)


def _steps(first: Run, other: Run) -> list[str]:
    """Compare the steps done at equal epochs."""
    own = {record.epoch: record.steps for record in first.report.epochs}
    for record in other.report.epochs:
        if own.get(record.epoch, record.steps) != record.steps:
            steps = f"{own[record.epoch]} against {record.steps}"
            return [f"{first.name} and {other.name}: steps at epoch {record.epoch} ({steps})"]
    return []


def _short(x: Any, y: Any) -> str:
    if isinstance(x, list) and isinstance(y, list):
        odd = [item for item in x if item not in y] or [item for item in y if item not in x]
        if len(x) != len(y):
            return f"{len(x)} against {len(y)}"
        return f"{json.dumps(odd[0], ensure_ascii=False)[:LONG]} only in one" if odd else "in another order"
    return f"{_text(x)} against {_text(y)}"


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONG else text[: LONG - 1] + "…"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
