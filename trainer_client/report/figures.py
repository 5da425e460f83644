"""A group's charts, score card and bars: what the template draws besides pictures."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from schemas.comparison import ComparedRun, EpochMeasures, Estimate, Group
from trainer_client.report.charts import Panel, Series, draw, y_range


@dataclass(frozen=True)
class Figure:
    """Some charts of one measure on one scale, and the same figures as a table."""

    title: str
    note: str
    panels: list[tuple[str, Markup]]
    columns: list[str]
    rows: list[tuple[str, int, int, list[Estimate | None]]]  # label, key, epoch, a value a column


@dataclass(frozen=True)
class Bar:
    """A run's seconds by what they went to, as shares of the longest run's."""

    run: ComparedRun
    key: int
    parts: list[tuple[str, float, float]]  # what, seconds, percent of the longest
    total: float
    each_epoch: float | None


def keys(groups: list[Group]) -> dict[str, int]:
    """A colour and sign for every run's label, the same in all groups."""
    labels = dict.fromkeys(run.label for group in groups for run in group.runs)
    return {label: number for number, label in enumerate(labels)}


def figures(group: Group, key: dict[str, int]) -> list[Figure]:
    """Every chart that has a value to show."""
    epochs = sorted({point.epoch for run in group.runs for point in run.epochs})
    held_out = sorted({track for run in group.runs for p in run.epochs for track in p.held_out_change}, key=_order(group))
    relying = sorted({track for run in group.runs for p in run.epochs for track in p.reliance}, key=_order(group))
    found = [
        _by_track(
            group,
            key,
            epochs,
            "Held-out loss, change from the base",
            "One chart for each set of captions the held-out pictures are read with; every run is measured under all of "
            "them. Lower is better. A run is heavier under its own captions.",
            held_out,
            lambda point, track: point.held_out_change.get(track),
        ),
        _by_track(
            group,
            key,
            epochs,
            "Reliance on captions",
            "How much the loss rises when held-out pictures are given each other's captions. At zero the words don't "
            "matter; higher means the model follows them more.",
            relying,
            lambda point, track: point.reliance.get(track),
        ),
        _single(
            group,
            key,
            epochs,
            "Leakage, memorising",
            "Leakage: how far pictures of unrelated prompts moved from the base's. Train subset: the change in loss on "
            "pictures trained on. Gap: how much further it fell there than on held-out pictures.",
        ),
    ]
    return [figure for figure in found if figure.panels]


def bars(group: Group, key: dict[str, int]) -> list[Bar]:
    """Seconds of every run."""
    found = []
    longest = max((_total(run) for run in group.runs), default=0.0) or 1.0
    for run in group.runs:
        cost = run.cost
        seconds = [
            ("preparing", cost.preparing_seconds),
            ("training", cost.training_seconds),
            ("sampling", cost.sampling_seconds),
            ("evaluating", cost.evaluating_seconds),
        ]
        parts = [(what, value, 100 * value / longest) for what, value in seconds]
        each = cost.training_seconds / run.epochs_trained if run.epochs_trained else None
        found.append(Bar(run, key[run.label], parts, _total(run), each))
    return found


def at(run: ComparedRun, epoch: int | None) -> EpochMeasures | None:
    """A run's measures at an epoch, else its last."""
    return next((point for point in run.epochs if point.epoch == epoch), run.epochs[-1] if run.epochs else None)


def _order(group: Group):  # type: ignore[no-untyped-def]
    names = list(group.tracks)
    return lambda track: (names.index(track) if track in names else len(names), track)


def _by_track(group, key, epochs, title, note, tracks, value):  # type: ignore[no-untyped-def]
    own = {run.own_track: key[run.label] for run in group.runs if run.own_track}
    panels = [Panel(f"{title}, under {track} captions", _series(group, key, lambda p, t=track: value(p, t)), own.get(track)) for track in tracks]
    limits = y_range(panels)
    rows = [
        (run.label, key[run.label], point.epoch, [value(point, track) for track in tracks])
        for run in group.runs
        for point in run.epochs
    ]
    drawn = [(f"under {track} captions", draw(panel, limits, epochs)) for track, panel in zip(tracks, panels, strict=True)]
    return Figure(title, note, drawn, [f"under {track}" for track in tracks], rows)


def _single(group, key, epochs, title, note):  # type: ignore[no-untyped-def]
    kinds = [
        ("leakage", lambda point: point.leakage),
        ("train subset, change from the base", lambda point: point.train_subset_change),
        ("gap", lambda point: point.gap),
    ]
    panels = [(name, Panel(name.capitalize(), _series(group, key, value)), value) for name, value in kinds]
    shown = [(name, panel, value) for name, panel, value in panels if not panel.empty]
    drawn = [(name, draw(panel, y_range([panel]), epochs)) for name, panel, _ in shown]
    rows = [
        (run.label, key[run.label], point.epoch, [value(point) for _, _, value in shown])
        for run in group.runs
        for point in run.epochs
    ]
    return Figure(title, note, drawn, [name for name, _, _ in shown], rows)


def _series(group, key, value):  # type: ignore[no-untyped-def]
    found = []
    for run in group.runs:
        points = {point.epoch: value(point) for point in run.epochs}
        found.append(Series(run.label, key[run.label], {e: v for e, v in points.items() if v is not None}))
    return found


def _total(run: ComparedRun) -> float:
    cost = run.cost
    return cost.preparing_seconds + cost.training_seconds + cost.sampling_seconds + cost.evaluating_seconds
