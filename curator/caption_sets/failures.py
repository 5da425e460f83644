"""List the images that a strategy failed to caption, with reasons."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

import click
from pydantic import BaseModel

from curator.catalog import Catalog
from schemas.errors import NotFound


class FailureLine(BaseModel):
    """An image that failed and has got no caption in the set since."""

    dataset: str
    set_name: str
    image_sha256: str
    file_name: str
    reason: str
    strategy: str
    failed_at: str


class FailuresResult(BaseModel):
    failures: int
    by_reason: dict[str, int]
    lines: list[FailureLine]


def failures(catalog: Catalog, caption_set: str | None = None) -> FailuresResult:
    """List the failures of a set (dataset/set, or set in every dataset), or of all. Raises NotFound."""
    dataset, _, set_name = (caption_set or "").rpartition("/")
    rows = catalog.standing_failures(dataset or None, set_name or None).to_dicts()
    if caption_set and not rows:
        _check_exists(catalog, caption_set, dataset, set_name)
    lines = [FailureLine.model_validate(row) for row in rows]
    by_reason = dict(Counter(line.reason for line in lines).most_common())
    return FailuresResult(failures=len(lines), by_reason=by_reason, lines=lines)


def text_of_failures(result: FailuresResult, limit: int) -> str:
    if not result.lines:
        return "No failures: no image failed since its last caption."
    out: list[str] = []
    for (dataset, set_name, reason), group in groupby(
        result.lines, key=lambda line: (line.dataset, line.set_name, line.reason)
    ):
        lines = list(group)
        shown = lines[: limit or None]
        width = max(len(line.file_name) for line in shown)
        out.append(f"{click.style(f'{dataset}/{set_name}', bold=True)}: {reason}  {len(lines):,}")
        for line in shown:
            tried = f"{line.strategy}, {line.failed_at[:16].replace('T', ' ')}Z"
            out.append(f"  {line.file_name:<{width}}  {click.style(tried, dim=True)}")
        if len(shown) < len(lines):
            out.append(f"  ... and {len(lines) - len(shown):,} more; list all with --limit 0")
        out.append("")
    return "\n".join([*out, "The same curator caption command tries them again."])


def _check_exists(catalog: Catalog, named: str, dataset: str, set_name: str) -> None:
    sets = catalog.caption_sets().select("dataset", "set_name").rows()
    if not any(name == set_name and dataset in ("", owner) for owner, name in sets):
        available = ", ".join("/".join(names) for names in sets) or "none yet"
        raise NotFound(f"There is no caption set {named!r}. There are: {available}.")
