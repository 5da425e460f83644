"""Read, revise, replace, accept captions; undo; stream a set."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import BaseModel, Field

from curator.caption_sets.accept import AcceptResult, accept, undo_accept
from curator.caption_sets.reference import resolve
from curator.caption_sets.replace import ReplaceResult, replace, undo_replace
from curator.caption_sets.revise import LONGEST, ReviseResult, UndoResult, revise
from curator.datasets.image import ImageCaption, image_caption
from curator.server.access import Annotator, OpenCatalog, Sha256, needs
from curator.server.api import examples
from curator.server.api.responses import JSON_LINES, LARGEST_ID, STREAMS, accepted_type, etag_response, example, stream
from curator.server.problems import PreconditionRequired
from schemas.errors import BadOption

router = APIRouter(tags=["captions"], dependencies=[Depends(needs("read"))])
ONE = "/datasets/{dataset}/images/{sha256}/captions/{caption_set}"
SET = "/sets/{dataset}/{caption_set}"
TAG = re.compile(r'(?:W/)?"caption-([0-9]{1,18})"')


class Text(BaseModel):
    """A caption. Line ends become spaces."""

    text: str = Field(max_length=LONGEST, examples=["a red fox, sitting in the snow"])


class Acceptance(BaseModel):
    """The captions to accept as they are."""

    images: list[str] | None = Field(
        default=None, max_length=100_000, description="SHA-256 of each image; null: all images that match `where`."
    )
    where: str | None = Field(default=None, description="Only captions of images that match this expression.")
    seen: int | None = Field(default=None, ge=0, le=LARGEST_ID, description="Leave out higher caption_ids.")
    preview: bool = Field(default=True, description="Only count the captions; change nothing.")


class Replacement(BaseModel):
    """The text to find, and its replacement."""

    find: str = Field(min_length=1, max_length=1_000, examples=["grey"])
    replacement: str = Field(max_length=LONGEST, examples=["gray"])
    regex: bool = Field(default=False, description="`find` is a regular expression, `$1` its first group.")
    ignore_case: bool = False
    where: str | None = Field(default=None, description="Only captions of images that match this expression.")
    preview: bool = Field(default=True, description="Only show the changes; change nothing.")
    limit: int = Field(default=20, ge=0, le=500, description="Most changes to list; the counts are complete.")


@router.get(
    ONE, operation_id="getCaption", response_model=ImageCaption, responses=example(examples.IMAGE["captions"][0])
)
def get_caption(request: Request, catalog: OpenCatalog, dataset: str, sha256: Sha256, caption_set: str) -> Response:
    """A caption. Its ETag is needed to change it."""
    caption = image_caption(catalog, dataset, sha256, caption_set)
    return etag_response(request, caption, f"caption-{caption.caption_id}")


@router.put(ONE, operation_id="putCaption", responses=example(examples.REVISED))
def put_caption(
    response: Response,
    catalog: OpenCatalog,
    caller: Annotator,
    dataset: str,
    sha256: Sha256,
    caption_set: str,
    body: Text,
    if_match: Annotated[str | None, Header(description="The ETag of the caption that you saw.")] = None,
    if_none_match: Annotated[str | None, Header(description="`*`: there was no caption.")] = None,
) -> ReviseResult:
    """Write the caller's own revision. 412 if somebody else changed the caption meanwhile."""
    expected = _expected(if_match, if_none_match)
    result = revise(catalog, dataset, caption_set, sha256, body.text, caller.person, expected)
    response.headers["ETag"] = f'"caption-{result.caption_id}"'
    return result


def _expected(if_match: str | None, if_none_match: str | None) -> int | Literal["none", "any"]:
    if if_match is None and if_none_match is None:
        raise PreconditionRequired
    if if_match is None:
        if if_none_match != "*":
            raise BadOption("If-None-Match: only * is supported, for an image without a caption.")
        return "none"
    if if_match.strip() == "*":
        return "any"
    tag = TAG.fullmatch(if_match.strip())
    if tag is None:
        raise BadOption('If-Match: give the ETag of a caption, such as "caption-12", or *.')
    return int(tag[1])


@router.get(f"{SET}/captions", operation_id="streamCaptions", responses=STREAMS)
def stream_captions(
    request: Request,
    catalog: OpenCatalog,
    dataset: str,
    caption_set: str,
    version: Annotated[int | None, Query(ge=1, le=LARGEST_ID, description="Default: the current captions.")] = None,
) -> Response:
    """All captions of a set or version: image_sha256, text, caption_id. As JSON lines or Arrow."""
    reference = resolve(catalog, f"{dataset}/{caption_set}" + (f"@{version}" if version else ""))
    rows = catalog.caption_texts(reference.dataset, reference.set_name, reference.last_caption_id)
    name = f"{dataset}-{caption_set}" + (f"-{version}" if version else "")
    return stream(rows, accepted_type(request, JSON_LINES), name)


@router.post(f"{SET}/replace", operation_id="replaceCaptions")
def replace_captions(
    catalog: OpenCatalog, caller: Annotator, dataset: str, caption_set: str, body: Replacement
) -> ReplaceResult:
    """Find and replace in a set. By default only show the changes."""
    return replace(
        catalog,
        f"{dataset}/{caption_set}",
        body.find,
        body.replacement,
        body.regex,
        body.ignore_case,
        body.where,
        body.preview,
        caller.person,
        body.limit,
    )


@router.post(f"{SET}/replace/{{run_id}}/undo", operation_id="undoReplace")
def undo_replacement(
    catalog: OpenCatalog,
    caller: Annotator,
    dataset: str,
    caption_set: str,
    run_id: Annotated[int, Path(ge=1, le=LARGEST_ID)],
) -> UndoResult:
    """Undo a replace. Captions changed since stay."""
    return undo_replace(catalog, f"{dataset}/{caption_set}", run_id, caller.person)


@router.post(f"{SET}/accept", operation_id="acceptCaptions")
def accept_captions(
    catalog: OpenCatalog, caller: Annotator, dataset: str, caption_set: str, body: Acceptance
) -> AcceptResult:
    """Make captions the caller's own, unchanged. By default only count them."""
    reference = f"{dataset}/{caption_set}"
    return accept(catalog, reference, body.where, body.images, body.seen, body.preview, caller.person)


@router.post(f"{SET}/accept/{{run_id}}/undo", operation_id="undoAccept")
def undo_acceptance(
    catalog: OpenCatalog,
    caller: Annotator,
    dataset: str,
    caption_set: str,
    run_id: Annotated[int, Path(ge=1, le=LARGEST_ID)],
) -> UndoResult:
    """Undo an accept. Captions changed since stay."""
    return undo_accept(catalog, f"{dataset}/{caption_set}", run_id, caller.person)
