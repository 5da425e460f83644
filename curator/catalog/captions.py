"""What the catalog knows about captions: one method a query of queries/captions.sql."""

from __future__ import annotations

from curator.catalog.connection import Connection


class Captions(Connection):
    """Queries on captions."""
