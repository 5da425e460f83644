"""Render a comparison of caption sets as one self-contained HTML file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from curator.compare.result import CompareResult, Differing, Measure
from curator.images.html_page import thumbnail
from schemas.document import write_atomically
from schemas.edge.palette import COMPARISON, stylesheet
from schemas.edge.words import number, percent
from schemas.progress import Progress, silent

HERE = Path(__file__).parent
THUMBNAIL_PX = 256
SHOWN = 6  # images shown at once; the others unfold
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
SIGNS = (
    '<circle cx="6" cy="6" r="4.6"/>',
    '<rect x="2" y="2" width="8" height="8"/>',
    '<path d="M6 1.2 11 10.4H1z"/>',
    '<path d="M6 .6 11.4 6 6 11.4.6 6z"/>',
    '<circle class="open" cx="6" cy="6" r="4"/>',
    '<rect x="1" y="4.4" width="10" height="3.2"/>',
)


@dataclass(frozen=True)
class Card:
    differing: Differing
    picture: str | None
    captions: dict[str, list[tuple[str, bool]]]


def write(result: CompareResult, page: Path, progress: Progress = silent) -> None:
    write_atomically(page, render(result, progress).encode())


def render(result: CompareResult, progress: Progress = silent) -> str:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"percent": percent, "spread": spread, "sign": _sign, "number": number}
    labels = [each.label for each in result.sets]
    fields = list(dict.fromkeys(field for each in result.sets for field in each.fields))
    mentioned = [field for field in fields if any(each.fields[field].mentioned for each in result.sets)]
    mentioned.sort(key=lambda field: -max(each.fields[field].share for each in result.sets))
    clip = [each.clip.score for each in result.sets if each.clip]
    return environment.get_template("template.html").render(
        result=result,
        key={name: index % len(SIGNS) for index, name in enumerate(labels)},
        cards=_cards(result.differing, progress),
        shown=SHOWN,
        pairs=sorted(result.pairs, key=lambda pair: -pair.token_f1.mean),
        mentioned=mentioned,
        unmentioned=[field for field in fields if field not in mentioned],
        clip_range=(min(score.low for score in clip), max(score.high for score in clip)) if clip else None,
        style=Markup(stylesheet(COMPARISON, HERE / "style.css")),
    )


def spread(measure: Measure, low: float = 0.0, high: float = 1.0) -> Markup:
    """Return an SVG of a measure on a scale from `low` to `high`: 10th to 90th percentile as a bar, mean as a tick."""
    scale = 100 / (high - low) if high > low else 0.0
    left, right, mean = ((value - low) * scale for value in (measure.low, measure.high, measure.mean))
    width = max(right - left, 1)
    return Markup(
        f'<svg class="spread" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="ground" y="3" width="100" height="2"/>'
        f'<rect class="band" x="{left:.1f}" y="1" width="{width:.1f}" height="6"/>'
        f'<rect class="tick" x="{min(mean, 99):.1f}" width="1" height="8"/></svg>'
    )


def _cards(differing: Sequence[Differing], progress: Progress) -> list[Card]:
    cards = []
    for done, each in enumerate(differing):
        progress("rendering the page", done, len(differing))
        picture = thumbnail(each.path, THUMBNAIL_PX) if each.path else None
        cards.append(Card(each, picture, marked(each.captions)))
    progress("rendering the page", len(differing), len(differing))
    return cards


def marked(captions: dict[str, str]) -> dict[str, list[tuple[str, bool]]]:
    """Split each caption into pieces, marking words that another caption has too."""
    words = {name: {word.lower() for word in WORD.findall(text)} for name, text in captions.items()}
    pieces = {}
    for name, text in captions.items():
        other_words = set().union(*(words[other] for other in words if other != name))
        split = re.split(f"({WORD.pattern})", text)
        pieces[name] = [(piece, piece.lower() in other_words) for piece in split if piece]
    return pieces


def _sign(key: int) -> Markup:
    return Markup(f'<svg class="sign k{key}" viewBox="0 0 12 12" aria-hidden="true">{SIGNS[key]}</svg>')
