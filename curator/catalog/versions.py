"""What the catalog knows about versions: one method a query of queries/versions.sql."""

from __future__ import annotations

from curator.catalog.connection import Connection


class Versions(Connection):
    """Queries on versions."""
