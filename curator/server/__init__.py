"""The service: one process that owns a catalog. An API for programs, pages for people, jobs for long work.

Like the command line, it checks access, calls stage functions and catalog methods, and shows what they return. Run it
with `curator serve`. It never loads torch, because jobs are separate processes.
"""

from curator.server.app import create_app
from curator.server.settings import Settings

__all__ = ["Settings", "create_app"]
