"""Lines over epochs, placed for a small SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 520, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 508, 12, 200


@dataclass(frozen=True)
class Line:
    """A run's line: its colour, `x,y x,y ...`, its points with what they say."""

    name: str
    colour: int
    points: str
    dots: list[tuple[float, float, str]]


@dataclass(frozen=True)
class Chart:
    """Lines with the labels of both axes, in the SVG's own units."""

    lines: list[Line]
    across: list[tuple[float, int]]
    up: list[tuple[float, str]]


def chart(series: Mapping[str, Sequence[tuple[int, float]]]) -> Chart | None:
    """Places (epoch, loss) of each run; None where no run has any."""
    all_points = [point for points in series.values() for point in points]
    if not all_points:
        return None
    epochs = sorted({epoch for epoch, _ in all_points})
    losses = [loss for _, loss in all_points]
    low, high = min(losses), max(losses)
    room = (high - low) * 0.08 or 0.01
    low, high = low - room, high + room

    def x(epoch: int) -> float:
        return round(LEFT + (epoch - epochs[0]) / max(1, epochs[-1] - epochs[0]) * (RIGHT - LEFT), 1)

    def y(loss: float) -> float:
        return round(BOTTOM - (loss - low) / (high - low) * (BOTTOM - TOP), 1)

    lines = []
    for colour, (name, points) in enumerate(series.items()):
        dots = [(x(epoch), y(loss), f"{name}, epoch {epoch}: {loss:.4f}") for epoch, loss in points]
        joined = " ".join(f"{left},{top}" for left, top, _ in dots)
        lines.append(Line(name, colour % 6, joined, dots))
    step = max(1, -(-len(epochs) // 8))
    steps = [low + room, (low + high) / 2, high - room]
    return Chart(lines, [(x(epoch), epoch) for epoch in epochs[::step]], [(y(loss), f"{loss:.3f}") for loss in steps])
