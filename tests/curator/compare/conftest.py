"""A dataset with pictures on disk and three sets of captions, for tests of the comparison."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from tests.curator.conftest import Labs
from tests.curator.lab import Lab
from tests.curator.text.tiny_clip import write_tiny_clip

NAMES = ("fox", "owl", "cat", "dog")
SAID = {
    "t": ("a red fox", "a red owl", "a red cat", "a red dog"),
    "h": ("a red fox", "night bird", "a red cat", "hound, brown"),
    "w": ("a red fox", "a red owl", "tabby", None),
}


def gradient(number: int) -> Image.Image:
    """40 x 30 px, another slope for each number: a picture whose crop and orientation tell."""
    rows, columns = np.mgrid[0:30, 0:40]
    channels = [rows * 8, columns * 6, (rows + columns * (number + 1)) % 256]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


@pytest.fixture
def lab(labs: Labs) -> Iterator[Lab]:
    """See `fill`."""
    with labs.filled(fill) as lab:
        yield lab


def fill(made: Lab) -> None:
    """Versions t@1 and h@1 over four images, w@1 over three of them."""
    images = [
        made.add(f"{name}.png", place, {"name": name, "tags": ["animal", name], "id": f"n{place}"})
        for place, name in enumerate(NAMES)
    ]
    for place, name in enumerate(NAMES):
        gradient(place).save(made.folder / "images" / f"{name}.png")
    for set_name, texts in SAID.items():
        made.commit(set_name, {image: text for image, text in zip(images, texts, strict=True) if text is not None})


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_clip(tmp_path_factory.mktemp("tokenizer")))
