"""Line charts as inline SVG: a measure by epoch, a line and an interval band per run.

The epoch axis is square-root scaled: checkpoints are dense at the start (1, 2, 5) and sparse later (60, 70, 100).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from schemas.comparison import Estimate
from schemas.edge.words import MINUS, signed

WIDTH, HEIGHT = 360, 232
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 34
NOTHING = 0.01  # half the scale if every value is zero
LEAST_TICK_GAP = 15  # SVG units between two epoch labels
SHAPES = ("circle", "square", "triangle", "diamond", "ring", "bar")


@dataclass(frozen=True)
class Series:
    """One run's line: colour and marker by `key`, estimates by epoch."""

    label: str
    key: int
    points: dict[int, Estimate]


@dataclass(frozen=True)
class Panel:
    """One chart: title and lines."""

    title: str
    series: list[Series]
    marked: int | None = None  # key of the run whose own track this is: the bold line

    @property
    def empty(self) -> bool:
        return not any(line.points for line in self.series)


def y_range(panels: Sequence[Panel]) -> tuple[float, float]:
    """Return a common scale: every mean and interval, and zero."""
    ends = [
        end
        for panel in panels
        for line in panel.series
        for p in line.points.values()
        for end in (p.low, p.high, p.mean)
    ]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    if low == high:
        return -NOTHING, NOTHING
    pad = 0.06 * (high - low)
    return low - (pad if low < 0 else 0), high + (pad if high > 0 else 0)


def chart(panel: Panel, limits: tuple[float, float], epochs: Sequence[int]) -> Markup:
    """Return the SVG of one panel."""
    scale = _Scale(limits, max(epochs, default=1) or 1)
    parts = [*_y_axis(scale), *_x_axis(scale, epochs)]
    parts += [_band(line, scale) for line in panel.series]
    parts += [_line(line, scale, strong=line.key == panel.marked) for line in panel.series]
    label = escape(f"{panel.title}. {_said(panel)}")
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    )


@dataclass(frozen=True)
class _Scale:
    limits: tuple[float, float]
    last_epoch: int

    def x(self, epoch: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.sqrt(epoch / self.last_epoch)

    def y(self, value: float) -> float:
        low, high = self.limits
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)


def _y_axis(scale: _Scale) -> list[str]:
    parts = []
    for tick in ticks(*scale.limits):
        y = scale.y(tick)
        kind = "zero" if tick == 0 else "rule"
        parts.append(f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{y + 3.5:.1f}" text-anchor="end">{_number(tick)}</text>')
    return parts


def _x_axis(scale: _Scale, epochs: Sequence[int]) -> list[str]:
    parts, y = [], HEIGHT - BOTTOM
    labelled = scale.x(scale.last_epoch) + LEAST_TICK_GAP
    for epoch in sorted(epochs, reverse=True):
        x = scale.x(epoch)
        parts.append(f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + 4}"/>')
        if labelled - x >= LEAST_TICK_GAP:
            parts.append(f'<text x="{x:.1f}" y="{y + 16}" text-anchor="middle">{epoch}</text>')
            labelled = x
    parts.append(f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 3}" text-anchor="end">epoch</text>')
    return parts


def _band(line: Series, scale: _Scale) -> str:
    epochs = sorted(line.points)
    if len(epochs) < 2:
        return ""
    upper = [f"{scale.x(e):.1f},{scale.y(line.points[e].high):.1f}" for e in epochs]
    lower = [f"{scale.x(e):.1f},{scale.y(line.points[e].low):.1f}" for e in reversed(epochs)]
    return f'<polygon class="band k{line.key}" points="{" ".join(upper + lower)}"/>'


def _line(line: Series, scale: _Scale, strong: bool) -> str:
    epochs = sorted(line.points)
    places = [(scale.x(epoch), scale.y(line.points[epoch].mean)) for epoch in epochs]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    weight = " strong" if strong else ""
    dots = "".join(_dot(line, epoch, x, y) for epoch, (x, y) in zip(epochs, places, strict=True))
    return f'<g class="line k{line.key}{weight}"><polyline points="{path}"/>{dots}</g>'


def _dot(line: Series, epoch: int, x: float, y: float) -> str:
    said = f"{escape(line.label)}, epoch {epoch}: {signed(line.points[epoch].mean)}"
    return f"<g><title>{said}</title>{mark(line.key, x, y)}</g>"


def mark(key: int, x: float, y: float, size: float = 3.2) -> str:
    """Return a run's marker, which identifies it without colour."""
    shape = SHAPES[key % len(SHAPES)]
    if shape in ("circle", "ring"):
        kind = ' class="open"' if shape == "ring" else ""
        return f'<circle{kind} cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>'
    corners = {
        "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        "triangle": ((0, -1.25), (1.2, 0.95), (-1.2, 0.95)),
        "diamond": ((0, -1.4), (1.3, 0), (0, 1.4), (-1.3, 0)),
        "bar": ((-1.2, -0.45), (1.2, -0.45), (1.2, 0.45), (-1.2, 0.45)),
    }[shape]
    points = " ".join(f"{x + dx * size * 0.95:.1f},{y + dy * size * 0.95:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}"/>'


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return values 1, 2 or 5 times a power of ten apart within the limits, including zero."""
    raw = (high - low) / wanted
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _number(value: float) -> str:
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return text.replace("-", MINUS)


def _said(panel: Panel) -> str:
    ends = []
    for line in panel.series:
        if line.points:
            last = max(line.points)
            ends.append(f"{line.label} {signed(line.points[last].mean)} at epoch {last}")
    return "; ".join(ends) or "Not measured"
