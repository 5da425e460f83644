"""A group's charts, score card and cost bars."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from schemas.comparison import ComparedRun, EpochMeasures, Estimate, Group
from trainer_client.compare.measures import total_seconds
from trainer_client.compare.page.charts import Panel, Series, chart, y_range

Value = Callable[[EpochMeasures], Estimate | None]
HELD_OUT = (
    "One chart for each track of captions of the held-out images; every run is measured under all of them. "
    "Lower is better. A line is heavier under the run's own captions."
)
RELIANCE = (
    "How much the loss rises if held-out images get each other's captions. At zero the words don't matter; "
    "higher means the model follows them more."
)
OTHERS = (
    "Leakage: how far samples of unrelated prompts moved from the base's. Train subset: the change in loss on "
    "training images. Gap: how much further it fell there than on held-out images."
)


@dataclass(frozen=True)
class Figure:
    """Charts of one measure, and the same as a table: label, epoch, a value per column."""

    title: str
    note: str
    panels: list[tuple[str, Markup]]
    columns: list[str]
    rows: list[tuple[str, int, list[Estimate | None]]]


@dataclass(frozen=True)
class Bar:
    """A run's seconds by part: (part, seconds, percent of the longest run's total)."""

    run: ComparedRun
    parts: list[tuple[str, float, float]]
    total: float
    each_epoch: float | None


def keys(groups: list[Group]) -> dict[str, int]:
    """Return a colour and marker number for every run label, the same in all groups."""
    labels = dict.fromkeys(run.label for group in groups for run in group.runs)
    return {label: number for number, label in enumerate(labels)}


def figures(group: Group, key: dict[str, int]) -> list[Figure]:
    """Return every figure with a value."""
    charts = _Charts(group, key)
    held_out = charts.tracks(lambda point: point.held_out_change)
    relying = charts.tracks(lambda point: point.reliance)
    found = [
        charts.by_track("Held-out loss, change from the base", HELD_OUT, held_out, lambda point: point.held_out_change),
        charts.by_track("Reliance on captions", RELIANCE, relying, lambda point: point.reliance),
        charts.others("Leakage and memorising", OTHERS),
    ]
    return [figure for figure in found if figure.panels]


def bars(group: Group) -> list[Bar]:
    longest = max((total_seconds(run.cost) for run in group.runs), default=0.0) or 1.0
    return [_bar(run, longest) for run in group.runs]


def at(run: ComparedRun, epoch: int | None) -> EpochMeasures | None:
    """Return a run's measures at an epoch."""
    return next((point for point in run.epochs if point.epoch == epoch), None)


class _Charts:
    """The charts of one group."""

    def __init__(self, group: Group, key: dict[str, int]) -> None:
        self.group, self.key = group, key
        self.epochs = sorted({point.epoch for run in group.runs for point in run.epochs})

    def tracks(self, of: Callable[[EpochMeasures], dict[str, Estimate]]) -> list[str]:
        """Return the tracks of a measure, in the snapshot's order."""
        found = {track for run in self.group.runs for point in run.epochs for track in of(point)}
        names = list(self.group.tracks)
        return sorted(found, key=lambda track: (names.index(track) if track in names else len(names), track))

    def by_track(
        self, title: str, note: str, tracks: list[str], of: Callable[[EpochMeasures], dict[str, Estimate]]
    ) -> Figure:
        """Return a panel per track, all on one scale."""
        values = [_under(track, of) for track in tracks]
        names = [f"under {track} captions" for track in tracks]
        own = {run.own_track: self.key[run.label] for run in self.group.runs if run.own_track}
        panels = [
            Panel(f"{title}, {name}", self._series(value), own.get(track))
            for track, name, value in zip(tracks, names, values, strict=True)
        ]
        limits = y_range(panels)
        drawn = [(name, chart(panel, limits, self.epochs)) for name, panel in zip(names, panels, strict=True)]
        return Figure(title, note, drawn, [f"under {track}" for track in tracks], self._rows(values))

    def others(self, title: str, note: str) -> Figure:
        """Return the measures without a track, each on its own scale."""
        kinds: list[tuple[str, Value]] = [
            ("leakage", lambda point: point.leakage),
            ("train subset, change from the base", lambda point: point.train_subset_change),
            ("gap", lambda point: point.gap),
        ]
        panels = [(name, Panel(name.capitalize(), self._series(value)), value) for name, value in kinds]
        shown = [(name, panel, value) for name, panel, value in panels if not panel.empty]
        drawn = [(name, chart(panel, y_range([panel]), self.epochs)) for name, panel, _ in shown]
        return Figure(title, note, drawn, [name for name, _, _ in shown], self._rows([value for _, _, value in shown]))

    def _series(self, value: Value) -> list[Series]:
        lines = []
        for run in self.group.runs:
            points = {point.epoch: found for point in run.epochs if (found := value(point)) is not None}
            lines.append(Series(run.label, self.key[run.label], points))
        return lines

    def _rows(self, values: list[Value]) -> list[tuple[str, int, list[Estimate | None]]]:
        return [
            (run.label, point.epoch, [value(point) for value in values])
            for run in self.group.runs
            for point in run.epochs
        ]


def _under(track: str, of: Callable[[EpochMeasures], dict[str, Estimate]]) -> Value:
    return lambda point: of(point).get(track)


def _bar(run: ComparedRun, longest: float) -> Bar:
    cost = run.cost
    seconds = {
        "preparing": cost.preparing_seconds,
        "training": cost.training_seconds,
        "sampling": cost.sampling_seconds,
        "evaluating": cost.evaluating_seconds,
    }
    parts = [(what, value, 100 * value / longest) for what, value in seconds.items()]
    each = cost.training_seconds / run.epochs_trained if run.epochs_trained else None
    return Bar(run, parts, total_seconds(run.cost), each)
