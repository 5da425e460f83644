"""The strategy `blip` from picture files to captions; what is wrong with a model is one line that says what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from curator import captioners
from curator.captioners.model import DoesNotFit, Item, MachineFailed
from curator.images.unusable import CannotRead
from schemas.errors import AmatlError, BadOption, NotFound
from tests.curator.captioners.blip import tiny_blip
from tests.curator.captioners.blip.tiny_blip import SIDE_PX, pictures

BLIP = captioners.load("blip")
EXAMPLES = Path(__file__).resolve().parents[4] / "examples"
MINI = EXAMPLES / "mini" / "blip"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_blip.save(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """Pictures as files."""
    place = tmp_path_factory.mktemp("pictures")
    made = []
    for number, pixels in enumerate(pictures()[:9]):
        path = place / f"{number}.png"
        Image.fromarray(pixels.transpose(1, 2, 0)).save(path)
        made.append(Item(f"{number:064}", str(path)))
    return made


def options(folder: Path, *more: str) -> Any:
    return captioners.parse_options(BLIP, [f"model={folder}", "device=cpu", *more])


def written(folder: Path, items: Sequence[Item], *more: str) -> list[str]:
    assert BLIP.load_model is not None
    model = BLIP.load_model(options(folder, *more))
    answers = model.generate(items, [model.preprocess(item) for item in items])
    model.close()
    assert all(answer.text is not None and answer.reason is None for answer in answers)
    return [str(answer.text) for answer in answers]


def by_the_reference(folder: Path, items: Sequence[Item], prompt: str | None) -> list[str]:
    """As BLIP's own documentation does it, but for torchvision."""
    from transformers import AutoTokenizer, BlipForConditionalGeneration
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    model = BlipForConditionalGeneration.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    images = [Image.open(item.path) for item in items]
    inputs = BlipImageProcessorPil.from_pretrained(folder)(images, return_tensors="pt")
    text = tokenizer([prompt] * len(items), return_tensors="pt", return_token_type_ids=False) if prompt else {}
    tokens = model.generate(**inputs, **text, max_new_tokens=20, do_sample=False)
    return [tokenizer.decode(row, skip_special_tokens=True) for row in tokens]


@pytest.mark.parametrize("prompt", [None, "a picture of the red fox"])
def test_captions_are_those_of_transformers(prompt: str | None, folder: Path, items: list[Item]) -> None:
    captions = written(folder, items, *([f"prompt={prompt}"] if prompt else []))
    assert captions == by_the_reference(folder, items, prompt)
    assert len(set(captions)) > 3
    if prompt:
        assert all(caption.startswith(prompt) for caption in captions)
        without = written(folder, items, f"prompt={prompt}", "keep_prompt=false")
        assert without == [caption.removeprefix(prompt).strip() for caption in captions]


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 3])
def test_a_trained_models_captions_are_those_of_generate(beams: int) -> None:
    """The miniature over OpenMoji, in float32; both are given the same pixels (transparent parts are white)."""
    from transformers import BlipForConditionalGeneration
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    decode = ["decode=beam", f"num_beams={beams}"] if beams > 1 else []
    assert BLIP.load_model is not None
    model: Any = BLIP.load_model(options(MINI, *decode))
    files = sorted((EXAMPLES / "openmoji" / "images").rglob("*.png"))[::6]
    items = [Item(path.stem, str(path)) for path in files]
    pixels = [model.preprocess(item) for item in items]
    captions = [answer.text for answer in model.generate(items, pixels)]
    network = BlipForConditionalGeneration.from_pretrained(MINI, dtype=torch.float32)
    processor = BlipImageProcessorPil.from_pretrained(MINI)
    assert processor.size == {"height": 64, "width": 64}  # so it only normalises
    values = processor([picture.transpose(1, 2, 0) for picture in pixels], return_tensors="pt")["pixel_values"]
    rows = network.generate(pixel_values=values, max_new_tokens=20, do_sample=False, num_beams=beams)
    assert captions == [text.strip() for text in model.tokenizer.batch_decode(rows, skip_special_tokens=True)]
    assert len(set(captions)) > len(files) // 4


@pytest.mark.slow
def test_sampling_is_keyed_by_the_picture(folder: Path, items: list[Item]) -> None:
    nucleus = ["decode=nucleus", "top_p=0.95", "temperature=1.2"]
    whole = written(folder, items, *nucleus)
    assert [written(folder, [item], *nucleus)[0] for item in items[:2]] == whole[:2]
    assert written(folder, items[::-1], *nucleus) == whole[::-1]
    assert written(folder, items, *nucleus, "seed=1") != whole
    renamed = [Item("f" * 64, item.path) for item in items]
    assert written(folder, renamed, *nucleus) != whole


def test_what_it_took_is_counted(folder: Path, items: list[Item]) -> None:
    assert BLIP.load_model is not None
    model = BLIP.load_model(options(folder, "prompt=a picture", "max_new_tokens=4", "batch_size=3"))
    assert model.batch_size == 3
    answers = model.generate(items, [model.preprocess(item) for item in items])
    assert {answer.input_tokens for answer in answers} == {3}
    assert {answer.output_tokens for answer in answers} <= {1, 2, 3, 4}
    model.close()


def test_a_picture_is_prepared_as_by_the_image_processor(folder: Path, tmp_path: Path) -> None:
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    assert BLIP.load_model is not None
    model = BLIP.load_model(options(folder))
    path = tmp_path / "wide.png"
    pixels = np.kron(np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8), np.ones((10, 10, 1), np.uint8))
    Image.fromarray(pixels).save(path)
    processor = BlipImageProcessorPil.from_pretrained(folder, do_normalize=False, do_rescale=False)
    wanted = processor(Image.open(path), return_tensors="np")["pixel_values"][0]
    prepared = model.preprocess(Item("0", str(path)))
    assert prepared.shape == (3, SIDE_PX, SIDE_PX)
    assert prepared.dtype == np.uint8
    assert np.abs(prepared.astype(int) - wanted.astype(int)).max() <= 2
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CannotRead, match="truncated"):
        model.preprocess(Item("0", str(path)))


def test_memory_that_runs_out_is_said_to_the_runner(
    folder: Path, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    from curator.captioners.blip.engine import Engine

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    assert BLIP.load_model is not None
    model = BLIP.load_model(options(folder))
    monkeypatch.setattr(Engine, "_generate", full)
    with pytest.raises(DoesNotFit):
        model.generate(items, [model.preprocess(item) for item in items])


# ---- options and revisions


def test_the_model_is_known_by_its_files(folder: Path, tmp_path: Path) -> None:
    here = BLIP.model(options(folder))
    moved = shutil.copytree(folder, tmp_path / "tiny")
    there = BLIP.model(options(moved))
    assert here == there
    assert here is not None
    assert here.name == "tiny"
    (moved / "generation_config.json").write_text("{}")
    changed = BLIP.model(options(moved))
    assert changed is not None
    assert changed.revision != here.revision


def test_knowing_the_model_loads_no_torch(folder: Path) -> None:
    code = (
        "import sys; from curator import captioners; blip = captioners.load('blip');"
        f"blip.model(captioners.parse_options(blip, ['model={folder}']));"
        "print([name for name in ('torch', 'transformers', 'numpy', 'polars', 'duckdb') if name in sys.modules])"
    )
    assert run(code) == "[]"


@pytest.mark.slow
def test_captioning_needs_neither_polars_nor_duckdb(folder: Path, items: list[Item]) -> None:
    code = f"""
import sys
from curator import captioners
from curator.captioners.model import Item
from curator.captioners.model.batch_runner import BatchRunner
blip = captioners.load("blip")
model = blip.load_model(captioners.parse_options(blip, ["model={folder}", "device=cpu"]))
batches = list(BatchRunner(model).run([Item("0", {items[0].path!r}), Item("1", {items[1].path!r})]))
print([type(written.text).__name__ for batch in batches for written in batch.outputs])
print([name for name in ("polars", "duckdb", "cv2", "torchvision") if name in sys.modules])
"""
    assert run(code).splitlines() == ["['str', 'str']", "[]"]


def run(code: str) -> str:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize(
    "given, said",
    [
        (["min_new_tokens=9", "max_new_tokens=3"], "min_new_tokens=9 is more than max_new_tokens=3"),
        (["decode=beams"], "greedy"),
        (["num_beams=4"], "num_beams is an option of decode=beam, and decode is greedy"),
        (["decode=beam", "seed=1"], "seed is an option of decode=nucleus, and decode is beam"),
        (["num_beams=1"], "greater than or equal to 2"),
        (["top_p=0"], "greater than 0"),
        (["device=gpu"], "should match pattern"),
    ],
)
def test_options_are_checked(given: list[str], said: str) -> None:
    with pytest.raises(BadOption, match=said):
        captioners.parse_options(BLIP, given)


# ---- what can be wrong


def refused(kind: type[AmatlError], folder: Path | str, *more: str) -> str:
    assert BLIP.load_model is not None
    with pytest.raises(kind) as caught:
        BLIP.load_model(captioners.parse_options(BLIP, [f"model={folder}", *more]))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_caption_too_long_for_the_model(folder: Path) -> None:
    assert "Use at most 39." in refused(BadOption, folder, "max_new_tokens=64", "device=cpu")


def test_a_device_that_isnt_there(folder: Path) -> None:
    assert "-o device=cuda:63" in refused(BadOption, folder, "device=cuda:63")


def test_no_such_model(tmp_path: Path) -> None:
    assert "isn't a model's folder" in refused(NotFound, tmp_path)
    gone = tmp_path / "gone" / "far" / "away"
    assert f"-o model={gone}: There is no folder" in refused(NotFound, gone)
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    assert "StableDiffusionPipeline, which generates images" in refused(NotFound, tmp_path)


def test_another_kind_of_model(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "model_type": "llava"}))
    said = refused(MachineFailed, other)
    assert "not a BLIP but a llava" in said
    assert "--strategy vision" in said


def test_a_blip_that_doesnt_caption(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    other = shutil.copytree(folder, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if not name.startswith("text_decoder")}
    save_file(kept, other / "model.safetensors", metadata={"format": "pt"})
    said = refused(MachineFailed, other)
    assert "lacks" in said and "text_decoder" in said and "BlipForConditionalGeneration" in said


@pytest.mark.parametrize("how", ["cut", "garbage", "gone"])
def test_damaged_weights(how: str, folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    weights = other / "model.safetensors"
    whole = weights.read_bytes()
    if how == "gone":
        weights.unlink()
    else:
        weights.write_bytes(whole[: len(whole) // 2] if how == "cut" else b"\0" * 100)
    said = refused(MachineFailed, other)
    assert "-o model=other: can't be loaded" in said
    assert "Copy the folder again" in said


def test_parts_that_dont_belong_together(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    processor = json.loads((other / "processor_config.json").read_text())
    processor["image_processor"]["size"] = {"height": 64, "width": 64}
    (other / "processor_config.json").write_text(json.dumps(processor))
    assert "doesn't resize to 32x32" in refused(MachineFailed, other)


def test_a_prompt_that_leaves_no_place_for_a_caption_is_to_be_shortened(folder: Path) -> None:
    assert BLIP.load_model is not None
    with pytest.raises(BadOption, match=r"^-o prompt: 600 tokens, but the model takes \d+ .*Shorten"):
        BLIP.load_model(options(folder, "prompt=" + "a " * 600))


def test_vision_takes_a_blip_too(items: list[Item]) -> None:
    from curator.captioners.vision.captioner import load_model

    for prompt in ("", "a picture of"):
        vision = captioners.parse_options(captioners.load("vision"), {"model": str(MINI), "prompt": prompt})
        model = load_model(vision)
        answers = model.generate(items[:2], [model.preprocess(item) for item in items[:2]])
        assert all(answer.text and answer.text.startswith(prompt) and answer.text != prompt for answer in answers)
