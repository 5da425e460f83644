"""A miniature Stable Diffusion with random weights, and a small valid snapshot: both made here, in about a second."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

SENTENCES = [
    f"{style} of a {colour} {animal} {place}"
    for style in ("a drawing", "an image", "a photograph")
    for colour, animal in (("red", "fox"), ("grey", "wolf"), ("brown", "bear"), ("green", "frog"), ("yellow", "lion"))
    for place in ("in the snow", "by the river")
]
LOADED: dict[Any, Any] = {}
COLOURS = ["red", "green", "blue", "orange", "purple", "teal", "gold", "navy"]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tensors this small are slower on several threads, very much so on a busy machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def hardly_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No run times the device first: the figures mean nothing here. tests/trainer_client/check does, and some runs."""
    from trainer_client.check.benchmark import Benchmark

    monkeypatch.setattr("trainer_client.check.benchmark.MOST_CALLS", 1)
    monkeypatch.setattr("trainer_client.check.run_benchmark", lambda *_, **__: Benchmark(0.01, 0.01, 0.01, 0.01))


@pytest.fixture(autouse=True)
def bases_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives copies of the bases below, from memory. Modules that prove loading have a fixture of this name instead."""
    from trainer_client.models.folder import ModelFolder

    load = ModelFolder.load

    def copy_of(self: ModelFolder, model: Any, component: str, device: Any, **dtype: Any) -> Any:
        if not self.path.name.startswith("base-"):
            return load(self, model, component, device, **dtype)
        files = tuple((path, path.stat().st_mtime_ns) for path in sorted((self.path / component).iterdir()))
        key = (model, device, *dtype.items(), files)
        if key not in LOADED:
            LOADED[key] = load(self, model, component, device, **dtype)
        return copy.deepcopy(LOADED[key])

    monkeypatch.setattr(ModelFolder, "load", copy_of)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An epsilon base: 16 px pictures, 4x8x8 latents, random weights, in diffusers layout."""
    return write_base(tmp_path_factory.mktemp("base-epsilon"))


@pytest.fixture(scope="session")
def v_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, predicting v."""
    return write_base(tmp_path_factory.mktemp("base-v"), prediction_type="v_prediction")


@pytest.fixture(scope="session")
def xl_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature SDXL: the same pictures and latents, two text encoders of 16 and 24 features."""
    return write_xl_base(tmp_path_factory.mktemp("base-xl"))


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 train and 4 validation pictures of 24 px, tracks `template` (as `text`) and `human` (as `text_human`)."""
    return write_snapshot(tmp_path_factory.mktemp("snapshot"))


@pytest.fixture(scope="session")
def shaped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of pictures of several shapes."""
    sizes = ((24, 24), (48, 24), (24, 48), (40, 24), (24, 24))
    return write_snapshot(tmp_path_factory.mktemp("shaped"), sizes=sizes)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, which is also the default one."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("AMATL_CACHE", str(folder))
    return folder


def write_base(folder: Path, prediction_type: str = "epsilon") -> Path:
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from diffusers.utils import logging as diffusers_logging
    from transformers import CLIPTextConfig, CLIPTextModel
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    torch.manual_seed(0)
    tokenizer = write_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
    )
    scheduler = PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        steps_offset=1,
        prediction_type=prediction_type,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def write_xl_base(folder: Path) -> Path:
    import torch
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)
    tokenizers = [write_tokenizer(), write_tokenizer()]
    tokenizers[1].pad_token = "!"
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 77}
    marks = {"bos_token_id": tokenizers[0].bos_token_id, "eos_token_id": tokenizers[0].eos_token_id}
    shared = {"vocab_size": len(tokenizers[0]), **sizes, **marks, "pad_token_id": 1}
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=16 + 24,
        attention_head_dim=(2, 4),
        norm_num_groups=8,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 20,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
        scaling_factor=0.13025,
    )
    StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(CLIPTextConfig(hidden_size=16, intermediate_size=32, **shared)),
        text_encoder_2=CLIPTextModelWithProjection(
            CLIPTextConfig(hidden_size=24, intermediate_size=48, projection_dim=20, **shared)
        ),
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        unet=unet,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        ),
    ).save_pretrained(folder)
    return folder


def write_tokenizer() -> Any:
    """A CLIP tokenizer with a byte-pair vocabulary of the sentences' words, each put together from the left.

    Not learnt: the learner breaks ties by chance, and golden losses need the same ids in every process.
    """
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet)]
    merges: dict[tuple[str, str], None] = {}
    for word in sorted({word for sentence in SENTENCES for word in sentence.split()}):
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            merges[parts[0], parts[1]] = None
            parts[:2] = [parts[0] + parts[1]]
    tokens += dict.fromkeys(left + right for left, right in merges)
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=list(merges), model_max_length=77)


def write_snapshot(
    folder: Path,
    train: int = 12,
    validation: int = 4,
    caption: Callable[[str, int], dict[str, str | None]] | None = None,
    tracks: tuple[str, ...] = ("template", "human"),
    sizes: Sequence[tuple[int, int]] = ((24, 24),),
) -> Path:
    """A valid snapshot of drawn pictures of these sizes in turn. `caption(split, n)` gives each track's caption."""
    from schemas.digest import sha256_file, snapshot_identity
    from schemas.document import FileRef
    from schemas.snapshot import Selection, SnapshotManifest, SplitCount, Track

    caption = caption or _caption
    identity: list[tuple[str, dict[str, str | None], str]] = []
    splits: dict[Any, SplitCount] = {}
    for split, count in (("train", train), ("validation", validation)):
        (folder / split).mkdir(parents=True)
        lines = []
        for number in range(count):
            captions = caption(split, number)
            row = _picture(folder / split, number + (100 if split == "validation" else 0), sizes[number % len(sizes)])
            identity.append((row["sha256"], captions, split))
            columns = {"text" if name == tracks[0] else f"text_{name}": captions[name] for name in tracks}
            lines.append(json.dumps(row | columns))
        path = folder / split / "metadata.jsonl"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        reference = _reference(path, f"{split}/metadata.jsonl")
        splits[split] = SplitCount(samples=count, folder=split, metadata=reference)
    samples = folder / "samples.parquet"
    samples.write_bytes(b"provenance; the trainer checks its checksum and reads nothing of it")
    SnapshotManifest(
        identity=snapshot_identity(identity),
        images_identity=snapshot_identity((sha256, {}, split) for sha256, _, split in identity),
        dataset="drawn",
        tracks=[
            Track(
                name=name,
                column="text" if name == tracks[0] else f"text_{name}",
                version=f"drawn/{name}@1",
                version_digest=f"{number:064x}",
                strategies={name: train + validation},
                captions=train + validation,
                empty=0,
            )
            for number, name in enumerate(tracks)
        ],
        splits=splits,
        selection=Selection(),
        licenses={"CC0-1.0": train + validation},
        samples=FileRef(path="samples.parquet", sha256=sha256_file(samples), size_bytes=samples.stat().st_size),
        created_at="2026-11-23T12:00:00Z",
        created_by="test",
        tool="test",
    ).write(folder / "manifest.json")
    return folder


def _caption(split: str, number: int) -> dict[str, str | None]:
    colour = COLOURS[number % len(COLOURS)]
    return {"template": f"drawing of a {colour} frog", "human": f"{colour} shape {number} by the river, {split}"}


def _picture(folder: Path, number: int, size: tuple[int, int]) -> dict[str, Any]:
    """Draws a picture, names it by its content, and gives its row."""
    from PIL import Image, ImageDraw

    from schemas.digest import sha256_file

    image = Image.new("RGBA", (24, 24), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.ellipse((number % 7, number % 5, 14 + number % 9, 20), fill=COLOURS[number % len(COLOURS)])
    draw.point((number % 24, number // 24), fill="black")
    image = image if size == image.size else image.resize(size)
    path = folder / "picture.png"
    image.save(path)
    sha256 = sha256_file(path)
    named = path.rename(folder / f"{sha256[:16]}.png")
    size_bytes = named.stat().st_size
    return {
        "file_name": named.name,
        "sha256": sha256,
        "size_bytes": size_bytes,
        "width_px": size[0],
        "height_px": size[1],
    }


def _reference(path: Path, name: str) -> Any:
    from schemas.digest import sha256_file
    from schemas.document import FileRef

    return FileRef(path=name, sha256=sha256_file(path), size_bytes=path.stat().st_size)
