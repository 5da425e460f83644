"""The app: guards, errors as problems, and the routers of what it offers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from fastapi import FastAPI

from curator.catalog import Catalog
from curator.catalog.service import service_folder
from curator.secret_files import load_key
from curator.server import problems
from curator.server.annotators import AnnotationPictures
from curator.server.guards import Guards
from curator.server.jobs import Jobs
from curator.server.logs import Requests
from schemas import __version__

DEFAULT_PORT = 8400
ROUTERS = (
    "curator.server.login",
    "curator.server.remote",
    "curator.server.uploads",
    "curator.server.disk",
    "curator.server.pictures",
    "curator.server.health",
    "curator.api",
    "curator.web",
)


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


def create_app(catalog: Catalog, settings: Settings) -> FastAPI:
    """The service over an open catalog. The caller closes the catalog when the app is done."""
    settings = dataclasses.replace(settings, data_folder=settings.data)
    app = FastAPI(
        title="Amatl",
        summary="A caption lab: datasets, captions, versions, snapshots, runs.",
        version=__version__,
        docs_url=None,
        redoc_url=None,
    )
    app.state.catalog, app.state.settings = catalog, settings
    app.state.key = load_key(settings.data)
    app.state.jobs = Jobs(settings.data / "jobs", settings.catalog_path, settings.allowed_folders)
    app.add_middleware(Guards, settings=settings)
    app.add_middleware(Requests)
    problems.install(app)
    for name in ROUTERS:
        app.include_router(import_module(name).router)
    app.mount("/annotators", AnnotationPictures(settings.catalog_path))
    app.state.error_page = import_module("curator.web").error_page
    return app
