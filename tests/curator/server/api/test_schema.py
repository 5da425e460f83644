"""Every operation of the description, asked with whatever fits its schema and what doesn't: never a failure of ours.

schemathesis makes the requests. Its own plugin doesn't know this pytest, so each operation is a plain property test.
"""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import response_schema_conformance

from curator.cli import main
from curator.server import Settings, create_app
from curator.snapshot import Holdout, snapshot
from tests.curator.lab import Lab

pytestmark = [pytest.mark.slow]
CHECKS = [not_a_server_error, response_schema_conformance]
EXAMPLES = 25
HOST = {"Host": "127.0.0.1:8400"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Return a lab with two images, a committed set and a snapshot."""
    made = Lab(tmp_path_factory.mktemp("schema"))
    images = {made.add(f"{name}.png", place, {"title": name}): f"a {name}" for place, name in enumerate(["fox", "owl"])}
    made.commit("human", images)
    snapshot(made.write(), ["human@1"], made.folder / "snapshot", holdout=Holdout(count=1))
    return made


@pytest.fixture(scope="module")
def app(lab: Lab) -> FastAPI:
    return create_app(lab.catalog, Settings(lab.catalog.path), main)


@pytest.fixture(scope="module")
def operations(app: FastAPI) -> list[Any]:
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=HOST)
    return [result.ok() for result in schema.get_all_operations()]


@pytest.fixture(scope="module")
def known(lab: Lab) -> dict[str, Any]:
    """Parameters of paths that lead to something."""
    identity = lab.catalog.snapshots()["identity"][0]
    image = lab.catalog.images_of_dataset("zoo")["image_sha256"][0]
    there = {"dataset": "zoo", "caption_set": "human", "sha256": image, "identity": identity, "number": 1}
    return there | {"path": "train/metadata.jsonl"}


def test_every_operation_is_asked(app: FastAPI, operations: list[Any]) -> None:
    assert {operation.path for operation in operations} == set(app.openapi()["paths"])


@pytest.mark.parametrize("anything", [True, False], ids=["any path", "paths that lead somewhere"])
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_it_never_fails(operations: list[Any], known: dict[str, Any], mode: GenerationMode, anything: bool) -> None:
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not {"parameters", "requestBody"} & set(operation.definition.raw):
            continue  # Nothing can be wrong about it.

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            if not anything:
                given_parameters = dict(case.path_parameters or {})
                case.path_parameters = {name: known.get(name, value) for name, value in given_parameters.items()}
            case.validate_response(case.call(headers=HOST), checks=CHECKS)

        ask()
