"""The pages over the service's small catalog."""

from __future__ import annotations

from tests.curator.server.conftest import app, catalog, client, lab, make_client, settings

__all__ = ["app", "catalog", "client", "lab", "make_client", "settings"]
