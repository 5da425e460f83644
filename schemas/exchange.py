"""The exchange of trainer and curator service over HTTP: snapshots one way, run records the other. Prose:
`spec/exchange.md`.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import Field

from schemas.digest import sha256_json
from schemas.document import Document, FileRef, Sha256
from schemas.run import RunReport


class RunReceipt(Document):
    """The answer to a posted run report: that it is kept, and which of its pictures are still wanted."""

    type: Literal["amatl/run-receipt/v1"] = "amatl/run-receipt/v1"
    digest: Sha256 = Field(description="Of the report's bytes as they were posted.")
    run: Sha256 = Field(description="Which run it is a report of: equal for all reports of one run.")
    name: str = Field(description="The run's name, as the report has it.")
    unchanged: bool = Field(description="The service had this very report already.")
    missing: list[Sha256] = Field(description="Pictures of the report that the service doesn't have.")


def record_digest(report: bytes) -> str:
    """Return the digest of a record as it is posted."""
    return hashlib.sha256(report).hexdigest()


def run_key(report: RunReport) -> str:
    """Return the key of a record's run: SHA-256 over canonical JSON of [name, snapshot, config digest, start]."""
    return sha256_json([report.name, report.snapshot.identity, report.config_digest, report.started_at])


def pictures(report: RunReport) -> list[FileRef]:
    """Return the images that a record refers to, each content once: references, then the checkpoints' grids."""
    grids = [report.references, *(checkpoint.grid for checkpoint in report.checkpoints)]
    files = [grid.file for grid in grids if grid is not None]
    return list({file.sha256: file for file in reversed(files)}.values())[::-1]
