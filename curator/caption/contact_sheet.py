"""The page of a dry run: the pictures with their new captions, those they have now, what made them, what it would take.

One file that asks nothing of the network; it follows the reader's light or dark, and fits a phone.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from string import Template
from typing import Any

from curator.caption.dry_run_result import DryPicture, DryRunResult
from curator.caption_sets.diff import word_operations
from curator.captioners import model_at
from curator.images.html_page import thumbnail
from schemas.edge.palette import stylesheet
from schemas.edge.words import duration, money, plural

GENERATOR = '<meta name="generator" content="curator caption --dry-run">'
TEMPLATE = Path(__file__).with_name("contact_sheet.html")
SIDE_PX = 560
ALIKE = 0.4  # of the words: below, marking what differs helps nobody


def page(result: DryRunResult) -> str:
    named = f"{result.dataset}/{result.set_name}"
    shown = len(result.pictures)
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        generator=GENERATOR,
        palette=stylesheet(),
        title=escape(f"Dry run: {result.strategy} for {named}"),
        heading=escape(f"{result.strategy} on {plural(shown, 'picture')} of {result.dataset}"),
        standfirst=escape(_standfirst(result, named)),
        facts="\n".join(_facts(result)),
        warnings="\n".join(f'<p class="warning">{escape(text)}</p>' for text in result.warnings),
        pictures="\n".join(_figure(picture) for picture in result.pictures),
        footer=escape(f"Made by curator caption --dry-run, {result.made_at[:16].replace('T', ' ')} UTC."),
    )


def estimate(result: DryRunResult) -> str:
    """How long, and how much, for a person; empty where nothing would be captioned."""
    if not result.to_caption:
        return ""
    time = f"about {duration(result.estimated_seconds)}" if result.estimated_seconds else "no time to speak of"
    return time + (f" and {money(result.estimated_cost_usd, '$')}" if result.estimated_cost_usd else "")


def why_nothing(result: DryRunResult) -> str:
    """Why a run would caption no image."""
    if not result.images:
        return f"{result.dataset} has no images"
    if result.not_chosen == result.images:
        return "--where holds for no image"
    return f"{result.dataset}/{result.set_name} is up to date"


def _standfirst(result: DryRunResult, named: str) -> str:
    if not result.to_caption:
        return f"Nothing of this is kept. A run would caption nothing: {why_nothing(result)}."
    all_of = plural(result.to_caption, "picture")
    does = f"The same command without --dry-run captions {all_of} into {named}: {estimate(result)}."
    return f"Nothing of this is kept. {does}"


def _facts(result: DryRunResult) -> list[str]:
    facts = {"Strategy": f"{result.strategy}, version {result.strategy_version}"}
    if result.model:
        facts["Model"] = model_at(result.model, result.model_revision)
    if result.effort.seconds:
        facts["A picture"] = duration(result.seconds_each)
        facts["Loading"] = duration(result.effort.loading_seconds)
    if result.effort.input_tokens or result.effort.output_tokens:
        facts["Tokens in, out"] = f"{result.effort.input_tokens:,}, {result.effort.output_tokens:,}"
    if result.cost_usd_each:
        facts["Cost of these"] = money(result.effort.cost_usd, "$")
    for reason, count in result.made_otherwise.items():
        facts[f"Captioned with {reason.partition(' (')[0]}"] = plural(count, "picture")
    lines = [f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items()]
    options = "".join(
        f"<code><b>{escape(name)}=</b>{escape(_value(value))}</code> "
        for name, value in result.options.items()
        if value not in (None, "", [], {})
    )
    return [*lines, *([f'<div class="wide"><dt>Options</dt><dd>{options}</dd></div>'] if options else [])]


def _figure(picture: DryPicture) -> str:
    new, old = _captions(picture)
    small = thumbnail(picture.path, SIDE_PX)
    shown = f'<img alt="" src="{small}">' if small else "<span>can’t be read</span>"
    mat = f'<div class="mat{"" if small else " none"}">{shown}</div>'
    return f'<figure>{mat}<figcaption>{new}{old}<p class="name">{escape(picture.file_name)}</p></figcaption></figure>'


def _captions(picture: DryPicture) -> tuple[str, str]:
    """The caption made and the one there is, with what differs marked where they are alike."""
    if picture.text is None:
        new = f'<p class="text failed">no caption: {escape(picture.reason or "")}</p>'
        return new, f'<p class="now">{escape(picture.current)}</p>' if picture.current else ""
    new, old = escape(picture.text), escape(picture.current or "")
    if picture.current and picture.current != picture.text:
        words = word_operations(picture.current, picture.text)
        kept = sum(len(word.text) for word in words if word.op == "equal")
        if kept >= ALIKE * max(len(picture.current), len(picture.text)):
            new = "".join(_marked(word.text, word.op, "insert", "mark") for word in words)
            old = "".join(_marked(word.text, word.op, "delete", "del") for word in words)
    shown = f'<p class="text">{new or "(empty)"}</p>'
    if picture.current is None:
        return shown, ""
    if picture.current == picture.text:
        return shown, '<p class="now same">as it is now</p>'
    return shown, f'<p class="now">{old or "(empty)"}</p>'


def _marked(text: str, op: str, wanted: str, tag: str) -> str:
    """A piece of one side: plain where equal, in its tag where it is this side's own, nothing where the other's."""
    if op == "equal":
        return escape(text)
    if op != wanted:
        return ""
    words = text.strip()
    before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :] if words else ""
    return f"{before}<{tag}>{escape(words)}</{tag}>{after}" if words else text


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
