"""Old documents stay readable for ever; what a newer program added is ignored."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from schemas.__main__ import DOCUMENTS, json_schema
from schemas.document import Document
from schemas.errors import BadDocument

FIXTURES = Path(__file__).parent / "fixtures"
# Never edit a fixture, never drop one: add a line for each document of each release.
DIGESTS = {
    "v1/comparison.json": "ab19e6e6a7af05aab202cc0ae73cec873981699753b0322fa21d38fb92ea5104",
    "v1/receipt.json": "8d43b0270197fec7d367e0699148d906c19ca160a1238c5a4c2e24d1eb95f875",
    "v1/run.json": "7cc18cd2e845f2ca1e602f46f563e25e44b9858f6153a6e110eee71212bffb40",
    "v1/sample.json": "9c1dea91d993681a6dab616b9fc0fe27f4f406b6eb4d5da1cec6e03140111060",
    "v1/snapshot.json": "d1071df3a593c830c297cf20b6a890bffaebd55db032de72c1db651e0f357c85",
}


def unknown_fields_added(value: Any, schema: dict[str, Any], parts: dict[str, Any]) -> Any:
    """The document as a later minor version might write it: one more field in every object that has fields."""
    if "$ref" in schema:
        schema = parts[schema["$ref"].removeprefix("#/$defs/")]
    for choice in schema.get("anyOf", []):
        if value is not None and choice.get("type") != "null":
            return unknown_fields_added(value, choice, parts)
    if isinstance(value, list):
        return [unknown_fields_added(entry, schema["items"], parts) for entry in value]
    if not isinstance(value, dict):
        return value
    if "properties" not in schema:  # names are data here: tracks, reasons, settings
        rest = schema.get("additionalProperties", {})
        return {
            name: unknown_fields_added(entry, rest, parts) if isinstance(rest, dict) else entry
            for name, entry in value.items()
        }
    known = {
        name: unknown_fields_added(entry, schema["properties"].get(name, {}), parts) for name, entry in value.items()
    }
    return {**known, "added_in_v1_9": {"some": ["thing"]}}


@pytest.mark.parametrize("path", DIGESTS)
def test_a_fixture_is_as_it_was(path: str) -> None:
    assert sha256((FIXTURES / path).read_bytes()).hexdigest() == DIGESTS[path]


def test_no_fixture_is_missing() -> None:
    assert {path.relative_to(FIXTURES).as_posix() for path in FIXTURES.rglob("*.json")} == set(DIGESTS)


def as_written(read: Any, document: Any) -> Any:
    """What was read, without the fields that came later (and without a sample's tracks, whose names are data)."""
    if isinstance(read, dict):
        return {name: as_written(read[name], document[name]) for name in document if name in read}
    if isinstance(read, list):
        return [as_written(*entries) for entries in zip(read, document, strict=True)]
    return read


@pytest.mark.parametrize("path", DIGESTS)
def test_an_old_document_is_read_today(path: str) -> None:
    name = Path(path).stem
    document = json.loads((FIXTURES / path).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(json.loads(json_schema(name))).validate(document)
    read = DOCUMENTS[name].model_validate(document).model_dump(mode="json")
    assert as_written(read, document) == {field: document[field] for field in document if field[:5] != "text_"}


@pytest.mark.parametrize("path", DIGESTS)
def test_unknown_fields_are_ignored_everywhere(path: str) -> None:
    name = Path(path).stem
    text = (FIXTURES / path).read_text(encoding="utf-8")
    schema = json.loads(json_schema(name))
    newer = unknown_fields_added(json.loads(text), schema, schema.get("$defs", {}))
    assert json.dumps(newer).count("added_in_v1_9") > (0 if name in ("sample", "receipt") else 3)
    jsonschema.Draft202012Validator(schema).validate(newer)
    assert DOCUMENTS[name].model_validate(newer) == DOCUMENTS[name].model_validate_json(text)


@pytest.mark.parametrize("path", [path for path in DIGESTS if "sample" not in path])
def test_an_unknown_major_version_is_refused_by_name(path: str, tmp_path: Path) -> None:
    model = DOCUMENTS[Path(path).stem]
    assert issubclass(model, Document)
    document = json.loads((FIXTURES / path).read_text(encoding="utf-8"))
    (tmp_path / "new.json").write_text(json.dumps(document | {"type": document["type"].replace("v1", "v2")}))
    with pytest.raises(BadDocument, match=r"new\.json: type: "):
        model.read(tmp_path / "new.json")


@pytest.mark.parametrize("path", [path for path in DIGESTS if "sample" not in path])
def test_written_and_read_back(path: str, tmp_path: Path) -> None:
    model = DOCUMENTS[Path(path).stem]
    assert issubclass(model, Document)
    document = model.read(FIXTURES / path)
    document.write(tmp_path / "copy.json")
    assert model.read(tmp_path / "copy.json") == document
    assert [file.name for file in tmp_path.iterdir()] == ["copy.json"]
