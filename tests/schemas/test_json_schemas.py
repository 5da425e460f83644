"""The committed JSON Schemas are those of the models, and are JSON Schemas."""

from __future__ import annotations

import json

import jsonschema
import pytest

from schemas.__main__ import DOCUMENTS, FOLDER, json_schema


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_committed_schema_is_current(name: str) -> None:
    committed = (FOLDER / f"{name}.schema.json").read_text(encoding="utf-8")
    assert committed == json_schema(name), "run: python -m schemas"


def test_there_is_no_other() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.schema.json" for name in DOCUMENTS}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_it_is_a_json_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(json_schema(name)))
