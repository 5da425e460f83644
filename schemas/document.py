"""Common to all documents of the contract: a type id, tolerant reading, atomic writing, references to files."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import BadDocument

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="Hex SHA-256.")]
Timestamp = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z$",
        description="RFC 3339 in UTC, with Z.",
        examples=["2026-11-23T12:00:00Z"],
    ),
]
_STEP = r"([^/\\.][^/\\]*|\.[^/\\.][^/\\]*|\.\.[^/\\]+)"  # any name but `.` and `..`
RelativePath = Annotated[
    str,
    Field(
        pattern=f"^{_STEP}(/{_STEP})*$",
        description="Relative to the document's folder, with forward slashes, never outside it.",
    ),
]


def now() -> Timestamp:
    """Return the present time as documents write it."""
    return rfc3339(datetime.now(UTC))


def rfc3339(moment: datetime) -> Timestamp:
    """Return a time (with its zone) as documents write it: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Part(BaseModel):
    """A piece of a document. Readers ignore fields they don't know, so that minor additions break nobody."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class FileRef(Part):
    """A reference to bytes: where they are (relative to the document), what they hash to, how many there are."""

    path: RelativePath
    sha256: Sha256
    size_bytes: int = Field(ge=0)


class Document(Part):
    """A document of the contract. Its `type` carries the major version only."""

    type: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check a document. Raises BadDocument naming the file and the first wrong field."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise BadDocument(f"{path}: can't be read ({error.strerror or error}).") from error
        except ValidationError as error:
            problem = first_problem(error)
            raise BadDocument(f"{path}: {problem}. Put back a good copy of it, or make it again.") from error

    def write(self, path: Path) -> None:
        """Write the document atomically: a reader sees the old file or the new one, never a part."""
        write_atomically(path, self.model_dump_json(indent=2, by_alias=True).encode() + b"\n")


def first_problem(error: ValidationError) -> str:
    """Return one line for a validation error: the field, its problem, and the number of further ones."""
    problems: list[Any] = list(error.errors(include_url=False))
    where = ".".join(str(part) for part in problems[0]["loc"]) or "document"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where}: {problems[0]['msg']}{more}"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file by a flushed temporary file and a rename. Raises OSError naming `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)  # A full disk names no file, and nobody knows the temporary one.
        raise
    finally:
        temporary.unlink(missing_ok=True)
