"""Render a comparison as one HTML file with styles, script and images embedded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from schemas.comparison import Comparison, Group
from schemas.edge.palette import COMPARISON, stylesheet
from schemas.edge.words import day, duration, interval, listed, loss, money, plural, signed
from schemas.progress import Progress, silent
from trainer_client.compare.page.charts import mark
from trainer_client.compare.page.figures import at, bars, figures, keys
from trainer_client.compare.page.images import Pictures, collect, role_words
from trainer_client.compare.page.sprites import Sheets
from trainer_client.compare.runs import Run

HERE = Path(__file__).parent
SECTIONS = (
    ("pictures", "Pictures"),
    ("film", "Film"),
    ("measures", "Measures"),
    ("cost", "Cost"),
    ("captions", "Captions"),
    ("settings", "Settings and provenance"),
)


def page(comparison: Comparison, runs: list[list[Run]], progress: Progress = silent) -> str:
    """Return the page. `runs` are the runs of each group, in the comparison's order."""
    sheets = Sheets()
    pictures = [collect(group, own, sheets) for group, own in zip(comparison.groups, runs, strict=True)]
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= _functions()
    environment.globals["sign"] = _sign
    key = keys(comparison.groups)
    return environment.get_template("template.html").render(
        comparison=comparison,
        groups=[_view(number, group, pictures[number], key) for number, group in enumerate(comparison.groups)],
        key=key,
        sections=SECTIONS,
        style=Markup(stylesheet(COMPARISON, HERE / "style.css")),
        sheets=Markup(sheets.style(progress=progress)),
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
        data=_json([each.for_script() for each in pictures]),
    )


def _view(number: int, group: Group, pictures: Pictures, key: dict[str, int]) -> dict[str, Any]:
    return {
        "id": f"g{number}",
        "number": number,
        "group": group,
        "pictures": pictures,
        "figures": figures(group, key),
        "bars": bars(group),
        "settings": [(name, _setting(value)) for name, value in group.settings.items()],
        "differing": _differing(group),
        "priced": any(run.cost.price_per_hour is not None for run in group.runs),
    }


def _differing(group: Group) -> list[tuple[str, list[str]]]:
    """Return each differing setting with every run's value."""
    names = sorted({name for run in group.runs for name in run.differs})
    return [(name, [_setting(run.differs.get(name)) for run in group.runs]) for name in names]


def _setting(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def _functions() -> dict[str, Any]:
    names = (at, day, duration, interval, listed, loss, money, plural, role_words, signed)
    return {function.__name__: function for function in names}


def _sign(key: int) -> Markup:
    """Return a run's marker for legends and headings."""
    return Markup(f'<svg class="sign k{key}" viewBox="0 0 12 12" aria-hidden="true">{mark(key, 6, 6, 4)}</svg>')


def _json(data: Any) -> Markup:
    """Return JSON escaped for a script element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
