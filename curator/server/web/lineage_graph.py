"""Layout of the lineage graph: images, versions, snapshots, runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from curator.runs import RunLine
from curator.snapshot.recorded import SnapshotLine

BOX_WIDTH, BOX_HEIGHT = 220, 50
COLUMN, ROW, TOP = 290, 64, 40
HEADS = ("Images", "Captions", "Snapshots", "Runs")


@dataclass(frozen=True)
class Box:
    x: int
    y: float
    name: str
    about: str
    href: str


@dataclass(frozen=True)
class LineageGraph:
    """Boxes and curves, in SVG units."""

    width: int
    height: int
    heads: list[tuple[int, str]]
    boxes: list[Box]
    curves: list[str]


def lineage_graph(snapshots: Sequence[SnapshotLine], runs: Sequence[RunLine]) -> LineageGraph:
    datasets = list(dict.fromkeys(one.dataset for one in snapshots))
    versions = list(dict.fromkeys(track.version for one in snapshots for track in one.tracks))
    identities = {one.identity for one in snapshots}
    runs = [one for one in runs if one.snapshot_identity in identities]
    columns: list[list[tuple[str, str, str, str]]] = [
        [(name, name, "images", f"/datasets/{quote(name, safe='')}") for name in datasets],
        [(name, *_halves(name), f"/sets/{quote(name.partition('@')[0])}") for name in versions],
        [(one.identity, one.identity[:12], _sizes(one), f"/snapshots/{one.identity}") for one in snapshots],
        [(one.run_key, one.name, f"{one.captions}, {one.epochs} epochs", f"/runs/{one.run_key}") for one in runs],
    ]
    rows = max(len(column) for column in columns)
    boxes: dict[str, Box] = {}
    for index, column in enumerate(columns):
        start = TOP + (rows - len(column)) * ROW / 2
        for row, (key, name, about, href) in enumerate(column):
            boxes[f"{index} {key}"] = Box(index * COLUMN + 1, start + row * ROW, _short(name), _short(about), href)
    edges = [(f"0 {name.partition('/')[0]}", f"1 {name}") for name in versions]
    edges += [(f"1 {track.version}", f"2 {one.identity}") for one in snapshots for track in one.tracks]
    edges += [(f"2 {one.snapshot_identity}", f"3 {one.run_key}") for one in runs]
    curves = [_curve(boxes[left], boxes[right]) for left, right in edges if left in boxes and right in boxes]
    width = 3 * COLUMN + BOX_WIDTH + 2
    heads = [(index * COLUMN, head) for index, head in enumerate(HEADS)]
    return LineageGraph(width, TOP + rows * ROW, heads, list(boxes.values()), curves)


def _curve(left: Box, right: Box) -> str:
    start, end = left.x + BOX_WIDTH, right.x
    from_y, to_y, middle = left.y + BOX_HEIGHT / 2, right.y + BOX_HEIGHT / 2, (start + end) / 2
    return f"M{start} {from_y}C{middle} {from_y} {middle} {to_y} {end} {to_y}"


def _halves(version: str) -> tuple[str, str]:
    dataset, _, set_version = version.partition("/")
    return set_version, dataset


def _sizes(snapshot: SnapshotLine) -> str:
    return f"{snapshot.train:,} train, {snapshot.held_out:,} held out"


def _short(text: str) -> str:
    return text if len(text) <= 28 else f"{text[:27]}…"
