"""Datasets and their health."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from curator import compare as comparing
from curator import datasets as stage
from curator.caption_sets.failures import FailuresResult, failures
from curator.caption_sets.reference import check_dataset
from curator.compare.result import CompareResult
from curator.datasets.rejected import RejectsResult, rejects
from curator.server.access import OpenCatalog, needs
from curator.server.api import examples
from curator.server.api.responses import etag_response, example

router = APIRouter(prefix="/datasets", tags=["datasets"], dependencies=[Depends(needs("read"))])


@router.get(
    "",
    operation_id="listDatasets",
    response_model=stage.DatasetsResult,
    responses=example({"datasets": [examples.DATASET]}),
)
def list_datasets(request: Request, catalog: OpenCatalog) -> Response:
    """All datasets, with rejects, near-duplicates and missing captions."""
    return etag_response(request, stage.datasets(catalog))


@router.get(
    "/{dataset}",
    operation_id="getDataset",
    response_model=stage.DatasetHealth,
    responses=example(examples.DATASET),
)
def get_dataset(request: Request, catalog: OpenCatalog, dataset: str) -> Response:
    """One dataset with its health."""
    return etag_response(request, stage.dataset_health(catalog, dataset))


@router.get("/{dataset}/rejects", operation_id="listRejects", response_model=RejectsResult)
def list_rejects(request: Request, catalog: OpenCatalog, dataset: str, reason: str | None = None) -> Response:
    """Files and rows that ingest couldn't use, with the reasons."""
    return etag_response(request, rejects(catalog, dataset, reason))


@router.get("/{dataset}/failures", operation_id="listFailures", response_model=FailuresResult)
def list_failures(request: Request, catalog: OpenCatalog, dataset: str, caption_set: str) -> Response:
    """Images that the last run of a strategy couldn't caption."""
    check_dataset(catalog, dataset)
    return etag_response(request, failures(catalog, f"{dataset}/{caption_set}"))


@router.get("/{dataset}/compare", operation_id="compareSets", response_model=CompareResult)
def compare(
    request: Request,
    catalog: OpenCatalog,
    dataset: str,
    sets: Annotated[list[str], Query(description="Two or more: `template@1`, or `template` for its current captions.")],
) -> Response:
    """Compare sets over the images that all of them caption."""
    return etag_response(request, comparing.compare(catalog, dataset, sets))
