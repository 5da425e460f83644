"""The service: one process that owns a catalog. An API for programs, pages for people, jobs for long work.

An edge, as the command line is: it checks who asks and for what, calls the same stage functions and catalog methods,
and shows what they return. `curator serve` runs it; torch never loads in it, since jobs are processes of their own.
"""

from curator.server.app import create_app
from curator.server.settings import Settings

__all__ = ["Settings", "create_app"]
