"""Text of `curator history`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from curator.caption_sets.history import HistoryResult, Revision
from curator.captioners import model_at
from curator.cli.text import minute
from curator.cli.text.check import printed
from curator.text.printable import shown


def text_of_history(result: HistoryResult, width: int | None = None) -> str:
    """`width`: by default the terminal's."""
    return printed(_blocks(result), width)


def _blocks(result: HistoryResult) -> Iterator[RenderableType]:
    yield Text(result.image_sha256, style="bold")
    for file in result.files:
        yield Text(f"  {file.dataset}: {file.path}")
    title = ""
    for revision in result.revisions:
        name = f"{revision.dataset}/{revision.set_name}"
        if name != title:
            yield Text(f"\n{name}", style="bold")
        title = name
        yield Padding(_revision(revision), (0, 0, 0, 2))
    if not result.revisions:
        yield Text("\nThis image never had a caption.")


def _revision(revision: Revision) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(minute(revision.captioned_at), _text(revision))
    for name, value in _facts(revision):
        table.add_row(Text(name, justify="right"), Text(value, style="dim"))
    return table


def _text(revision: Revision) -> Text:
    style = "" if revision.current else "strike dim" if revision.text is None else "dim"
    marks = [f"@{number}" for number in revision.versions] + (["current"] if revision.current else [])
    caption = "(removed)" if revision.text is None else shown(revision.text) or "(empty)"
    return Text.assemble((caption, style), ("  " + " ".join(marks), "green"))


def _facts(revision: Revision) -> Iterator[tuple[str, str]]:
    strategy = f"{revision.strategy} v{revision.strategy_version}"
    person = revision.person
    yield "by", f"{person}, through {strategy}" if revision.by_person else f"{strategy}, run by {person}"
    if revision.model:
        yield "model", model_at(revision.model, revision.model_revision)
    for source in revision.sources:
        name = source.set_name + (f"@{source.number}" if source.number else "")
        yield "of", f"{name}: {'(none)' if source.text is None else shown(source.text) or '(empty)'}"
    if revision.restored_from:
        yield "", f"restored from {revision.restored_from} by {revision.restored_by}"
    options = [f"{key}={_value(value)}" for key, value in revision.options.items() if value not in (None, [], "")]
    if options:
        yield "with", "  ".join(options)


def _value(value: Any) -> str:
    """Format as for `-o`; quote leading or trailing spaces."""
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if text == text.strip() else f"'{text}'"
