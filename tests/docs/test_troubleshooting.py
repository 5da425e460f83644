"""The errors on the page of troubleshooting are ones that the programs print."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def texts() -> list[str]:
    """Every text in the code; `…` for a value that is known only then."""
    found = []
    for folder in ("curator", "trainer_client", "schemas"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = (str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
                    found.append("".join(parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(" ".join(node.value.split()))
    return found


def test_every_error_is_printed_by_the_programs() -> None:
    page = (ROOT / "docs" / "pages" / "troubleshooting.md").read_text(encoding="utf-8")
    errors = re.findall(r"^\*\*`(.+)`\*\*$", page, re.MULTILINE)
    assert len(errors) >= 30
    for error in errors:
        parts = [re.escape(part) for part in error.split("…")]
        pattern = re.compile(".*".join(parts))
        assert any(pattern.search(text) for text in texts()), f"nothing prints: {error}"
