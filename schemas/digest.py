"""Digests of content: SHA-256, of JSON in its canonical form (RFC 8785)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file, read in pieces. Raises OSError as `open` does."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Return the hex SHA-256 of `value` as canonical JSON (RFC 8785): equal on any machine."""
    import rfc8785

    return hashlib.sha256(rfc8785.dumps(value)).hexdigest()


def snapshot_identity(samples: Iterable[tuple[str, Mapping[str, str | None], str]]) -> str:
    """Return the identity of a snapshot: SHA-256 over canonical JSON of its samples sorted by image.

    Each sample is (image sha256, {track: caption}, split) and enters as the array `[sha256, {track: caption}, split]`.
    Neither dates, nor file names, nor provenance enter: the same content has the same identity anywhere.
    Hashed sample by sample, so that memory doesn't grow with the text.
    """
    digest = hashlib.sha256(b"[")
    for position, (sha256, captions, split) in enumerate(sorted(samples, key=lambda sample: sample[0])):
        digest.update(b"," if position else b"")
        digest.update(_canonical([sha256, dict(captions), split], all(map(str.isascii, captions))))
    digest.update(b"]")
    return digest.hexdigest()


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def _canonical(value: Any, plain: bool) -> bytes:
    """Canonical JSON. `plain`: text and nulls under ASCII names, for which `json` does the same ten times as fast."""
    import rfc8785

    return _encode(value).encode() if plain else rfc8785.dumps(value)
