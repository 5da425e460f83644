"""Pictures of a class that the base draws once, for prior preservation: kept in the cache by all they depend on.

Picture n starts from noise of its own, a function of n alone, so that more of them keep the ones there are, and every
run on the same base and class trains on the same pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from schemas.digest import sha256_file, sha256_json
from schemas.progress import Progress, silent
from trainer_client.config.methods import Subject
from trainer_client.config.parts import SamplingOptions
from trainer_client.data.snapshot import Row
from trainer_client.models.family import Denoise, Family
from trainer_client.randomness import key, normal
from trainer_client.sample import write_png
from trainer_client.sample.engine import Drawing

FORMAT = 1  # Raise it when the same key would hold other pictures.


def class_images(
    family: Family,
    subject: Subject,
    options: SamplingOptions,
    cache: Path,
    compile: str = "auto",
    progress: Progress = silent,
) -> list[Row]:
    """Return the rows of the class's images, sampled unless the cache has them; [] if none are asked for."""
    if not subject.preserved:
        return []
    prompt = subject.class_prompt or ""
    folder = cache / "class" / _key(family, prompt, options)
    paths = [folder / f"{number:05d}.png" for number in range(subject.class_images)]
    missing = [number for number, path in enumerate(paths) if not _whole(path)]
    size = options.sample_batch_size
    drawing = Drawing(compile, len(missing), cache, progress)
    with drawing.by(family) as denoise:
        for start in range(0, len(missing), size):
            batch = missing[start : start + size]
            _draw(family, denoise, prompt, options, drawing.filled(batch), [paths[number] for number in batch])
            drawing.drew(len(batch))
            progress("drawing the class", len(paths) - len(missing) + start + len(batch), len(paths))
    return [_row(path) for path in paths]


def _key(family: Family, prompt: str, options: SamplingOptions) -> str:
    facts = {
        "format": FORMAT,
        "base": family.digest,
        "device": family.device.type,
        "precision": str(family.dtype),
        "resolution_px": family.resolution_px,
        "prompt": prompt,
        "steps": options.sample_steps,
        "guidance_scale": options.guidance_scale,
        **family.conventions.non_defaults(),
    }
    return sha256_json(facts)[:32]


@torch.no_grad()
def _draw(
    family: Family,
    denoise: Denoise,
    prompt: str,
    options: SamplingOptions,
    numbers: Sequence[int],
    paths: Sequence[Path],
) -> None:
    """Sample the images of these numbers, and write as many as there are paths."""
    keys_B = torch.tensor([key(number, "class", 0, 0, "") for number in numbers], device=family.device)
    noise_BCHW = normal(keys_B, family.latent_shape)
    with family.autocast():
        text_2TD = family.encode_text(family.tokenise([prompt, ""]))
        text_BTD = text_2TD[:1].expand(len(numbers), -1, -1)
        steps, scale = options.sample_steps, options.guidance_scale
        drawn = family.sample(denoise, text_BTD, text_2TD[1:], noise_BCHW, steps, scale)
    for picture_HWC, path in zip(drawn[: len(paths)].cpu(), paths, strict=True):
        write_png(Image.fromarray(picture_HWC.numpy()), path)


def _whole(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def _row(path: Path) -> Row:
    with Image.open(path) as image:
        width, height = image.size
    return Row(path, sha256_file(path), {}, width, height)
