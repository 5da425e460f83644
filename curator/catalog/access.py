"""Catalog queries on access tokens: one method for each query of queries/access.sql."""

from __future__ import annotations

from typing import Any

import polars as pl

from curator.catalog.connection import Connection, change


class Access(Connection):
    def access_tokens(self) -> pl.DataFrame:
        """Return every token's record, oldest first, without the token itself.

        Columns: token_id, person, scope, made_by, created_at, expires_at, revoked_at (RFC 3339 or null), expired.
        """
        return self._read("access_tokens")

    def access_of(self, token_sha256: str) -> dict[str, Any] | None:
        """Return token_id, person and scope of the valid token with this hash, or None."""
        rows = self._read("access_of", token_sha256=token_sha256).to_dicts()
        return rows[0] if rows else None

    @change
    def add_access_token(self, person: str, scope: str, token_sha256: str, made_by: str, days: int | None) -> None:
        """Store a new token's hash; it expires after `days`, or never if None."""

    def revoke_access_token(self, token_id: int, person: str) -> None:
        self._write("revoke_access_token", token_id=token_id, person=person)
