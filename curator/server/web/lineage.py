"""Snapshots and runs: from images to models as a picture, and the runs of a snapshot side by side."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from curator.catalog import Catalog
from curator.runs import RunResult, run, runs
from curator.server.access import OpenCatalog, Sha256, needs
from curator.server.api.runs import pictures_folder
from curator.server.web.charts import chart
from curator.server.web.grids import drawn
from curator.server.web.lineage_graph import lineage_graph
from curator.server.web.render import render
from curator.server.web.selections import names_of
from curator.snapshot.recorded import snapshot_line, snapshots

router = APIRouter(dependencies=[Depends(needs("read"))])


@router.get("/snapshots")
def every_snapshot(request: Request, catalog: OpenCatalog) -> Response:
    """Which run came from which captions."""
    made, trained = snapshots(catalog).snapshots, runs(catalog).runs
    picture = lineage_graph(made, trained) if made else None
    return render(request, "snapshots.html", snapshots=made, runs=trained, picture=picture)


@router.get("/snapshots/{identity}")
def one_snapshot(request: Request, catalog: OpenCatalog, identity: Sha256) -> Response:
    """A snapshot, and its runs' pictures side by side."""
    line = snapshot_line(catalog, identity)
    found = [run(catalog, one.run_key, pictures_folder(request)) for one in runs(catalog, identity).runs]
    title = f"{line.dataset}, snapshot {identity[:12]}"
    return render(request, "runs.html", title=title, snapshot=line, **_side_by_side(catalog, found[::-1]))


@router.get("/runs/{key}")
def one_run(request: Request, catalog: OpenCatalog, key: Sha256) -> Response:
    found = run(catalog, key, pictures_folder(request))
    identity = found.report.snapshot.identity
    line = next((one for one in snapshots(catalog).snapshots if one.identity == identity), None)
    return render(request, "runs.html", title=found.report.name, snapshot=line, **_side_by_side(catalog, [found]))


def _side_by_side(catalog: Catalog, found: list[RunResult]) -> dict[str, Any]:
    """What the page of some runs shows: what they drew at every epoch, their losses."""
    names = _names(found)
    held_out = [_held_out(one) for one in found]
    training = {
        name: [(epoch.epoch, epoch.train_loss) for epoch in one.report.epochs]
        for name, one in zip(names, found, strict=True)
    }
    return {
        "runs": found,
        "drawn": drawn(found, names, [dict(points) for points in held_out]),
        "real": _real(catalog, found),
        "held_out": chart(dict(zip(names, held_out, strict=True))),
        "training": chart(training),
    }


def _real(catalog: Catalog, found: list[RunResult]) -> set[str]:
    """The images that prompts are captions of, as far as they are in this catalog."""
    named: dict[str, list[str]] = {}
    for one in found:
        own = [prompt.image_sha256 for prompt in one.report.prompts if prompt.image_sha256]
        named.setdefault(one.report.snapshot.dataset, []).extend(own)
    frames = [(dataset, images) for dataset, images in named.items() if images]
    return {sha256 for dataset, images in frames for sha256 in names_of(catalog, dataset, images)}


def _names(found: list[RunResult]) -> list[str]:
    """What each is called: two runs of one name, by their keys too."""
    names, keys = [one.report.name for one in found], [one.run_key[:8] for one in found]
    return [f"{name} {key}" if names.count(name) > 1 else name for name, key in zip(names, keys, strict=True)]


def _held_out(one: RunResult) -> list[tuple[int, float]]:
    """The mean loss on held-out images under the run's own captions, where it trained on a single track."""
    points = []
    for checkpoint in one.report.checkpoints:
        losses = checkpoint.evaluation.held_out.get(one.report.captions) if checkpoint.evaluation else None
        if losses:
            points.append((checkpoint.epoch, sum(losses) / len(losses)))
    return points
