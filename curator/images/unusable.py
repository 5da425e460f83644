"""Reasons why a file or row can't be used: stable short codes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from schemas.errors import AmatlError


class Reason(StrEnum):
    """The reason of a reject. The value stands in the catalog and in `--json`."""

    ZERO_BYTE = "zero-byte"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    NOT_AN_IMAGE = "not-an-image"
    UNSUPPORTED_FORMAT = "unsupported-format"
    TOO_LARGE = "too-large"
    UNREADABLE = "unreadable"
    ROW_WITHOUT_IMAGE = "row-without-image"
    IMAGE_WITHOUT_ROW = "image-without-row"
    BAD_ROW = "bad-row"
    BAD_TABLE = "bad-table"
    DUPLICATE_ROW = "duplicate-row"


class Unusable(Exception):
    """The file is a reject for `reason`; `detail` is one line for a person."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class CannotRead(AmatlError):
    """This image can't be read this time; the next run tries it again."""


@dataclass(frozen=True)
class Reject:
    """A reject. `path` is the file, or a table and its line (`table.csv:12`); size and time are the file's."""

    path: str
    reason: Reason
    detail: str
    size_bytes: int | None = None
    mtime_ns: int | None = None
