"""Judge a mini pipeline by numbers and pictures.

    python evaluate.py SD_FOLDER --dataset emoji.npz --openmoji DIR --out DIR

Numbers: held-out denoising loss with true and with shuffled captions (paired: same noise, same timesteps), and the
autoencoder's PSNR on held-out emoji and on OpenMoji, a style it never saw. Pictures: grids of prompts.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from architecture import scheduler
from autoencoder import psnr, to_model
from captions import STYLES
from data import load, on_white
from diffusion import tokenise
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from architecture import Models
    from data import Record

TIMESTEPS = tuple(range(25, 1000, 50))
SUBJECTS = (
    "cat face", "dog face", "fox", "panda", "frog", "elephant", "fish", "butterfly", "honeybee", "owl",
    "sunflower", "rose", "evergreen tree", "cactus", "mushroom", "maple leaf", "red apple", "banana", "strawberry",
    "carrot", "pizza", "hamburger", "birthday cake", "hot beverage", "grinning face", "smiling face with heart-eyes",
    "red heart", "robot", "ghost", "skull", "police officer", "princess", "automobile", "rocket", "house", "sailboat",
    "guitar", "soccer ball", "umbrella", "flag: Japan",
)  # fmt: skip
FREE_PROMPTS = (
    "openmoji drawing of fox, animal-mammal", "openmoji drawing of tulip, plant-flower", "openmoji drawing of a cat",
    "an orange fox face seen from the front with white cheeks", "a green apple", "a purple heart", "a blue fish",
    "a cat face with three whiskers on each side and pointed ears", "a whole yellow lemon lying at an angle",
    "a small yellow bird", "a blue strawberry", "a red car",
)  # fmt: skip


def true_caption(record: Record) -> str:
    """The caption used for held-out pictures: set style word, name, subgroup."""
    return f"{STYLES[record.source][1]} {record.label}, {record.subgroup}"


def shuffled(records: list[Record], seed: int = 0) -> list[int]:
    """For each record another one's number: same set, another emoji."""
    rng, result = random.Random(seed), []
    for record in records:
        others = [i for i, r in enumerate(records) if r.source == record.source and r.hexcode != record.hexcode]
        result.append(rng.choice(others))
    return result


@dataclass
class HeldOut:
    """Latents and tokens of pictures that training never saw, and what is needed to score them."""

    latents_NCHW: torch.Tensor
    true_NL: torch.Tensor
    shuffled_NL: torch.Tensor

    @torch.no_grad()
    def losses(self, models: Models, tokens_NL: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Mean squared error of the predicted noise for each picture, averaged over fixed timesteps and noise."""
        latents = self.latents_NCHW
        generator = torch.Generator().manual_seed(0)
        alphas = scheduler().alphas_cumprod.to(latents.device)
        total = torch.zeros(len(latents), device=latents.device)
        hidden = models.text_encoder(tokens_NL).last_hidden_state
        for t in TIMESTEPS:
            noise = torch.randn(latents.shape, generator=generator).to(latents)
            noisy = alphas[t].sqrt() * latents + (1 - alphas[t]).sqrt() * noise
            steps = torch.full((len(latents),), t, device=latents.device)
            predicted = models.unet(noisy.to(dtype), steps, hidden).sample.float()
            total += (predicted - noise).square().mean((1, 2, 3))
        return total / len(TIMESTEPS)

    def scores(self, models: Models, dtype: torch.dtype) -> dict[str, float]:
        """Mean loss under true and shuffled captions, and the share of pictures for which the true one is better."""
        true = self.losses(models, self.true_NL, dtype)
        other = self.losses(models, self.shuffled_NL, dtype)
        return {
            "loss_true": round(float(true.mean()), 5),
            "loss_shuffled": round(float(other.mean()), 5),
            "true_is_better": round(float((true < other).float().mean()), 3),
        }


@torch.no_grad()
def held_out(vae: Any, tokenizer: Any, images: np.ndarray, records: list[Record], split: str, device: str) -> HeldOut:
    """Everything to score one split."""
    chosen = [i for i, r in enumerate(records) if r.split == split]
    theirs = [records[i] for i in chosen]
    pixels = to_model(torch.from_numpy(images[chosen]).to(device))
    texts = [true_caption(r) for r in theirs]
    return HeldOut(
        latents_NCHW=torch.cat([vae.encode(part).latent_dist.mean for part in torch.split(pixels, 64)]),
        true_NL=tokenise(tokenizer, texts).to(device),
        shuffled_NL=tokenise(tokenizer, [texts[i] for i in shuffled(theirs)]).to(device),
    )


def sample(pipeline: Any, prompts: list[str], seed: int, steps: int = 25, guidance: float = 5.0) -> list[Image.Image]:
    """One picture a prompt; noise drawn on the CPU, so that devices agree."""
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for _ in prompts]
    result = pipeline(prompts, num_inference_steps=steps, guidance_scale=guidance, generator=generators)
    return list(result.images)


def grid(rows: list[list[Image.Image]], labels: list[str], columns: int, scale: int = 1) -> Image.Image:
    """Cells of pictures side by side (one per row of `rows`) over their label."""
    side, text = 64 * scale, 22
    width, height = side * len(rows) + 6, side + text
    lines = -(-len(labels) // columns)
    sheet = Image.new("RGB", (columns * width, lines * height), "white")
    draw = ImageDraw.Draw(sheet)
    for i, label in enumerate(labels):
        x, y = i % columns * width, i // columns * height
        for j, row in enumerate(rows):
            sheet.paste(row[i].resize((side, side), Image.Resampling.NEAREST), (x + j * side, y))
        draw.text((x + 2, y + side), label[: width // 6], fill="black")
    return sheet


def write_pictures(pipeline: Any, out: Path) -> None:
    """prompts.png: subjects; styles.png: the three set styles; free.png: free captions. Two or three seeds each."""
    prompts = [f"a drawing of {'' if ':' in s else 'a '}{s}" for s in SUBJECTS]
    grid([sample(pipeline, prompts, seed) for seed in (1, 2, 3)], list(SUBJECTS), 5).save(out / "prompts.png")
    few = [s for s in SUBJECTS if ":" not in s][::2]
    rows = [sample(pipeline, [f"{STYLES[name][1]} {s}" for s in few], 1) for name in STYLES]
    grid(rows, few, 5).save(out / "styles.png")
    free = list(FREE_PROMPTS)
    grid([sample(pipeline, free, seed) for seed in (1, 2, 3, 4)], free, 3).save(out / "free.png")


def openmoji_pictures(folder: Path, count: int = 200) -> np.ndarray:
    """Every n-th OpenMoji SVG without skin tone as 64 px on white, (count,64,64,3) uint8. For judging only."""
    paths = sorted(p for p in folder.glob("*.svg") if "1F3F" not in p.name)
    chosen = paths[:: len(paths) // count][:count]
    return np.stack([np.asarray(on_white(path)[0]) for path in chosen])


def main() -> None:
    """Command line."""
    from diffusers import StableDiffusionPipeline

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--openmoji", type=Path, help="OpenMoji's folder of colour SVG files")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    pipeline = StableDiffusionPipeline.from_pretrained(arguments.folder).to(arguments.device)
    images, records = load(arguments.dataset)
    numbers: dict[str, Any] = {}
    for split in ("picture", "concept"):
        held = held_out(pipeline.vae, pipeline.tokenizer, images, records, split, arguments.device)
        numbers[f"held-out {split}"] = held.scores(pipeline, torch.float32)
    unseen = images[[i for i, r in enumerate(records) if r.split != "train"]]
    numbers["psnr held-out"] = psnr(pipeline.vae, torch.from_numpy(unseen).to(arguments.device))
    if arguments.openmoji:
        pictures = torch.from_numpy(openmoji_pictures(arguments.openmoji)).to(arguments.device)
        numbers["psnr OpenMoji"] = psnr(pipeline.vae, pictures)
    (arguments.out / "numbers.json").write_text(json.dumps(numbers, indent=2) + "\n", "utf-8")
    print(json.dumps(numbers, indent=2))
    write_pictures(pipeline, arguments.out)


if __name__ == "__main__":
    main()
