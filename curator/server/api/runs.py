"""Run reports and images from trainers. The exchange: schemas/spec/exchange.md."""

from __future__ import annotations

from pathlib import Path as Folder
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse

from curator import runs as stage
from curator.server.access import OpenCatalog, Sha256, Writer, needs
from curator.server.api import examples
from curator.server.api.responses import Content, etag_response, example, immutable_headers, is_cached, request_body
from schemas.exchange import RunReceipt

router = APIRouter(prefix="/runs", tags=["runs"], dependencies=[Depends(needs("read"))])
RECEIPTS = {
    200: {"description": "The report was stored already.", "model": RunReceipt},
    201: {"description": "The report is stored."},
}


def images_folder(request: Request) -> Folder:
    return Folder(request.app.state.settings.data) / "runs"


ImagesFolder = Annotated[Folder, Depends(images_folder)]


@router.get(
    "",
    operation_id="listRuns",
    response_model=stage.RunsResult,
    responses=example({"runs": [examples.RUN]}),
)
def list_runs(
    request: Request,
    catalog: OpenCatalog,
    snapshot: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$", description="Only runs on this snapshot.")] = None,
) -> Response:
    """The reported runs."""
    return etag_response(request, stage.runs(catalog, snapshot))


@router.post(
    "",
    operation_id="postRun",
    status_code=201,
    response_model=RunReceipt,
    responses=RECEIPTS,  # type: ignore[arg-type]
    openapi_extra=request_body("application/json", {"type": "object", "title": "amatl/run/v1"}),
)
def post_run(catalog: OpenCatalog, caller: Writer, folder: ImagesFolder, content: Content) -> Response:
    """Store a run.json. The receipt lists the images still to be sent."""
    receipt = stage.receive_record(catalog, content, caller.person, folder)
    headers = {"Location": f"/api/v1/runs/{receipt.run}"}
    status = 200 if receipt.unchanged else 201
    return Response(receipt.model_dump_json(), status, headers, media_type="application/json")


@router.put(
    "/{name}/pictures/{sha256}",
    operation_id="putRunPicture",
    status_code=204,
    openapi_extra=request_body("application/octet-stream", {"type": "string", "format": "binary"}),
)
def put_image(
    catalog: OpenCatalog, _: Writer, folder: ImagesFolder, name: Sha256, sha256: Sha256, content: Content
) -> None:
    """Store an image of this report."""
    stage.receive_picture(catalog, name, sha256, content, folder)


@router.get("/{name}", operation_id="getRun", response_model=stage.RunResult)
def get_run(request: Request, catalog: OpenCatalog, folder: ImagesFolder, name: Sha256) -> Response:
    """A run with its whole report, by `run_key` or a report's digest."""
    return etag_response(request, stage.run(catalog, name, folder))


@router.get("/{name}/pictures/{sha256}", operation_id="getRunPicture", response_class=FileResponse)
def get_image(request: Request, catalog: OpenCatalog, folder: ImagesFolder, name: Sha256, sha256: Sha256) -> Response:
    """Real images, or a checkpoint's sample grid."""
    file = stage.run_picture(catalog, name, sha256, folder)
    headers = immutable_headers(sha256)
    if is_cached(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    with file.open("rb") as opened:
        kind = stage.picture_type(opened.read(32))
    return FileResponse(file, headers=headers, media_type=kind)
