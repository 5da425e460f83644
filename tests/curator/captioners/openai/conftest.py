"""Fixtures: an environment without keys, and images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from curator.captioners.model import Item

KEY = "sk-secret-0123456789abcdef"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "OPENAI_BASE_URL",
        "OPENAI_ORG_ID",
        "OPENAI_PROJECT_ID",
        "OPENAI_ADMIN_KEY",
        "HTTP_PROXY",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Pictures of different colours; the field `name` tells them apart at the server."""
    return [_item(tmp_path, number) for number in range(12)]


def _item(folder: Path, number: int, size: tuple[int, int] = (40, 30), **fields: Any) -> Item:
    path = folder / f"{number}.png"
    Image.new("RGB", size, (20 * number, 90, 10)).save(path)
    return Item(f"{number:064x}", str(path), {"name": f"picture {number}", **fields})
