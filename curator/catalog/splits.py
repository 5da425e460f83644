"""What the catalog knows about splits: one method a query of queries/splits.sql."""

from __future__ import annotations

from curator.catalog.connection import Connection


class Splits(Connection):
    """Queries on splits."""
