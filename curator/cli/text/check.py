"""Text of `curator check`."""

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
MAX_CHARACTERS = 240  # of a caption


def text_of_check(result: CheckResult, width: int | None = None) -> str:
    """`width`: by default the terminal's."""
    return printed(_blocks(result), width)


def _blocks(result: CheckResult) -> Iterator[RenderableType]:
    yield _headline(result)
    yield Text()
    findings = [finding for finding in result.findings if finding.state != "clean"]
    if findings:
        yield _table(findings, result.baseline is not None)
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
    for finding in findings:
        style = STYLES[finding.state]
        unchecked = finding.state == "unchecked"
        cells: list[RenderableType] = [
            Text(SIGNS[finding.state], style=style),
            Text(finding.code, style=style if finding.state in ("error", "warning") else ""),
            "–" if unchecked else f"{finding.count:,}",
            "–" if unchecked else percent(finding.share),
            percent(finding.allowed),
            Text(_what(finding), style="dim" if finding.state in ("clean", "allowed") else ""),
        ]
        if with_baseline:
            cells.insert(4, "–" if finding.baseline_share is None else _against(finding))
        table.add_row(*cells)
    return table


def _clean(result: CheckResult) -> Iterator[Text]:
    names = [
        f"{finding.code} ({finding.subject})" if finding.code == "unmentioned" else finding.code
        for finding in result.findings
        if finding.state == "clean"
    ]
    if names:
        yield Text.assemble((SIGNS["clean"], STYLES["clean"]), "  ", ("nothing found: " + ", ".join(names), "dim"))


def _what(finding: Finding) -> str:
    """A field's findings name the field."""
    if finding.state == "unchecked":
        return "couldn't be checked"
    if finding.code == "trigger-missing":
        return f"no {finding.subject!r}"
    if finding.code == "unmentioned":
        return f"{finding.subject}: {finding.of:,} values"
    return KINDS[finding.code].short


def _against(finding: Finding) -> Text:
    arrow = "↑" if finding.worse else "↓" if finding.share < (finding.baseline_share or 0) else "="
    return Text(f"{percent(finding.baseline_share or 0)} {arrow}", style="red" if finding.worse else "")


def _details(finding: Finding) -> RenderableType:
    unit = finding.unit if finding.code != "unmentioned" else f"values of {finding.subject}"
    count = f"{finding.count:,} of {finding.of:,} {unit} {finding.title}"
    title = f"{finding.code}: {count if finding.state != 'unchecked' else _what(finding)}"
    if finding.code == "trigger-missing":
        title += f" {finding.subject!r}"
    parts = finding.parts[:PARTS_SHOWN]
    body: list[RenderableType] = []
    if parts:
        body.append(_parts(parts, "images" if finding.code == "unmentioned" else "captions"))
    if finding.count and len(finding.parts) > len(parts):
        body.append(Text("... more with --json", style="dim"))
    body += [_example(example, finding.code) for example in finding.examples]
    body.append(Text(f"→ {finding.advice}", style="italic"))
    return Group(Text(title, style=STYLES[finding.state]), Padding(Group(*body), (0, 0, 0, 2)))


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
        detail = f"{words}: {_quoted(example.detail)}" if words else example.detail
        text.append(f"\n    {_shortened(detail)}", style="dim")
    return text


def _verdict(result: CheckResult) -> Text:
    states: list[str] = [finding.state for finding in result.findings]
    nouns = {"error": ("error",), "warning": ("warning",), "unchecked": ("not checked", "not checked")}
    problems = ", ".join(plural(states.count(state), *noun) for state, noun in nouns.items() if state in states)
    if result.passed:
        better = " Nothing got worse." if result.baseline else ""
        return Text(f"Passed: {len(states)} checks.{better}", style="bold green")
    worse = " that got worse" if result.baseline else ""
    return Text(f"{problems}{worse} in {len(states)} checks.", style="bold")


def printed(blocks: Iterable[RenderableType], width: int | None = None) -> str:
    """Render Rich blocks, coloured if stdout is a terminal."""
    console = Console(file=io.StringIO(), force_terminal=sys.stdout.isatty(), width=width, highlight=False, emoji=False)
    for block in blocks:
        console.print(block)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().rstrip("\n").splitlines())


def _quoted(text: str) -> str:
    return f"“{_shortened(shown(text))}”"


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 3] + "..."
