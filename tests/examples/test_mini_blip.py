"""The mini BLIP loads as any BLIP does, is small, and its words depend on what OpenMoji pictures show."""

from __future__ import annotations

import csv
import importlib.util
import json
import logging
import random
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "mini" / "blip"
OPENMOJI = ROOT / "examples" / "openmoji"
EASY = ("carrot", "strawberry", "hamburger", "cactus", "lady beetle", "flamingo")


class Collector(logging.Handler):
    """Keeps what libraries complain about."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("blip_evaluate", ROOT / "examples/mini/recipe/blip_evaluate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any, list[str]]:
    """Model and processor, loaded with no option, and the warnings logged meanwhile."""
    from transformers import BlipForConditionalGeneration, BlipImageProcessorPil, BlipProcessor

    # Imported now: on a machine without torchvision the import itself logs a remark about image processors.
    assert BlipImageProcessorPil is not None
    collector, logger = Collector(), logging.getLogger("transformers")
    logger.addHandler(collector)
    try:
        model = BlipForConditionalGeneration.from_pretrained(FOLDER)
        processor = BlipProcessor.from_pretrained(FOLDER)
    finally:
        logger.removeHandler(collector)
    return model, processor, collector.messages


def pictures(recipe: ModuleType, wanted: slice | tuple[str, ...]) -> tuple[list[Any], list[str]]:
    """OpenMoji pictures on white and their annotations."""
    with (OPENMOJI / "metadata.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    rows = rows[wanted] if isinstance(wanted, slice) else [r for r in rows if r["annotation"] in wanted]
    images = [recipe.on_white(OPENMOJI / "images" / row["file_name"]) for row in rows]
    return images, [row["annotation"] for row in rows]


def test_loads_with_no_option_and_no_warning(loaded: tuple[Any, Any, list[str]]) -> None:
    model, processor, messages = loaded
    from PIL import Image

    assert messages == []
    assert model.dtype == torch.float32
    assert not model.training
    pixels = processor(images=Image.new("RGB", (100, 50), "white"), return_tensors="pt").pixel_values
    assert pixels.shape == (1, 3, 64, 64)


def test_folder_is_at_most_12_mb_of_fp16_safetensors() -> None:
    from safetensors import safe_open

    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 12_000_000
    weights = [path for path in files if path.suffix == ".safetensors"]
    assert len(weights) == 1
    with safe_open(weights[0], "pt") as tensors:
        assert {tensors.get_slice(key).get_dtype() for key in tensors.keys()} == {"F16"}  # noqa: SIM118
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".md", ".webp"}


def test_special_tokens_are_where_blip_looks_for_them(loaded: tuple[Any, Any, list[str]]) -> None:
    model, processor, _ = loaded
    text, tokenizer = model.config.text_config, processor.tokenizer
    assert len(tokenizer) == text.vocab_size
    assert (text.bos_token_id, text.sep_token_id, text.pad_token_id) == (
        tokenizer.convert_tokens_to_ids("[DEC]"),
        tokenizer.sep_token_id,
        tokenizer.pad_token_id,
    )
    assert tokenizer("a red fox").input_ids[0] == tokenizer.cls_token_id
    numbers = [text.bos_token_id, *tokenizer("woman's hat, red").input_ids[1:]]
    assert tokenizer.decode(numbers, skip_special_tokens=True) == "woman's hat, red"


@pytest.mark.slow
def test_captions_openmoji_better_than_without_looking(recipe: ModuleType, loaded: tuple[Any, Any, list[str]]) -> None:
    polars = pytest.importorskip("polars")
    from curator.text.similarity import token_f1

    model, processor, _ = loaded
    images, annotations = pictures(recipe, slice(0, None, 3))
    captions = recipe.greedy(model, processor, images, "cpu")

    def f1(texts: list[str]) -> float:
        return float(token_f1(polars.Series(texts), polars.Series(annotations)).mean())

    shuffled = random.Random(0).sample(captions, len(captions))
    assert f1(captions) == pytest.approx(recipe.mean_f1(captions, annotations))
    without_looking = (
        f1([Counter(captions).most_common(1)[0][0]] * len(captions)),
        f1([recipe.best_constant(annotations)] * len(captions)),
        f1(shuffled),
    )
    assert f1(captions) > 0.25  # measured: 0.333, on all pictures 0.372
    assert f1(captions) > 8 * max(without_looking)


def test_names_what_is_easy_to_name(recipe: ModuleType, loaded: tuple[Any, Any, list[str]]) -> None:
    model, processor, _ = loaded
    images, annotations = pictures(recipe, EASY)
    captions = recipe.greedy(model, processor, images, "cpu")
    assert len(annotations) == len(EASY)
    assert sum(caption == annotation for caption, annotation in zip(captions, annotations, strict=True)) >= 5


def test_a_prompt_is_continued(recipe: ModuleType, loaded: tuple[Any, Any, list[str]]) -> None:
    model, processor, _ = loaded
    images, _ = pictures(recipe, ("carrot",))
    inputs = processor(images=images, text=["a picture of"], return_tensors="pt")
    caption = processor.decode(model.generate(**inputs, max_new_tokens=16)[0], skip_special_tokens=True)
    assert caption.startswith("a picture of ") and len(caption.split()) > 3


def test_card_states_the_numbers_of_the_evaluation() -> None:
    numbers = json.loads((FOLDER / "numbers.json").read_text("utf-8"))["OpenMoji"]
    assert numbers["pictures"] == len(list((OPENMOJI / "images").iterdir()))
    card = (FOLDER / "README.md").read_text("utf-8")
    for name in ("f1", "f1 most frequent", "f1 best constant", "f1 shuffled"):
        assert f"{numbers[name]:.3f}" in card
