"""Settings of a service."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curator.catalog.remote import service_folder

DEFAULT_PORT = 8400


@dataclass(frozen=True)
class Settings:
    catalog_path: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    socket_path: Path | None = None
    # Without it, callers without a token act as the local user with all scopes (loopback only).
    require_token: bool = False
    # For thumbnails, uploads, jobs, runs and the key. None: `<catalog>.service` beside the catalog.
    data_folder: Path | None = None
    # The address that people use behind an HTTPS proxy, if it isn't host and port.
    public_url: str | None = None
    # Folders that jobs may name; None: any (loopback).
    allowed_folders: tuple[Path, ...] | None = None
    max_body_bytes: int = 8 * 2**20
    max_upload_bytes: int = 2**30
    max_requests: int = 512
    # The longest pause in a request body, and its lowest rate after a minute.
    body_pause_seconds: float = 30.0
    body_least_bytes_per_second: int = 4096

    @property
    def data(self) -> Path:
        """The data folder, created for its owner alone."""
        folder = self.data_folder or service_folder(self.catalog_path)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
