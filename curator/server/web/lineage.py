"""The lineage graph, and the runs of a snapshot side by side."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from curator.catalog import Catalog
from curator.runs import RunResult, run, runs
from curator.server.access import OpenCatalog, Sha256, needs
from curator.server.api.runs import images_folder
from curator.server.web.charts import chart
from curator.server.web.grids import sample_table
from curator.server.web.lineage_graph import lineage_graph
from curator.server.web.render import render
from curator.server.web.selections import names_of
from curator.snapshot.recorded import snapshot_line, snapshots

router = APIRouter(dependencies=[Depends(needs("read"))])


@router.get("/snapshots")
def every_snapshot(request: Request, catalog: OpenCatalog) -> Response:
    snapshot_lines, run_lines = snapshots(catalog).snapshots, runs(catalog).runs
    graph = lineage_graph(snapshot_lines, run_lines) if snapshot_lines else None
    return render(request, "snapshots.html", snapshots=snapshot_lines, runs=run_lines, graph=graph)


@router.get("/snapshots/{identity}")
def one_snapshot(request: Request, catalog: OpenCatalog, identity: Sha256) -> Response:
    line = snapshot_line(catalog, identity)
    results = [run(catalog, one.run_key, images_folder(request)) for one in runs(catalog, identity).runs]
    title = f"{line.dataset}, snapshot {identity[:12]}"
    return render(request, "runs.html", title=title, snapshot=line, **_side_by_side(catalog, results[::-1]))


@router.get("/runs/{key}")
def one_run(request: Request, catalog: OpenCatalog, key: Sha256) -> Response:
    result = run(catalog, key, images_folder(request))
    identity = result.report.snapshot.identity
    line = next((one for one in snapshots(catalog).snapshots if one.identity == identity), None)
    return render(request, "runs.html", title=result.report.name, snapshot=line, **_side_by_side(catalog, [result]))


def _side_by_side(catalog: Catalog, results: list[RunResult]) -> dict[str, Any]:
    """Return the template's variables."""
    names = _names(results)
    held_out = [_held_out(one) for one in results]
    training = {
        name: [(epoch.epoch, epoch.train_loss) for epoch in one.report.epochs]
        for name, one in zip(names, results, strict=True)
    }
    return {
        "runs": results,
        "samples": sample_table(results, names, [dict(points) for points in held_out]),
        "real": _real(catalog, results),
        "held_out": chart(dict(zip(names, held_out, strict=True))),
        "training": chart(training),
    }


def _real(catalog: Catalog, results: list[RunResult]) -> set[str]:
    """Return the images here whose captions are prompts."""
    by_dataset: dict[str, list[str]] = {}
    for one in results:
        images = [prompt.image_sha256 for prompt in one.report.prompts if prompt.image_sha256]
        by_dataset.setdefault(one.report.snapshot.dataset, []).extend(images)
    return {sha256 for dataset, images in by_dataset.items() if images for sha256 in names_of(catalog, dataset, images)}


def _names(results: list[RunResult]) -> list[str]:
    """Equal names get the run's key."""
    names, keys = [one.report.name for one in results], [one.run_key[:8] for one in results]
    return [f"{name} {key}" if names.count(name) > 1 else name for name, key in zip(names, keys, strict=True)]


def _held_out(one: RunResult) -> list[tuple[int, float]]:
    """Return the mean held-out loss per epoch under the run's own captions, if it trained on one track."""
    points = []
    for checkpoint in one.report.checkpoints:
        losses = checkpoint.evaluation.held_out.get(one.report.captions) if checkpoint.evaluation else None
        if losses:
            points.append((checkpoint.epoch, sum(losses) / len(losses)))
    return points
