"""BLIP with random weights, photographs and `generate`: what the captioning benchmark measures with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curator.captioners.blip.network import Network, from_transformers
from curator.captioners.model import Item
from curator.captioners.model.batch_runner import BatchRunner

MINI, PICTURES = Path("examples/mini/blip"), Path("examples/openmoji/images")
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
TOKENS = 20
TIME_S = 480  # after so long no further variant is begun: a GPU is dear


@dataclass(frozen=True)
class Scale:
    """How large the GPU's measurements are; `tiny` ones show on a CPU that they work."""

    side_px: int = 384
    photograph_px: int = 1024
    files: int = 512
    items: int = 16_384
    pictures: int = 2_048
    compared: int = 256
    batches: tuple[int, ...] = (32, 256)
    peak: int = 8_192
    rounds: int = 3
    text: dict[str, int] = field(default_factory=dict)
    vision: dict[str, int] = field(default_factory=dict)
    large: dict[str, int] = field(
        default_factory=lambda: {
            "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        }
    )  # fmt: skip


SMALL = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
TINY = Scale(32, 96, 8, 24, 12, 6, (4, 12), 64, 1, text=SMALL, vision=SMALL, large=SMALL)


# ---- what is measured


VOCABULARY = 30_524
END, BEGIN = 102, 30_522


def build(text: dict[str, int], vision: dict[str, int], side_px: int, patch: int = 16) -> Any:
    """Random weights; the vision tower's as large as the decoder's, or all pictures would have one caption."""
    from transformers import BlipConfig, BlipForConditionalGeneration

    torch.manual_seed(0)
    text = {"vocab_size": VOCABULARY, **text}
    if text["vocab_size"] <= BEGIN:
        text |= {"bos_token_id": 3, "sep_token_id": 2, "eos_token_id": 2}
    sizes = {"image_size": side_px, "patch_size": patch, "initializer_range": 0.02}
    return BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config={**vision, **sizes})).eval()


def save(folder: Path, model: Any, side_px: int) -> None:
    """The whole folder, with a BERT vocabulary of made-up words where no hub has the real one."""
    from transformers import BertTokenizer
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    model.save_pretrained(folder)
    special = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", END: "[SEP]", 103: "[MASK]", BEGIN: "[DEC]"}
    words = [special.get(number, f"word{number}") for number in range(VOCABULARY)]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    BertTokenizer.from_pretrained(folder, bos_token="[DEC]").save_pretrained(folder)
    BlipImageProcessorPil(size={"height": side_px, "width": side_px}).save_pretrained(folder)


def photograph(side_px: int, seed: int) -> bytes:
    """A JPEG with the detail of photographs at every scale; 1,024 px give about 270 kB."""
    from PIL import Image

    random = np.random.default_rng(seed)
    pixels = np.full((side_px, side_px, 3), 128, np.float32)
    for cells, strength in ((4, 60), (16, 30), (64, 15), (256, 12), (side_px, 4)):
        for channel in range(3):
            noise = Image.fromarray(random.normal(0, strength, (cells, cells)).astype(np.float32))
            pixels[:, :, channel] += np.asarray(noise.resize((side_px, side_px), Image.Resampling.BICUBIC))
    file = BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def write_photographs(folder: Path, scale: Scale) -> list[Item]:
    folder.mkdir()

    def write(number: int) -> Item:
        path = folder / f"{number:05}.jpg"
        path.write_bytes(photograph(scale.photograph_px, number))
        return Item(f"{number:064x}", str(path))

    with ThreadPoolExecutor() as pool:
        return list(pool.map(write, range(scale.files)))


def size_kb(files: Sequence[Item]) -> int:
    return sum(Path(item.path).stat().st_size for item in files) // len(files) // 1000


def pixels_of(data: bytes, side_px: int) -> np.ndarray:
    from curator.images.read import decode_rgb, resized

    return resized(decode_rgb(data, (side_px, side_px)), side_px, side_px)


def normalised(pixels_BCHW: np.ndarray) -> torch.Tensor:
    """As the reference takes them."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (torch.from_numpy(pixels_BCHW).float() / 255 - mean) / std


def given(model: Any, pixels_BCHW: np.ndarray, batch: int) -> list[torch.Tensor]:
    """Batches as transformers' `generate` takes them, on the device already: its time is to be its own."""
    firsts = range(0, len(pixels_BCHW), batch)
    return [normalised(pixels_BCHW[first : first + batch]).to(model.device, model.dtype) for first in firsts]


def generated(model: Any, batches: Sequence[torch.Tensor], **options: Any) -> list[torch.Tensor]:
    """transformers' own: tokens of each picture, the begin token first."""
    rows: list[torch.Tensor] = []
    for values in batches:
        rows += model.generate(pixel_values=values, max_new_tokens=TOKENS, do_sample=False, **options).cpu()
    return rows


def cut(row: torch.Tensor, network: Network) -> list[int]:
    """Up to the end token."""
    tokens: list[int] = row.tolist()
    return tokens[: tokens.index(network.end_token) + 1] if network.end_token in tokens else tokens


def write_parts(runner: BatchRunner, items: Sequence[Item], folder: Path) -> int:
    """A Parquet part a batch; returns the rows with a caption."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    rows = 0
    for number, batch in enumerate(runner.run(items)):
        columns = {
            "image_sha256": [item.image_sha256 for item in batch.items],
            "text": [written.text for written in batch.outputs],
            "reason": [written.reason for written in batch.outputs],
            "output_tokens": [written.output_tokens for written in batch.outputs],
        }
        pq.write_table(pa.table(columns), folder / f"part-{number:05}.parquet")
        rows += sum(text is not None for text in columns["text"])
    return rows


def tower_flops(network: Network) -> float:
    """Multiplications and additions of a picture through the tower."""
    tower, tokens = network.tower, network.image_tokens
    width, inner = tower.layers[0].inner.weight.shape[::-1]
    layer = 2 * tokens * (4 * width * width + 2 * width * inner) + 4 * tokens * tokens * width
    return float(len(tower.layers) * layer + 2 * (tokens - 1) * tower.patch.weight.numel())


def flops_of(network: Network) -> float:
    """The same of the whole: tower, the image's keys and values, and TOKENS steps of the decoder."""
    decoder, tokens = network.decoder, network.image_tokens
    words, width = decoder.words_VD.shape
    layer = decoder.layers[0]
    weights = 6 * width * width + 2 * layer.inner.weight.numel()
    step = len(decoder.layers) * (2 * weights + 4 * (tokens + TOKENS / 2) * width) + 2 * width * (width + words)
    return tower_flops(network) + len(decoder.layers) * 2 * tokens * layer.key_value.weight.numel() + TOKENS * step


def flops_a_picture(model: Any) -> float:
    return flops_of(from_transformers(model, MEAN, STD, 1 / 255))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def device_name(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return f"{name}, torch {torch.__version__}"
