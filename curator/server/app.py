"""Build the FastAPI app."""

from __future__ import annotations

import dataclasses
from importlib import import_module

import click
from fastapi import FastAPI

from curator.catalog import Catalog
from curator.secret_files import load_key
from curator.server import problems
from curator.server.annotators import AnnotationImages
from curator.server.guards import Guards
from curator.server.jobs import Jobs
from curator.server.logs import RequestLog
from curator.server.settings import Settings
from schemas import __version__

ROUTERS = (
    "curator.server.login",
    "curator.server.catalog_rpc",
    "curator.server.uploads",
    "curator.server.disk_rpc",
    "curator.server.image_files",
    "curator.server.health",
    "curator.server.api",
    "curator.server.web",
)


def create_app(catalog: Catalog, settings: Settings, program: click.Group) -> FastAPI:
    """`program` is the command line whose commands may run as jobs. The caller closes the catalog."""
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
    app.state.jobs = Jobs(settings.data / "jobs", settings.catalog_path, settings.allowed_folders, program)
    app.add_middleware(Guards, settings=settings)
    app.add_middleware(RequestLog)
    problems.install(app)
    for name in ROUTERS:
        app.include_router(import_module(name).router)
    app.mount("/annotators", AnnotationImages(settings.catalog_path))
    app.state.error_page = import_module("curator.server.web").error_page
    return app
