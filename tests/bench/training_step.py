"""A training step from cached latents and embeddings, against the plain loop that encodes pixels and words each time.

Same model, images, captions, batch, optimiser and precision; the plain loop draws its noise from torch's generator and
mirrors no image. One epoch of each in turn, so that a busy machine slows both. Encoding for the cache isn't counted
among the steps: it is done once and its seconds are in the figures.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.digest import sha256_file
from tests.bench.table import Row

if TYPE_CHECKING:
    from trainer_client.config import TrainConfig
    from trainer_client.data.snapshot import Row as ImageRow
    from trainer_client.models import Family

BASE = os.environ.get("AMATL_BENCH_BASE", "examples/mini/sd")
PICTURES = Path("examples/openmoji")
IMAGES, BATCH, ROUNDS = 32, 8, 3
CAMERA_PX = 4000
WHOLE = 1_000_000  # So much to spare that nothing is decoded smaller.
Epoch = Callable[[], None]


def bench() -> list[Row]:
    from trainer_client.config import TrainConfig
    from trainer_client.device import choose_device, synchronise
    from trainer_client.models import load_family

    rows = image_rows()
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig.of(
            snapshot=PICTURES,
            base=BASE,
            captions="text",
            out=Path(folder) / "run",
            batch_size=BATCH,
            learning_rate=1e-6,
        )
        family = load_family(BASE, *choose_device())
        began = time.perf_counter()
        cached = cached_epoch(family, rows, config, Path(folder) / "cache")
        encoding = time.perf_counter() - began
        plain = plain_epoch(family, rows)
        seconds: dict[Epoch, list[float]] = {cached: [], plain: []}
        for turn in range(ROUNDS + 1):
            for epoch, times in seconds.items():
                began = time.perf_counter()
                epoch()
                synchronise(family.device)
                if turn:  # The first of each warms up.
                    times.append(time.perf_counter() - began)
    ours, theirs = (len(rows) / statistics.median(times) for times in seconds.values())
    detail = f"{ours:.1f} against {theirs:.1f} images/s on {family.device}; encoding once: {encoding:.1f} s"
    return [
        Row(f"training step, batch {BATCH}, {family.resolution_px} px", "encoding in each step", ours / theirs, detail),
        reading(),
    ]


def reading() -> Row:
    """Pictures of a camera, 4,000 px JPEGs of 2.8 MB, as 512 px, on one thread; against decoding all of each."""
    from tests.bench.blip_models import photograph
    from trainer_client.data import images
    from trainer_client.data.images import pixels
    from trainer_client.data.snapshot import Row as ImageRow

    seconds: dict[int, list[float]] = {images.SPARE_SIZE: [], WHOLE: []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "camera.jpg"
        path.write_bytes(photograph(CAMERA_PX, 1))
        row = ImageRow(path, sha256_file(path), {}, CAMERA_PX, CAMERA_PX)
        before = images.SPARE_SIZE
        for _ in range(ROUNDS + 2):
            for spare, times in seconds.items():
                images.SPARE_SIZE = spare
                began = time.perf_counter()
                pixels(row, 512)
                times.append(time.perf_counter() - began)
        images.SPARE_SIZE = before
    ours, theirs = (1 / statistics.median(times) for times in seconds.values())
    return Row(
        f"reading {CAMERA_PX} px JPEGs", "decoding all of each", ours / theirs, f"{ours:.0f} a second and thread"
    )


def image_rows() -> list[ImageRow]:
    """The first example pictures, each with a caption of its own."""
    from PIL import Image

    from trainer_client.data.snapshot import Row as ImageRow

    rows = []
    for number, path in enumerate(sorted(PICTURES.rglob("*.png"))[:IMAGES]):
        with Image.open(path) as image:
            width, height = image.size
        captions: dict[str, str | None] = {"text": f"openmoji drawing of thing {number}, animals and nature"}
        rows.append(ImageRow(path, sha256_file(path), captions, width, height))
    return rows


def cached_epoch(family: Family, rows: list[ImageRow], config: TrainConfig, cache: Path) -> Epoch:
    """An epoch as `trainer train` does it."""

    from trainer_client.data.batches import TrainingSet, epoch_steps
    from trainer_client.data.latents import cache_latents, cache_text
    from trainer_client.data.plan import Plan
    from trainer_client.methods import begin
    from trainer_client.train.train_step import TrainStep

    captions = [row.captions["text"] or "" for row in rows]
    text = cache_text(family, captions, cache)
    latents = cache_latents(family, rows, cache)
    data = TrainingSet([row.sha256 for row in rows], latents, text.indices(captions), text)
    plan = Plan(len(rows), BATCH, 1)
    learner = TrainStep(begin(family, config), config, plan)

    def epoch() -> None:
        for drawn in epoch_steps(family, data, plan, epoch=1):
            learner.learn(data, drawn)

    return epoch


def plain_epoch(family: Family, rows: list[ImageRow]) -> Epoch:
    """An epoch as the usual example script does it: decode, encode and tokenise in every step."""
    import torch

    from trainer_client.data.images import pixels

    weights = list(family.denoiser.parameters())
    optimiser = torch.optim.AdamW(weights, lr=1e-6, fused=True)

    def step(batch: list[ImageRow]) -> None:
        pictures = torch.stack([torch.from_numpy(pixels(row, family.resolution_px)) for row in batch])
        with torch.no_grad():
            mean, logvar = family.encode_images(pictures.permute(0, 3, 1, 2).float() / 127.5 - 1)
            text = family.encode_text(family.tokenise([row.captions["text"] or "" for row in batch]))
        latents = family.latents(mean, logvar, torch.randn_like(mean))
        noise = torch.randn_like(latents)
        timesteps = torch.randint(family.train_timesteps, (len(batch),), device=family.device)
        predicted = family.predict(family.denoiser, family.add_noise(latents, noise, timesteps), timesteps, text)
        (predicted - family.target(latents, noise, timesteps)).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0, foreach=True)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    def epoch() -> None:
        for start in range(0, len(rows), BATCH):
            step(rows[start : start + BATCH])

    return epoch
