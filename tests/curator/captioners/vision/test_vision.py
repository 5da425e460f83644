"""The caption model of the strategy `vision`, on miniatures of many families: what it asks, keeps, and depends on."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from curator.captioners import from_module, parse_options, vision
from curator.captioners.model import Item, MachineFailed, Output
from curator.captioners.model.batch_runner import BatchRunner
from curator.captioners.vision.captioner import VisionModel
from curator.captioners.vision.load import _missing_package
from curator.captioners.vision.options import Options
from curator.captioners.vision.sampling import NucleusSampler
from curator.images.unusable import CannotRead
from schemas.errors import AmatlError, BadOption, NotFound
from tests.curator.captioners.vision.tiny_models import FAMILIES, make

# PaliGemma's processor makes labels that nobody asked for, in a way that numpy deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TOKENS = 8
# Of decoders, encoder-decoders and those without a prompt, one each; the others are slow.
QUICK = ("llava", "florence2", "vit_gpt2")
EACH_FAMILY = [family if family in QUICK else pytest.param(family, marks=pytest.mark.slow) for family in FAMILIES]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of every family's miniature."""
    torch.set_num_threads(1)  # threads of matrices this small only wait for each other
    folder = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        make(family, folder / family)
    return folder


@pytest.fixture(scope="session")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """Pictures of several shapes, and names of several lengths."""
    folder = tmp_path_factory.mktemp("pictures")
    made = []
    for number, size in enumerate([(90, 50), (60, 60), (90, 50), (50, 120), (64, 64)]):
        Image.effect_noise(size, 40 + 30 * number).convert("RGB").save(folder / f"{number}.png")
        made.append(Item(f"{number:064x}", str(folder / f"{number}.png"), {"name": "fox " * number}))
    return made


def load(models: Path, family: str, **options: Any) -> VisionModel:
    usual = {
        "prompt": FAMILIES.get(family, (None, "x"))[1],
        "max_new_tokens": TOKENS,
        "unfinished": "keep",
        "device": "cpu",
    }
    made = vision.load_model(Options(model=str(models / family), **{**usual, **options}))
    assert isinstance(made, VisionModel)
    return made


def run(model: VisionModel, items: Sequence[Item]) -> list[Output]:
    return model.generate(items, [model.preprocess(item) for item in items])


# ---- what it writes depends on the image alone


@pytest.mark.parametrize("family", EACH_FAMILY)
def test_neighbours_make_no_difference(models: Path, items: list[Item], family: str) -> None:
    """Prompts of several lengths and pictures of several shapes in one batch: padding and grouping are at work."""
    prompt = FAMILIES[family][1].replace("<CAPTION>", "") + " ${name|default '.'}"
    model = load(models, family, prompt=prompt)
    prepared = [model.preprocess(item) for item in items]
    together = model.generate(items, prepared)
    alone = [model.generate([item], [one])[0] for item, one in zip(items, prepared, strict=True)]
    assert together == alone
    assert model.generate(items[::-1], prepared[::-1]) == together[::-1]


@pytest.mark.parametrize("family", EACH_FAMILY)
def test_the_caption_is_what_generate_adds_to_the_prompt(models: Path, items: list[Item], family: str) -> None:
    model = load(models, family)
    (written,) = run(model, items[:1])
    inputs = dict(model.preprocess(items[0]))
    with torch.inference_mode():
        tokens = model.model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=TOKENS)[0].tolist()
    prompt = inputs["input_ids"][0].tolist() if "input_ids" in inputs else []
    new = tokens[len(prompt) :] if tokens[: len(prompt)] == prompt else tokens
    assert (written.text or "") == model.processor.decode(new).strip()
    assert written.input_tokens == len(prompt)
    assert 0 < written.output_tokens <= TOKENS
    assert "Describe" not in (written.text or "")


def test_llava_is_asked_as_its_own_classes_would(models: Path, items: list[Item]) -> None:
    from transformers import LlavaForConditionalGeneration, LlavaProcessor

    processor = LlavaProcessor.from_pretrained(models / "llava")
    model = LlavaForConditionalGeneration.from_pretrained(models / "llava")
    with Image.open(items[0].path) as image:
        parts = [{"type": "image", "image": image.convert("RGB")}, {"type": "text", "text": "Describe it."}]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": parts}],
            add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        )  # fmt: skip
    tokens = model.generate(**inputs, do_sample=False, max_new_tokens=TOKENS)[0, inputs["input_ids"].shape[1] :]
    expected = processor.decode(tokens, skip_special_tokens=True).strip()
    (written,) = run(load(models, "llava"), items[:1])
    assert written.text == expected


def test_beams_are_those_of_generate(models: Path, items: list[Item]) -> None:
    greedy, beams = load(models, "qwen2_vl"), load(models, "qwen2_vl", decode="beam", num_beams=4)
    written = run(beams, items)
    assert written != run(greedy, items)
    inputs = dict(beams.preprocess(items[3]))
    tokens = beams.model.generate(**inputs, num_beams=4, do_sample=False, max_new_tokens=TOKENS)[0]
    assert written[3].text == beams.processor.decode(tokens[inputs["input_ids"].shape[1] :].tolist()).strip()


def test_sampling_is_keyed_by_seed_and_image(models: Path, items: list[Item]) -> None:
    model = load(models, "llava", decode="nucleus", temperature=1.0, seed=1)
    written = run(model, items)
    assert len({one.text for one in written}) == len(items)
    assert [run(model, [item])[0] for item in items[::-1]] == written[::-1]
    assert run(load(models, "llava", decode="nucleus", temperature=1.0, seed=2), items) != written
    narrow = load(models, "llava", decode="nucleus", top_p=0.001)
    assert run(narrow, items) == run(load(models, "llava"), items), "the likeliest token alone is greedy"


def test_draws_follow_the_probabilities() -> None:
    likely = torch.tensor([0.5, 0.3, 0.15, 0.05])
    images = [f"{number:064x}" for number in range(4000)]
    forced_BV = NucleusSampler(7, images, temperature=1.0, top_p=0.9)(torch.zeros(0), likely.log().expand(4000, 4))
    shares = forced_BV.isfinite().float().mean(0)
    assert shares.tolist() == pytest.approx([0.526, 0.316, 0.158, 0.0], abs=0.03)


# ---- how it asks


def test_chat_templates_of_every_kind_get_picture_system_and_prompt(models: Path) -> None:
    asked = {
        "llava": "SYSTEM: Be brief.USER: <image>Describe it.ASSISTANT: ",
        "joycaption": "SYSTEM: Be brief.\nUSER: <image>\nDescribe it.\nASSISTANT: ",
        "qwen2_vl": "SYSTEM: Be brief.USER: <|vision_start|><|image_pad|><|vision_end|>Describe it.ASSISTANT: ",
    }
    for family, text in asked.items():
        reader = load(models, family, system="Be brief.").processor
        assert reader._texts("Describe it.") == [text]


def test_a_family_without_chat_may_be_asked_nothing_or_begun(models: Path, items: list[Item]) -> None:
    begun = load(models, "git", prompt="a painting of")
    tokens = begun.preprocess(items[0])["input_ids"][0].tolist()
    assert begun.processor.tokenizer.eos_token_id not in tokens, "a prompt to go on from isn't ended"
    assert len(tokens) == 1 + len("a painting of")
    assert (
        load(models, "llava_without_template", prompt="Describe").processor._texts("Describe")[1] == "<image>\nDescribe"
    )


def test_large_pictures_are_made_smaller_first(models: Path, tmp_path: Path) -> None:
    Image.new("RGB", (200, 100)).save(tmp_path / "large.png")
    item = Item("0" * 64, str(tmp_path / "large.png"))
    patches = load(models, "qwen2_vl").preprocess(item)["image_grid_thw"][0].tolist()
    fewer = load(models, "qwen2_vl", max_pixels=5000).preprocess(item)["image_grid_thw"][0].tolist()
    assert patches[1] * patches[2] > fewer[1] * fewer[2] > 0


def test_threads_prepare_the_same(models: Path, items: list[Item]) -> None:
    model = load(models, "qwen2_vl", prompt="Describe it. ${name|default '.'}")
    expected = [model.preprocess(item) for item in items]
    start = threading.Barrier(8)

    def prepare(number: int) -> None:
        if number < 8:
            start.wait()
        item = number % len(items)
        found = model.preprocess(items[item])
        assert all(torch.equal(found[name], value) for name, value in expected[item].items())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(prepare, range(80)))


# ---- when something fails


def test_out_of_memory_halves_the_batch(models: Path, items: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(models, "llava", batch_size=4)
    expected = run(model, items)
    generate, notices = model.model.generate, []

    def small_memory(**inputs: Any) -> Any:
        if len(inputs["input_ids"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(**inputs)

    monkeypatch.setattr(model.model, "generate", small_memory)
    batches = list(BatchRunner(model, threads=2, notice=notices.append).run(items))
    assert [written for batch in batches for written in batch.outputs] == expected
    assert notices == ["4 images at once don't fit the device's memory; continuing with 2."]


def test_a_picture_that_fails_is_its_own_failure(
    models: Path, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(models, "joycaption")
    expected = run(model, items)
    generate = model.model.generate
    bad = model.preprocess(items[1])["pixel_values"]

    def choosy(**inputs: Any) -> Any:
        if any(torch.equal(one, bad[0]) for one in inputs["pixel_values"]):
            raise ValueError("what is this?\nlong story")
        return generate(**inputs)

    monkeypatch.setattr(model.model, "generate", choosy)
    written = run(model, items)
    assert written[1] == Output(None, "the model failed at it (ValueError: what is this?)")
    assert written[:1] + written[2:] == expected[:1] + expected[2:]
    fresh = load(models, "joycaption")
    monkeypatch.setattr(fresh.model, "generate", choosy)
    with pytest.raises(MachineFailed, match=r"joycaption can't caption an image\. ValueError: what is this\?"):
        run(fresh, items[1:2])


def test_numbers_that_overflow_are_no_captions(models: Path, items: list[Item]) -> None:
    model = load(models, "llava")
    with torch.no_grad():
        model.model.lm_head.weight.fill_(torch.inf)
    (written,) = run(model, items[:1])
    assert written.text is None
    assert "overflow" in str(written.reason)


def test_an_answer_that_was_cut_off_is_told_from_one_that_ended(models: Path, items: list[Item]) -> None:
    (written,) = run(load(models, "llava", unfinished="fail", max_new_tokens=3), items[:1])
    assert (written.text, written.reason, written.output_tokens) == (None, "cut off at max_new_tokens=3", 3)


@pytest.mark.parametrize(
    ("family", "options", "error", "said"),
    [
        ("llava", {"prompt": ""}, BadOption, "needs a prompt: -o prompt="),
        ("florence2", {"prompt": ""}, BadOption, "-o prompt='<DETAILED_CAPTION>'"),
        ("florence2", {"prompt": "<OD>"}, BadOption, "boxes, not words"),
        ("blip2", {"system": "Be brief."}, BadOption, "has no chat template for it"),
        ("blip2", {"revision": "main"}, BadOption, "is a folder"),
        ("blip2", {"device": "cuda:7"}, BadOption, "-o device=cuda:7"),
        ("nothing", {}, NotFound, "no such model on the hub|hub can't be reached|can't be the name"),
    ],
)
def test_what_cannot_work_is_said_before_the_first_image(
    models: Path, family: str, options: dict[str, str], error: type[AmatlError], said: str
) -> None:
    if family not in FAMILIES:
        with pytest.raises(error, match=said):
            vision.load_model(Options(model="./" + family))
        return
    with pytest.raises(error, match=said):
        load(models, family, **options)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
            "is a 'llama' model.*isn't a captioning model",
        ),
        ({"model_type": "nonesuch"}, "doesn't know broken's model type nonesuch"),
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "code.Config"}},
            "brings its own code, and Amatl runs no",
        ),
    ],
)
def test_models_it_cannot_load(models: Path, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    folder = shutil.copytree(models / "llava", tmp_path / "broken")
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\n")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(MachineFailed, match=said):
        load(tmp_path, "broken", prompt="x")
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_missing_are_not_made_up(models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models / "llava", tmp_path / "half")
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if "projector" in name)
    save_file({name: value for name, value in weights.items() if name != lost}, folder / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    with pytest.raises(MachineFailed, match=r"half lacks 1 of its weights, such as .*projector"):
        load(tmp_path, "half", prompt="x")


def test_a_missing_package_is_named() -> None:
    from transformers import Qwen2VLVideoProcessor

    with pytest.raises(ImportError) as raised:
        Qwen2VLVideoProcessor()
    assert _missing_package("acme/seer", raised.value) == (
        "acme/seer needs the package torchvision: pip install torchvision"
    )
    with pytest.raises(ImportError) as raised:
        import no_such_package  # noqa: F401
    assert "pip install no_such_package" in _missing_package("acme/seer", raised.value)


# ---- options


def test_options_of_another_way_to_decode_are_refused() -> None:
    with pytest.raises(ValidationError, match="temperature is an option of decode=nucleus, and decode is greedy"):
        Options(model="m", temperature=0.5)
    with pytest.raises(ValidationError, match="num_beams is an option of decode=beam"):
        Options(model="m", decode="nucleus", num_beams=4)
    assert Options(**Options(model="m").model_dump()) == Options(model="m")
    with pytest.raises(BadOption, match=r"^-o: num_beams is an option of decode=beam, and decode is greedy\. Options"):
        parse_options(from_module("vision", vision), ["model=m", "num_beams=4"])


def test_a_picture_that_is_no_picture_is_a_reason(models: Path, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    with pytest.raises(CannotRead, match="the image can't be used"):
        load(models, "blip2").preprocess(Item("0" * 64, str(tmp_path / "x.png")))
