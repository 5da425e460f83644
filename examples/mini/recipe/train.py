"""Train the whole mini Stable Diffusion in a given time: the autoencoder, then UNet and text encoder.

    python train.py --dataset emoji.npz --tokenizer tokenizer --out sd --report report --seconds 540

The clock rules, not a number of steps: learning rates follow the share of the time that has passed, so a run always
ends with finished weights, on any device.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from architecture import build, pipeline, save
from autoencoder import normalise_latents, psnr
from autoencoder import train as train_autoencoder
from data import load
from diffusion import build_cache
from diffusion import train as train_diffusion
from evaluate import held_out, write_pictures
from neutral import settle_unused_tokens
from transformers import CLIPTokenizer

CLOCK = time.monotonic()


def log(line: str) -> None:
    """Print with the seconds since the start."""
    print(f"[{time.monotonic() - CLOCK:6.1f} s] {line}", flush=True)


def arguments_from_command_line() -> argparse.Namespace:
    """All options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True, help="the folder that tokenizer.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="pipeline folder to write")
    parser.add_argument("--report", type=Path, required=True, help="folder for numbers and pictures")
    parser.add_argument("--latent-channels", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=540, help="from start to finished files")
    parser.add_argument("--autoencoder-share", type=float, default=0.26)
    parser.add_argument("--reserve", type=float, default=35, help="seconds kept for writing and pictures")
    parser.add_argument("--autoencoder-batch", type=int, default=128)
    parser.add_argument("--batch", type=int, default=192)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """The whole recipe after `data.py`."""
    options = arguments_from_command_line()
    device = options.device
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    options.report.mkdir(parents=True, exist_ok=True)
    images, records = load(options.dataset)
    seen = [i for i, r in enumerate(records) if r.split == "train"]
    pictures = torch.from_numpy(images[seen]).to(device)
    unseen = torch.from_numpy(images[[i for i, r in enumerate(records) if r.split != "train"]]).to(device)
    tokenizer = CLIPTokenizer.from_pretrained(options.tokenizer)
    tokens = torch.from_numpy(np.load(options.tokenizer / "tokens.npy")[seen].astype(np.int64))
    models = build(options.latent_channels, tokenizer, options.seed).to(device)
    log(f"{len(seen)} pictures, {len(tokenizer)} tokens")

    time_left = options.seconds - options.reserve - (time.monotonic() - CLOCK)
    numbers: dict[str, object] = {"options": {k: str(v) for k, v in vars(options).items()}}
    seconds = time_left * options.autoencoder_share
    steps = train_autoencoder(models.vae, pictures, seconds, options.autoencoder_batch, dtype, log)
    numbers["autoencoder steps"] = steps
    normalise_latents(models.vae, pictures)
    numbers["psnr held-out"] = psnr(models.vae, unseen)
    log(f"PSNR on held-out pictures: {numbers['psnr held-out']} dB")

    cache = build_cache(models.vae, tokenizer, pictures, [records[i] for i in seen], tokens, dtype)
    splits = {s: held_out(models.vae, tokenizer, images, records, s, device) for s in ("picture", "concept")}
    log(f"cached; standard deviation of the latents {cache.mean_VNCHW[0].float().std().item():.3f}")

    def probe() -> str:
        return str(splits["picture"].scores(models, dtype))

    time_left = options.seconds - options.reserve - (time.monotonic() - CLOCK)
    steps = train_diffusion(models, cache, max(1.0, time_left), options.batch, dtype, log, probe)
    numbers["diffusion steps"] = steps
    numbers["tokens settled"] = settle_unused_tokens(models.text_encoder, tokenizer, tokens)
    for name, held in splits.items():
        numbers[f"held-out {name}"] = held.scores(models, torch.float32)
    log(str(numbers))
    (options.report / "numbers.json").write_text(json.dumps(numbers, indent=2) + "\n", "utf-8")
    save(models, options.tokenizer, options.out)
    log("saved")
    write_pictures(pipeline(models.to(device), tokenizer), options.report)
    log("done")


if __name__ == "__main__":
    main()
