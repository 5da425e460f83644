"""Text of `curator compare`."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from curator.cli.text.check import printed
from curator.compare.result import ComparedSet, CompareResult, Differing
from curator.text.printable import shown
from schemas.edge.words import percent

IMAGES_SHOWN = 3
WORDS_SHOWN = 8
MAX_CHARACTERS = 200


def text_of_compare(result: CompareResult, width: int | None = None) -> str:
    """`width`: by default the terminal's."""
    return printed(_blocks(result), width)


def _blocks(result: CompareResult) -> Iterator[RenderableType]:
    of = f" of {result.images_of_dataset:,}" if result.images != result.images_of_dataset else ""
    yield Text.assemble(
        (result.dataset, "bold"),
        f"  {result.images:,}{of} {'image' if result.images == 1 else 'images'} that every set captions",
    )
    yield Text(result.headline, style="italic")
    yield Text()
    yield _figures(result)
    yield Text()
    yield _pairs(result)
    yield Text()
    yield from _only_here(result.sets)
    yield Text()
    yield Text("Largest differences", style="bold")
    for each in result.differing[:IMAGES_SHOWN]:
        yield _image(each)
    if len(result.differing) > IMAGES_SHOWN and not result.page:
        yield Text(f"  ... {len(result.differing) - IMAGES_SHOWN} more on the page: --out page.html", style="dim")
    for notice in result.notices:
        yield Text(f"\nNotice: {notice}", style="yellow")
    if result.page:
        yield Text.assemble("\nThe page: ", (result.page, "bold"))


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")


def _figures(result: CompareResult) -> Table:
    """There are few sets and many figures, so a row is a figure."""
    table = _table()
    table.add_column("")
    for each in result.sets:
        table.add_column(each.label, justify="right", overflow="fold")
    for name, cells in _rows(result):
        table.add_row(Text(name, style="dim"), *cells)
    return table


def _rows(result: CompareResult) -> Iterator[tuple[str, list[str]]]:
    sets = result.sets
    stats = [each.stats for each in sets]
    yield "captions", [f"{each.captions:,}" for each in stats]
    if any(each.empty for each in stats):
        yield "empty", [f"{each.empty:,}" for each in stats]
    yield "words, median", [f"{each.words.median:.1f}" if each.words else "–" for each in stats]
    if any(each.tokens for each in stats):
        yield "tokens, median", [f"{each.tokens.length.median:.1f}" if each.tokens else "–" for each in stats]
        yield "lose words", [f"{each.tokens.truncated:,}" if each.tokens else "–" for each in stats]
    yield "duplicates", [f"{each.duplicates:,}" for each in stats]
    yield "different words", [f"{each.vocabulary:,}" for each in sets]
    yield "unique words", [f"{each.only_here:,}" for each in sets]
    fields = list(dict.fromkeys(field for each in sets for field in each.fields))
    for field in fields:
        if any(each.fields[field].mentioned for each in sets):
            yield f"mention {field}", [percent(each.fields[field].share, 1) for each in sets]
    if any(each.clip for each in sets):
        yield "CLIP score, mean", [f"{each.clip.score.mean:.1f}" if each.clip else "–" for each in sets]
        yield "CLIP: best on", [percent(each.clip.best_share, 1) if each.clip else "–" for each in sets]
    yield from _people(sets)


def _people(sets: list[ComparedSet]) -> Iterator[tuple[str, list[str]]]:
    answers = [each.acceptance for each in sets]
    if not any(answers):
        return
    yield "people's answers", [f"{each.answers:,}" if each else "–" for each in answers]
    yield "accepted unchanged", [percent(each.unchanged_share, 1) if each and each.answers else "–" for each in answers]
    yield "characters edited", [_digit(each.median_edit_distance if each else None) for each in answers]
    yield "seconds per caption", [_digit(each.median_seconds if each else None) for each in answers]


def _digit(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}"


def _pairs(result: CompareResult) -> Table:
    table = _table()
    table.add_column("agreement")
    for name in ("words shared", "edits", "share edited", "identical"):
        table.add_column(name, justify="right")
    for pair in sorted(result.pairs, key=lambda pair: -pair.token_f1.mean):
        table.add_row(
            f"{pair.first} – {pair.second}",
            percent(pair.token_f1.mean, 1),
            f"{pair.edit_distance.median:,.0f}",
            percent(pair.edit_share.mean, 1),
            percent(pair.identical, 1),
        )
    return table


def _only_here(sets: list[ComparedSet]) -> Iterator[Text]:
    for each in sets:
        words = ", ".join(f"{word.text} {word.count:,}" for word in each.only_here_words[:WORDS_SHOWN])
        more = ", ..." if each.only_here > WORDS_SHOWN else ""
        yield Text.assemble((f"Only in {each.label}: ", "dim"), f"{words}{more}" if words else "nothing")


def _image(each: Differing) -> RenderableType:
    head = Text.assemble((each.file_name, "cyan"), (f"  {percent(each.token_f1, 1)} of the words shared", "dim"))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in each.captions.items():
        short = shown(text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 3] + "...")
        score = f"  CLIP {each.clip[name]:.1f}" if name in each.clip else ""
        table.add_row(name, Text.assemble(short or "(empty)", (score, "dim")))
    grid = Table.grid()
    grid.add_row(head)
    grid.add_row(Padding(table, (0, 0, 0, 2)))
    return Padding(grid, (0, 0, 0, 2))
