"""Settings of a service."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curator.catalog.remote import service_folder

DEFAULT_PORT = 8400


@dataclass(frozen=True)
class Settings:
    """How a service runs."""

    catalog_path: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    socket_path: Path | None = None
    # On loopback callers without a token act as the local user with all scopes.
    require_token: bool = False
    # Thumbnails, uploads, jobs, runs, the key; None: `<catalog>.service` beside the catalog.
    data_folder: Path | None = None
    # Where people reach it, when that isn't host and port: behind a proxy that speaks HTTPS.
    public_url: str | None = None
    # Folders that a job may name; None: any (loopback).
    allowed_folders: tuple[Path, ...] | None = None
    max_body_bytes: int = 8 * 2**20
    max_upload_bytes: int = 2**30
    max_requests: int = 512
    # A body may pause this long, and comes at this pace at least once it took a minute.
    body_pause_seconds: float = 30.0
    body_least_bytes_per_second: int = 4096

    @property
    def data(self) -> Path:
        """The data folder, made if missing, for its owner alone."""
        folder = self.data_folder or service_folder(self.catalog_path)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
