"""The prose specifications, executed: right examples are right and wrong ones wrong, for schema and model alike."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import rfc8785
from pydantic import ValidationError

import schemas
from schemas.__main__ import DOCUMENTS, json_schema
from schemas.digest import snapshot_identity
from schemas.exchange import pictures, record_digest, run_key
from schemas.run import RunReport
from schemas.snapshot import manifest_digest

FOLDER = Path(schemas.__file__).parent / "spec"
FENCE = re.compile(r"^```(?P<info>[^\n]+)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block: `info` is what stands after the fence."""

    file: str
    info: str
    text: str


def blocks() -> list[Block]:
    return [
        Block(path.name, match["info"], match["text"])
        for path in sorted(FOLDER.glob("*.md"))
        for match in FENCE.finditer(path.read_text(encoding="utf-8"))
    ]


def text(file: str, info: str) -> str:
    (found,) = [block.text for block in blocks() if (block.file, block.info) == (file, info)]
    return found


def example(document: str) -> Any:
    """The valid example of a document; there is exactly one."""
    (found,) = [block.text for block in blocks() if block.info == f"json {document}"]
    return json.loads(found)


def patched(document: Any, patch: Any) -> Any:
    """A JSON merge patch applied (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    document = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            document.pop(name, None)
        else:
            document[name] = patched(document.get(name), value)
    return document


def is_valid(name: str, document: Any) -> tuple[bool, bool]:
    """What the JSON Schema says, and what the model says."""
    by_schema = jsonschema.Draft202012Validator(json.loads(json_schema(name))).is_valid(document)
    try:
        DOCUMENTS[name].model_validate_json(json.dumps(document))
    except ValidationError:
        return by_schema, False
    return by_schema, True


WRONG = [block for block in blocks() if re.match(r"json \w+ invalid", block.info)]
OTHER = {"json samples", "json identities"}


def test_every_json_block_is_one_a_test_knows() -> None:
    known = {f"json {name}" for name in DOCUMENTS} | OTHER | {block.info for block in WRONG}
    assert {block.info for block in blocks() if block.info.startswith("json ")} == known
    assert all(block.info.split()[0] in ("json", "jsonl", "text") for block in blocks())


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_example_is_valid_and_says_all_there_is(name: str) -> None:
    document = example(name)
    assert is_valid(name, document) == (True, True)
    model = DOCUMENTS[name]
    assert set(document) >= set(model.model_fields)


@pytest.mark.parametrize("block", WRONG, ids=lambda block: block.info)
def test_a_wrong_example_is_refused(block: Block) -> None:
    name = block.info.split()[1]
    assert is_valid(name, patched(example(name), json.loads(block.text))) == (False, False)


def test_the_identity_is_computed_as_told() -> None:
    samples = json.loads(text("snapshot.md", "json samples"))
    canonical = text("snapshot.md", "text canonical").rstrip("\n")
    told = json.loads(text("snapshot.md", "json identities"))
    assert rfc8785.dumps(sorted(samples, key=lambda sample: sample[0])).decode() == canonical
    assert hashlib.sha256(canonical.encode()).hexdigest() == told["identity"]
    assert snapshot_identity(map(tuple, samples)) == told["identity"]
    assert snapshot_identity((sha256, {}, split) for sha256, _, split in samples) == told["images_identity"]


def test_the_receipt_is_that_of_the_run_of_the_examples() -> None:
    content, receipt = text("run.md", "json run").encode(), example("receipt")
    report = RunReport.model_validate_json(content)
    canonical = text("exchange.md", "text canonical").rstrip("\n")
    assert receipt["digest"] == record_digest(content)
    assert receipt["run"] == run_key(report) == hashlib.sha256(canonical.encode()).hexdigest()
    assert receipt["name"] == report.name
    assert set(receipt["missing"]) < {file.sha256 for file in pictures(report)}


def test_the_snapshot_of_the_examples_agrees_with_itself() -> None:
    manifest = example("snapshot")
    samples = []
    for split, count in manifest["splits"].items():
        metadata = text("snapshot.md", f"jsonl {count['metadata']['path']}").encode()
        assert hashlib.sha256(metadata).hexdigest() == count["metadata"]["sha256"]
        assert len(metadata) == count["metadata"]["size_bytes"]
        rows = [json.loads(line) for line in metadata.split(b"\n") if line]
        assert len(rows) == count["samples"]
        for row in rows:
            assert is_valid("sample", row) == (True, True)
            captions = {track["name"]: row[track["column"]] for track in manifest["tracks"]}
            samples.append((row["sha256"], captions, split))
    assert snapshot_identity(samples) == manifest["identity"]
    assert manifest_digest(manifest) == manifest["manifest_digest"]
    assert {"identity": manifest["identity"], "images_identity": manifest["images_identity"]} == json.loads(
        text("snapshot.md", "json identities")
    )


def test_the_run_of_the_example_keeps_its_own_rules() -> None:
    run = example("run")
    assert len(run["prompt_references"]) == len(run["prompts"])
    assert [checkpoint["epoch"] for checkpoint in run["checkpoints"]] == [0, 2]
    for checkpoint in run["checkpoints"]:
        evaluation, grid = checkpoint["evaluation"], checkpoint["grid"]
        assert (grid["rows"], grid["columns"]) == (len(run["prompts"]), len(run["seeds"]))
        unrelated = [prompt for prompt in run["prompts"] if prompt["role"] == "unrelated"]
        assert len(evaluation["leakage"]) == len(unrelated) * len(run["seeds"])
        assert set(evaluation["held_out"]) == {track["name"] for track in run["snapshot"]["tracks"]}
        for losses in [*evaluation["held_out"].values(), *evaluation["held_out_shuffled"].values()]:
            assert len(losses) == len(run["held_out_images"])
        for losses in evaluation["train_subset"].values():
            assert len(losses) == len(run["train_subset_images"])


@pytest.mark.parametrize("path", ["a.png", "train/a.png", "..a/b", ".a", "a..b/..."])
def test_paths_inside(path: str) -> None:
    assert is_valid("sample", example("sample") | {"file_name": path}) == (True, True)


@pytest.mark.parametrize(
    "path", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/..", "./a", "a/.", "..", "a\\b", "C:\\a"]
)
def test_paths_outside(path: str) -> None:
    assert is_valid("sample", example("sample") | {"file_name": path}) == (False, False)
