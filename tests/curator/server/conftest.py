"""Fixtures: an app over a small catalog, and a client of it on loopback."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from curator.catalog import Catalog
from curator.cli import main
from curator.secret_files import load_key
from curator.server import Settings, create_app
from tests.curator.conftest import Labs
from tests.curator.lab import Lab

BASE = "http://127.0.0.1:8400"
MakeClient = Callable[..., TestClient]


def small_zoo(lab: Lab) -> None:
    """Fill it with `zoo`.

    Six images, two of them near-duplicates; `template@1`, `human@1` (one image without), a later edit.
    """
    names = ["fox", "wolf", "bear", "frog", "lion"]
    images = {
        name: lab.add(f"{name}.png", number, {"title": name, "group": "animal"}, "CC0-1.0")
        for number, name in enumerate(names)
    }
    images["fox again"] = lab.add("fox again.png", 9, {"title": "fox"}, near=images["fox"])
    lab.commit("template", {image: f"a drawing of a {name}" for name, image in images.items()}, "template")
    lab.commit("human", {image: f"{name} in the snow" for name, image in images.items() if name != "lion"}, "human")
    lab.caption("human", {images["fox"]: "a red fox in deep snow"}, "human")
    load_key(Settings(lab.catalog.path).data)  # which every app makes


@pytest.fixture
def lab(labs: Labs) -> Iterator[Lab]:
    """The dataset `zoo`, see `small_zoo`."""
    with labs.filled(small_zoo) as lab:
        yield lab


@pytest.fixture
def catalog(lab: Lab) -> Catalog:
    return lab.catalog


@pytest.fixture
def settings(lab: Lab) -> Settings:
    return Settings(lab.catalog.path)


@pytest.fixture
def app(catalog: Catalog, settings: Settings) -> FastAPI:
    return create_app(catalog, settings, main)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A client on this machine: all scopes without a token."""
    with TestClient(app, BASE, raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def make_client(catalog: Catalog, settings: Settings) -> Iterator[MakeClient]:
    """Return `make(base_url=..., require_token=True, ...)`, which makes a client of an app with these settings."""
    opened: list[TestClient] = []

    def make(base_url: str = BASE, **changes: object) -> TestClient:
        app = create_app(catalog, dataclasses.replace(settings, **changes), main)  # type: ignore[arg-type]
        opened.append(TestClient(app, base_url, raise_server_exceptions=False))
        return opened[-1].__enter__()

    yield make
    for one in opened:
        one.__exit__()
