"""Write the JSON Schemas of the contract's documents: `python -m schemas`. A test checks that they are current."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel

from schemas.comparison import Comparison
from schemas.exchange import RunReceipt
from schemas.run import RunReport
from schemas.snapshot import SampleRow, SnapshotManifest

FOLDER = Path(__file__).parent / "json"
DOCUMENTS: dict[str, type[BaseModel]] = {
    "snapshot": SnapshotManifest,
    "sample": SampleRow,
    "run": RunReport,
    "comparison": Comparison,
    "receipt": RunReceipt,
}


def json_schema(name: str) -> str:
    """Return the text of a document's JSON Schema (draft 2020-12)."""
    model = DOCUMENTS[name]
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in DOCUMENTS:
        (FOLDER / f"{name}.schema.json").write_text(json_schema(name), encoding="utf-8")
