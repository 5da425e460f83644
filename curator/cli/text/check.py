"""What `curator check` says to a person: a table of all checks, then each finding with examples and what to do."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from curator.check.findings import KINDS, Example, Finding, Part
from curator.check.run import CheckResult
from curator.text.printable import shown
from schemas.edge.words import percent, plural

SIGNS = {"error": "✗", "warning": "!", "unchecked": "?", "allowed": "·", "clean": "✓"}
STYLES = {"error": "bold red", "warning": "yellow", "unchecked": "magenta", "allowed": "dim", "clean": "green"}
PARTS_SHOWN = 5
LONG = 240  # characters of a caption, on the terminal


def account(result: CheckResult, width: int | None = None) -> str:
    """The whole as text, as wide as the terminal, coloured where stdout is one."""
    return printed(_blocks(result), width)


def _blocks(result: CheckResult) -> Iterator[RenderableType]:
    yield _headline(result)
    yield Text()
    shown = [found for found in result.findings if found.state != "clean"]
    if shown:
        yield _table(shown, result.baseline is not None)
    yield from _clean(result)
    for finding in result.findings:
        if finding.state in ("error", "warning", "unchecked"):
            yield Text()
            yield _details(finding)
    for notice in result.notices:
        yield Text(f"\nNotice: {notice}", style="yellow")
    yield Text()
    yield _verdict(result)


def _headline(result: CheckResult) -> Text:
    state = "" if result.committed else ", uncommitted"
    text = Text.assemble((result.reference, "bold"), f"  {plural(result.captions, 'caption')}{state}")
    if result.without_caption:
        text.append(f"; {plural(result.without_caption, 'image')} without one")
    if result.baseline:
        text.append(f"; against {result.baseline}")
    return text


def _table(findings: list[Finding], with_baseline: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", width=1)
    table.add_column("check", no_wrap=True)
    table.add_column("found", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    if with_baseline:
        table.add_column("before", justify="right", no_wrap=True)
    table.add_column("allowed", justify="right", no_wrap=True)
    table.add_column("what", overflow="fold")
    for found in findings:
        style = STYLES[found.state]
        unchecked = found.state == "unchecked"
        cells: list[RenderableType] = [
            Text(SIGNS[found.state], style=style),
            Text(found.code, style=style if found.state in ("error", "warning") else ""),
            "–" if unchecked else f"{found.count:,}",
            "–" if unchecked else percent(found.share),
            percent(found.allowed),
            Text(_what(found), style="dim" if found.state in ("clean", "allowed") else ""),
        ]
        if with_baseline:
            cells.insert(4, "–" if found.baseline_share is None else _against(found))
        table.add_row(*cells)
    return table


def _clean(result: CheckResult) -> Iterator[Text]:
    """The checks that found nothing, in one line."""
    names = [
        f"{found.code} ({found.subject})" if found.code == "unmentioned" else found.code
        for found in result.findings
        if found.state == "clean"
    ]
    if names:
        yield Text.assemble((SIGNS["clean"], STYLES["clean"]), "  ", ("nothing found: " + ", ".join(names), "dim"))


def _what(found: Finding) -> str:
    """The check in a few words; a field's findings name the field."""
    if found.state == "unchecked":
        return "couldn't be checked"
    if found.code == "trigger-missing":
        return f"no {found.subject!r}"
    if found.code == "unmentioned":
        return f"{found.subject}: {found.of:,} values"
    return KINDS[found.code].short


def _against(found: Finding) -> Text:
    arrow = "↑" if found.worse else "↓" if found.share < (found.baseline_share or 0) else "="
    return Text(f"{percent(found.baseline_share or 0)} {arrow}", style="red" if found.worse else "")


def _details(found: Finding) -> RenderableType:
    count = (
        f"{found.count:,} of {found.of:,} {found.unit if found.code != 'unmentioned' else f'values of {found.subject}'}"
    )
    title = (
        f"{found.code}: {count} {found.title}" if found.state != "unchecked" else f"{found.code}: couldn't be checked"
    )
    if found.code == "trigger-missing":
        title += f" {found.subject!r}"
    parts = found.parts[:PARTS_SHOWN]
    body: list[RenderableType] = []
    if parts:
        body.append(_parts(parts, "images" if found.code == "unmentioned" else "captions"))
    if found.count and len(found.parts) > len(parts):
        body.append(Text("... more with --json", style="dim"))
    body += [_example(example, found.code) for example in found.examples]
    body.append(Text(f"→ {found.advice}", style="italic"))
    return Group(Text(title, style=STYLES[found.state]), Padding(Group(*body), (0, 0, 0, 2)))


def _parts(parts: list[Part], unit: str) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for part in parts:
        more = ", ..." if part.captions > 1 else ""
        names = Text(f"  {part.file_names[0]}{more}", style="dim")
        count = f"{plural(part.captions, unit[:-1])} ({percent(part.share, 1)})"
        table.add_row(count, Text(_quoted(part.text)).append_text(names))
    return table


def _example(example: Example, code: str) -> Text:
    text = Text.assemble((example.file_name, "cyan"), (" new" if example.new else "", "red"), "  ")
    if code in ("broken-characters", "control-characters", "newline"):
        return text.append(_quoted(example.text))
    text.append(_quoted(example.text) if example.text.strip() else "(empty)")
    words = {"near-duplicate": "like", "mojibake": "read as UTF-8"}.get(code)
    if example.detail:
        said = f"{words}: {_quoted(example.detail)}" if words else example.detail
        text.append(f"\n    {_shortened(said)}", style="dim")
    return text


def _verdict(result: CheckResult) -> Text:
    states: list[str] = [found.state for found in result.findings]
    nouns = {"error": ("error",), "warning": ("warning",), "unchecked": ("not checked", "not checked")}
    found = ", ".join(plural(states.count(state), *noun) for state, noun in nouns.items() if state in states)
    if result.passed:
        better = " Nothing got worse." if result.baseline else ""
        return Text(f"Passed: {len(states)} checks.{better}", style="bold green")
    worse = " that got worse" if result.baseline else ""
    return Text(f"{found}{worse} in {len(states)} checks.", style="bold")


def printed(blocks: Iterable[RenderableType], width: int | None = None) -> str:
    """Rich's blocks as text: as wide as the terminal unless told, coloured where stdout is one, no blanks at ends."""
    console = Console(file=io.StringIO(), force_terminal=sys.stdout.isatty(), width=width, highlight=False, emoji=False)
    for block in blocks:
        console.print(block)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().rstrip("\n").splitlines())


def _quoted(text: str) -> str:
    return f"“{_shortened(shown(text))}”"


def _shortened(text: str) -> str:
    return text if len(text) <= LONG else text[: LONG - 3] + "..."
