"""The service: one process that owns a catalog, with an API, pages and jobs. Run it with `curator serve`.

It checks access, calls stage functions and shows results. Jobs are separate processes, so it never loads torch.
"""

from curator.server.app import create_app
from curator.server.settings import Settings

__all__ = ["Settings", "create_app"]
