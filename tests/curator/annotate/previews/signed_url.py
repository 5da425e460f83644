"""The URL of a preview, signed as a push signs it."""

from __future__ import annotations

from datetime import datetime

from curator.annotate.previews.serve import preview_url, signature_of


def signed_url(base_url: str, image_sha256: str, expires_at: datetime, key: bytes) -> str:
    """Return the URL of a preview, valid until `expires_at`."""
    return preview_url(base_url, image_sha256, expires_at, signature_of(image_sha256, int(expires_at.timestamp()), key))
