"""Render a dry run as one self-contained HTML file: images with new and current captions, settings, estimate."""

from __future__ import annotations

from html import escape
from pathlib import Path
from string import Template
from typing import Any

from curator.caption.dry_run_result import DryRunImage, DryRunResult
from curator.caption_sets.diff import word_operations
from curator.captioners import model_at
from curator.images.html_page import thumbnail
from schemas.edge.palette import stylesheet
from schemas.edge.words import duration, money, plural

GENERATOR = '<meta name="generator" content="curator caption --dry-run">'
TEMPLATE = Path(__file__).with_name("contact_sheet.html")
SIDE_PX = 560
MIN_SHARED = 0.4  # share of equal characters, below which differences are not marked


def page(result: DryRunResult) -> str:
    named = f"{result.dataset}/{result.set_name}"
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        generator=GENERATOR,
        palette=stylesheet(),
        title=escape(f"Dry run: {result.strategy} for {named}"),
        heading=escape(f"{result.strategy} on {plural(len(result.pictures), 'image')} of {result.dataset}"),
        standfirst=escape(_standfirst(result, named)),
        facts="\n".join(_facts(result)),
        warnings="\n".join(f'<p class="warning">{escape(text)}</p>' for text in result.warnings),
        pictures="\n".join(_figure(picture) for picture in result.pictures),
        footer=escape(f"Made by curator caption --dry-run, {result.made_at[:16].replace('T', ' ')} UTC."),
    )


def estimate(result: DryRunResult) -> str:
    if not result.to_caption:
        return ""
    time = f"about {duration(result.estimated_seconds)}" if result.estimated_seconds else "less than a second"
    return time + (f" and {money(result.estimated_cost_usd, '$')}" if result.estimated_cost_usd else "")


def why_nothing(result: DryRunResult) -> str:
    if not result.images:
        return f"{result.dataset} has no images"
    if result.not_chosen == result.images:
        return "--where selects no image"
    return f"{result.dataset}/{result.set_name} is up to date"


def _standfirst(result: DryRunResult, named: str) -> str:
    if not result.to_caption:
        return f"Nothing is stored. A run would caption nothing: {why_nothing(result)}."
    images = plural(result.to_caption, "image")
    return f"Nothing is stored. The same command without --dry-run captions {images} into {named}: {estimate(result)}."


def _facts(result: DryRunResult) -> list[str]:
    facts = {"Strategy": f"{result.strategy}, version {result.strategy_version}"}
    if result.model:
        facts["Model"] = model_at(result.model, result.model_revision)
    if result.effort.seconds:
        facts["Per image"] = duration(result.seconds_each)
        facts["Loading"] = duration(result.effort.loading_seconds)
    if result.effort.input_tokens or result.effort.output_tokens:
        facts["Tokens in, out"] = f"{result.effort.input_tokens:,}, {result.effort.output_tokens:,}"
    if result.cost_usd_each:
        facts["Cost of these"] = money(result.effort.cost_usd, "$")
    for reason, count in result.made_otherwise.items():
        facts[f"Captioned with {reason.partition(' (')[0]}"] = plural(count, "image")
    lines = [f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items()]
    options = "".join(
        f"<code><b>{escape(name)}=</b>{escape(_value(value))}</code> "
        for name, value in result.options.items()
        if value not in (None, "", [], {})
    )
    return [*lines, *([f'<div class="wide"><dt>Options</dt><dd>{options}</dd></div>'] if options else [])]


def _figure(picture: DryRunImage) -> str:
    new, old = _captions(picture)
    small = thumbnail(picture.path, SIDE_PX)
    shown = f'<img alt="" src="{small}">' if small else "<span>can’t be read</span>"
    mat = f'<div class="mat{"" if small else " none"}">{shown}</div>'
    return f'<figure>{mat}<figcaption>{new}{old}<p class="name">{escape(picture.file_name)}</p></figcaption></figure>'


def _captions(picture: DryRunImage) -> tuple[str, str]:
    if picture.text is None:
        new = f'<p class="text failed">no caption: {escape(picture.reason or "")}</p>'
        return new, f'<p class="now">{escape(picture.current)}</p>' if picture.current else ""
    new, old = escape(picture.text), escape(picture.current or "")
    if picture.current and picture.current != picture.text:
        words = word_operations(picture.current, picture.text)
        equal = sum(len(word.text) for word in words if word.op == "equal")
        if equal >= MIN_SHARED * max(len(picture.current), len(picture.text)):
            new = "".join(_marked(word.text, word.op, "insert", "mark") for word in words)
            old = "".join(_marked(word.text, word.op, "delete", "del") for word in words)
    text = f'<p class="text">{new or "(empty)"}</p>'
    if picture.current is None:
        return text, ""
    if picture.current == picture.text:
        return text, '<p class="now same">same as now</p>'
    return text, f'<p class="now">{old or "(empty)"}</p>'


def _marked(text: str, op: str, marked_op: str, tag: str) -> str:
    if op == "equal":
        return escape(text)
    if op != marked_op:
        return ""
    words = text.strip()
    before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :] if words else ""
    return f"{before}<{tag}>{escape(words)}</{tag}>{after}" if words else text


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
