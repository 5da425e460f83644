"""What the catalog knows of who may use the service: one method a query of queries/access.sql."""

from __future__ import annotations

from typing import Any

import polars as pl

from curator.catalog.connection import Connection, change


class Access(Connection):
    """Queries on access tokens."""

    def access_tokens(self) -> pl.DataFrame:
        """Every token, oldest first, never the token itself.

        Columns: token_id, person, scope, made_by, created_at, expires_at, revoked_at (RFC 3339 or null), expired.
        """
        return self._read("access_tokens")

    def access_of(self, token_sha256: str) -> dict[str, Any] | None:
        """Whose token has this hash, or None where there is none that holds: token_id, person, scope."""
        rows = self._read("access_of", token_sha256=token_sha256).to_dicts()
        return rows[0] if rows else None

    @change
    def add_access_token(self, person: str, scope: str, token_sha256: str, made_by: str, days: int | None) -> None:
        """Notes a new token by its hash; `days` until it expires, None: never."""

    def revoke_access_token(self, token_id: int, person: str) -> None:
        self._write("revoke_access_token", token_id=token_id, person=person)
