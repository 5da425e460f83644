"""Fixtures: a catalog with a small zoo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.curator.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.close()


@pytest.fixture
def zoo(lab: Lab) -> dict[str, str]:
    """Ten pictures by name, two sets: `human@1` on seven of them, `empty@1` on all."""
    images = {
        f"{number}": lab.add(f"{number}.png", number, {"legs": number % 4, "annotation": f"beast {number}"}, "CC0")
        for number in range(8)
    }
    images["photo"] = lab.add("photo.jpg", 8, None, None, kind="jpeg", orientation=6)
    images["web"] = lab.add("web.webp", 9, None, "CC BY 4.0", kind="webp")
    lab.commit("human", {sha: f"a beast called {name}" for name, sha in images.items() if name not in "012"})
    lab.commit("empty", dict.fromkeys(images.values(), ""))
    return images
