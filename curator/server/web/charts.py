"""Layout of line charts over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 520, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 508, 12, 200


@dataclass(frozen=True)
class Line:
    """Colour number, SVG `points`, dots with labels."""

    name: str
    colour: int
    points: str
    dots: list[tuple[float, float, str]]


@dataclass(frozen=True)
class Chart:
    """Lines and axis labels, in SVG units."""

    lines: list[Line]
    across: list[tuple[float, int]]
    up: list[tuple[float, str]]


def chart(series: Mapping[str, Sequence[tuple[int, float]]]) -> Chart | None:
    """Lay out (epoch, loss) points; None if there are none."""
    all_points = [point for points in series.values() for point in points]
    if not all_points:
        return None
    epochs = sorted({epoch for epoch, _ in all_points})
    losses = [loss for _, loss in all_points]
    low, high = min(losses), max(losses)
    margin = (high - low) * 0.08 or 0.01
    low, high = low - margin, high + margin

    def x(epoch: int) -> float:
        return round(LEFT + (epoch - epochs[0]) / max(1, epochs[-1] - epochs[0]) * (RIGHT - LEFT), 1)

    def y(loss: float) -> float:
        return round(BOTTOM - (loss - low) / (high - low) * (BOTTOM - TOP), 1)

    lines = []
    for colour, (name, points) in enumerate(series.items()):
        dots = [(x(epoch), y(loss), f"{name}, epoch {epoch}: {loss:.4f}") for epoch, loss in points]
        lines.append(Line(name, colour % 6, " ".join(f"{left},{top}" for left, top, _ in dots), dots))
    step = max(1, -(-len(epochs) // 8))
    ticks = [low + margin, (low + high) / 2, high - margin]
    return Chart(lines, [(x(epoch), epoch) for epoch in epochs[::step]], [(y(loss), f"{loss:.3f}") for loss in ticks])
