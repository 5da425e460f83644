"""List snapshots and serve their files. The exchange: schemas/spec/exchange.md."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import FileResponse

from curator.server.access import OpenCatalog, Sha256, needs
from curator.server.api import examples
from curator.server.api.responses import etag_response, example, immutable_headers, is_cached
from curator.snapshot import recorded as stage

router = APIRouter(prefix="/snapshots", tags=["snapshots"], dependencies=[Depends(needs("read"))])
downloads = APIRouter(tags=["snapshots"], dependencies=[Depends(needs("read"))])
TYPES = {"json": "application/json", "jsonl": "application/x-ndjson", "jpg": "image/jpeg"}
TYPES |= {name: f"image/{name}" for name in ("png", "webp", "gif", "bmp", "tiff")}


@router.get(
    "",
    operation_id="listSnapshots",
    response_model=stage.SnapshotsResult,
    responses=example({"snapshots": [examples.SNAPSHOT]}),
)
def list_snapshots(
    request: Request,
    catalog: OpenCatalog,
    dataset: Annotated[str | None, Query(description="Only of this dataset.")] = None,
) -> Response:
    """The snapshots exported here, newest first."""
    return etag_response(request, stage.snapshots(catalog, dataset))


@router.get(
    "/{identity}",
    operation_id="getSnapshot",
    response_model=stage.SnapshotLine,
    responses=example(examples.SNAPSHOT),
)
def get_snapshot(request: Request, catalog: OpenCatalog, identity: Sha256) -> Response:
    """One snapshot. `trainer train` takes /snapshots/{identity}."""
    return etag_response(request, stage.snapshot_line(catalog, identity))


@downloads.head("/snapshots/{identity}/{path:path}", include_in_schema=False)
@downloads.get(
    "/snapshots/{identity}/{path:path}",
    operation_id="downloadSnapshotFile",
    response_class=FileResponse,
    responses={206: {"description": "The requested range."}, 304: {"description": "Not modified."}},
)
def download(
    request: Request,
    catalog: OpenCatalog,
    identity: Sha256,
    path: Annotated[str, Path(examples=["manifest.json"], description="As named by the manifest or metadata.jsonl.")],
) -> Response:
    """A file of a snapshot, which never changes; supports ranges."""
    file = stage.snapshot_file(catalog, identity, path)
    headers = immutable_headers(f"{identity[:32]}/{path}")
    if is_cached(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    kind = TYPES.get(path.rpartition(".")[2], "application/octet-stream")
    return FileResponse(file, headers=headers, media_type=kind)
