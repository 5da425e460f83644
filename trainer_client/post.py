"""`trainer post`: send a run's record and sample grids to its snapshot's curator service.

Idempotent: the service knows records and grids by digest. The protocol is schemas/spec/exchange.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field, ValidationError

from schemas.document import FileRef
from schemas.edge.address import address_of
from schemas.edge.retry import broke_off, retried
from schemas.edge.words import plural
from schemas.errors import BadOption, ChecksumMismatch, NotFound, ServiceFailed
from schemas.exchange import RunReceipt, pictures, record_digest
from schemas.progress import Progress, silent
from trainer_client.run_folder import FILE, open_run
from trainer_client.service import client, refusal, unreachable

if TYPE_CHECKING:
    import httpx

ATTEMPTS = 3  # attempts if the connection breaks


class PostResult(BaseModel):
    run: Path
    address: str = Field(description="Where the run is at the service.")
    digest: str
    unchanged: bool = Field(description="The service had this record.")
    sent: int = Field(description="Grids sent now.")
    already_there: int = Field(description="Grids that the service had.")


def post(run: Path, to: str, progress: Progress = silent) -> PostResult:
    """Post the run record, then the grids that the service lacks.

    Raises NotFound (run, or the service has no such snapshot), BadOption, BadDocument, ChecksumMismatch (changed grid),
    ServiceFailed.
    """
    base = address_of(to)
    if base is None:
        raise BadOption(f"--to {to}: not an address. Give http://HOST:PORT.")
    named = pictures(open_run(run))
    content = (run / FILE).read_bytes()
    with client(base) as http:
        progress("posting the run record", 0, len(named))
        receipt = _receipt(base, _sent(http, "POST", f"{base}/api/v1/runs", content, "application/json"), content)
        missing = [picture for picture in named if picture.sha256 in receipt.missing]
        for done, picture in enumerate(missing):
            progress("posting grids", done, len(missing))
            address = f"{base}/api/v1/runs/{receipt.digest}/pictures/{picture.sha256}"
            _sent(http, "PUT", address, _bytes(run, picture), "application/octet-stream")
        if missing:
            progress("posting grids", len(missing), len(missing))
    return PostResult(
        run=run,
        address=f"{base}/api/v1/runs/{receipt.run}",
        digest=receipt.digest,
        unchanged=receipt.unchanged,
        sent=len(missing),
        already_there=len(named) - len(missing),
    )


def text_of_post(result: PostResult) -> str:
    if result.unchanged and not result.sent:
        said = "the service already has the run record and every grid."
    else:
        what = "was there already" if result.unchanged else "is posted"
        had = f", {result.already_there} were there" if result.already_there else ""
        said = f"the run record {what}; {plural(result.sent, 'grid')} sent{had}."
    return f"{result.run}: {said}\n{result.address}"


def _receipt(base: str, answer: httpx.Response, content: bytes) -> RunReceipt:
    try:
        receipt = RunReceipt.model_validate_json(answer.content)
    except ValidationError as error:
        raise ServiceFailed(f"{base}: not a curator service. Check the address.") from error
    if receipt.digest != record_digest(content):
        raise ServiceFailed(f"{base}: the service received other bytes than were sent. Check the proxy in between.")
    return receipt


def _bytes(run: Path, picture: FileRef) -> bytes:
    path = run / picture.path
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"{path}: missing, and the run record names it. The record is posted without it.") from error
    if record_digest(content) != picture.sha256:
        raise ChecksumMismatch(f"{path}: changed since the run wrote it. The record is posted without it.")
    return content


def _sent(http: httpx.Client, method: str, address: str, content: bytes, media_type: str) -> httpx.Response:
    """Send a request. All of them are idempotent, so a broken connection is retried."""
    import httpx

    def request() -> httpx.Response:
        return http.request(method, address, content=content, headers={"Content-Type": media_type})

    def may_help(error: Exception) -> bool:
        return broke_off(error) or isinstance(error, httpx.ConnectTimeout)

    try:
        answer = retried(request, may_help, (0.0,) * (ATTEMPTS - 1))
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise unreachable(address, error) from error
    if answer.is_success:
        return answer
    raise refusal(address, answer)
