"""Train the mini BLIP in a given time: picture to name and keywords, on Noto, Fluent and Twemoji.

    python blip_train.py --dataset emoji.npz --processor blip --out blip --seconds 480 --device cuda --batch 512

The clock rules, as in `train.py`; the averaged weights are written every few minutes, so a usable model exists early.
On a GPU a step is one CUDA graph (`optimiser.captured`), so every batch has the same shapes there.
"""

from __future__ import annotations

import argparse
import collections
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from blip_augment import augmented, variants
from blip_captions import plain
from blip_evaluate import greedy, mean_f1
from blip_model import Guides, build, save, seen
from blip_tokenizer import token_table
from data import Record, load
from optimiser import FlatAdamW, captured, train_for

CLOCK = time.monotonic()
DRAWS = 48
GUIDE_WEIGHT = 0.5
WHOLE_FROM = 0.85
FAVOURED = ("animals-nature", "food-drink")


def log(line: str) -> None:
    """Print with the seconds since the start."""
    print(f"[{time.monotonic() - CLOCK:6.1f} s] {line}", flush=True)


@dataclass
class Material:
    """Everything a step draws from, on the device; N pictures."""

    variants_NCHW: torch.Tensor
    """What `blip_augment.variants` makes of a picture's ink, uint8."""
    flippable_N: torch.Tensor
    tokens_NKL: torch.Tensor
    given_NK: torch.Tensor
    """Leading tokens that aren't learnt: `[DEC]` and a prompt."""
    concept_N: torch.Tensor
    keywords_NK: torch.Tensor
    cumulative_N: torch.Tensor
    """How often a picture is drawn, summed up to it; the last is 1."""


def keyword_shares(records: list[Record]) -> torch.Tensor:
    """For each record the same probability for each of its keywords that at least two emoji have, as (N, keywords)."""
    owners: dict[str, set[str]] = collections.defaultdict(set)
    for record in records:
        for tag in record.tags:
            owners[plain(tag)].add(record.hexcode)
    number = {tag: i for i, tag in enumerate(sorted(tag for tag, codes in owners.items() if len(codes) > 1))}
    shares = torch.zeros(len(records), len(number))
    for row, record in zip(shares, records, strict=True):
        row[[number[plain(tag)] for tag in record.tags if plain(tag) in number]] = 1.0
    return shares / shares.sum(1, keepdim=True).clamp(min=1.0)


def weight(record: Record, members: int, favour: float) -> float:
    """How often a picture is drawn, given the number of pictures of its subgroup.

    Country flags and people with their many variants would else be half of all that it sees. The examples are about
    animals, plants and food.
    """
    return members**-0.5 * (favour if record.group in FAVOURED else 1.0)


def material(images: np.ndarray, records: list[Record], tokenizer: Any, options: argparse.Namespace) -> Material:
    """Put pictures, captions and guides of the records on the device."""
    device = options.device
    concepts = {code: i for i, code in enumerate(sorted({r.hexcode for r in records}))}
    members = collections.Counter(r.subgroup for r in records)
    weight_N = torch.tensor([weight(r, members[r.subgroup], options.favour) for r in records], dtype=torch.float64)
    ink_NCHW = 1 - torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    tokens_NKL, given_NK = token_table(tokenizer, records, DRAWS)
    return Material(
        variants_NCHW=torch.cat([(variants(part) * 255).byte() for part in ink_NCHW.split(256)]).to(device),
        flippable_N=torch.tensor([r.flippable for r in records], device=device),
        tokens_NKL=tokens_NKL.to(device),
        given_NK=given_NK.to(device),
        concept_N=torch.tensor([concepts[r.hexcode] for r in records], device=device),
        keywords_NK=keyword_shares(records).to(device),
        cumulative_N=(weight_N.cumsum(0) / weight_N.sum()).float().to(device),
    )


class Trainer:
    """The model in training; `step` is one update."""

    def __init__(self, model: Any, data: Material, processor: Any, options: argparse.Namespace) -> None:
        self.model, self.data, self.processor, self.options = model, data, processor, options
        self.guides = Guides(int(data.concept_N.max()) + 1, data.keywords_NK.shape[1]).to(options.device)
        self.patches = int((model.config.vision_config.image_size // model.config.vision_config.patch_size) ** 2)
        self.optimiser = FlatAdamW(
            [model, self.guides], torch.bfloat16, betas=(0.9, 0.98), weight_decay=0.05, ema_decay=options.average
        )
        self.loss = torch.zeros(2, device=options.device)
        images = processor.image_processor
        self.mean, self.std = (
            torch.tensor(v, device=options.device).view(3, 1, 1) for v in (images.image_mean, images.image_std)
        )
        # Made once: where transformers makes it, it copies from the host, which a graph can't record. Captions are
        # padded at their end, so that no word sees the padding.
        places = data.tokens_NKL.shape[2]
        hidden_LL = torch.ones(places, places, device=options.device).triu(1)
        self.mask_11LL = (hidden_LL * torch.finfo(torch.bfloat16).min).bfloat16()[None, None]
        self.show(int(self.patches * options.kept))

    def show(self, kept: int) -> None:
        """From now on the tower sees so many patches of each picture."""
        self.kept = kept
        self.step = captured(self._step, self.options.device)

    def _step(self) -> None:
        """One batch: forward, backward, update."""
        data = self.data
        draws_B = torch.rand(self.options.batch, device=data.cumulative_N.device)
        chosen_B = torch.searchsorted(data.cumulative_N, draws_B).clamp(max=len(data.cumulative_N) - 1)
        ink = augmented(data.variants_NCHW[chosen_B].float() / 255, data.flippable_N[chosen_B], self.options.vary)
        draw_B = torch.randint(DRAWS, (len(chosen_B),), device=chosen_B.device)
        tokens_BL, given_B = data.tokens_NKL[chosen_B, draw_B], data.given_NK[chosen_B, draw_B]
        states = seen(self.model, (1 - ink - self.mean) / self.std, self.kept)
        told = self.caption_loss(tokens_BL, given_B, states)
        guide = self.guides(states, data.concept_N[chosen_B], data.keywords_NK[chosen_B])
        self.optimiser.zero_grad()
        (told + GUIDE_WEIGHT * guide).backward()
        self.optimiser.update()
        self.loss.lerp_(torch.stack([told.detach(), guide.detach()]), 0.02)

    def caption_loss(self, tokens_BL: torch.Tensor, given_B: torch.Tensor, states_BLC: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of the tokens that follow the given ones."""
        pad = self.processor.tokenizer.pad_token_id
        if tokens_BL.device.type == "cpu":
            tokens_BL = tokens_BL[:, : int((tokens_BL != pad).sum(1).max())]
        places_L = torch.arange(tokens_BL.shape[1], device=tokens_BL.device)
        labels_BL = tokens_BL.masked_fill((tokens_BL == pad) | (places_L < given_B[:, None]), -100)
        output = self.model.text_decoder(
            input_ids=tokens_BL,
            attention_mask=self.mask_11LL[..., : tokens_BL.shape[1], : tokens_BL.shape[1]],
            encoder_hidden_states=states_BLC,
            labels=labels_BL,
        )
        loss: torch.Tensor = output.loss.float()
        return loss

    def averaged(self) -> Any:
        """A copy of the model in fp32 with the averaged weights, ready for use."""
        copy = build(self.processor.tokenizer).to(self.options.device)
        for parameter, average in zip(copy.parameters(), self.optimiser.averages(), strict=False):
            parameter.data = average.clone()
        return copy.eval()


def arguments_from_command_line() -> argparse.Namespace:
    """All options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--processor", type=Path, required=True, help="the folder that blip_tokenizer.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--seconds", type=float, default=3840, help="training time, without loading")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--kept", type=float, default=0.4, help="share of the patches shown, but for the end")
    parser.add_argument("--favour", type=float, default=4, help="weight of animals, plants, food against the rest's 1")
    parser.add_argument("--vary", type=float, default=1, help="how far pictures are moved, turned and scaled")
    parser.add_argument("--dropout", type=float, default=0, help="in the text decoder")
    parser.add_argument("--average", type=float, default=0.998, help="share of the averaged weights kept at a step")
    parser.add_argument("--start", type=Path, help="a model folder to go on from, instead of random weights")
    parser.add_argument("--reports", type=int, default=16, help="how often to measure and save")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """The whole of it after `blip_tokenizer.py`."""
    from transformers import BlipForConditionalGeneration, BlipProcessor
    from transformers.utils import logging

    logging.disable_progress_bar()
    options = arguments_from_command_line()
    torch.manual_seed(options.seed)
    images, records = load(options.dataset)
    processor = BlipProcessor.from_pretrained(options.processor)
    parts = {s: [i for i, r in enumerate(records) if r.split == s] for s in ("train", "picture", "concept")}
    data = material(images[parts["train"]], [records[i] for i in parts["train"]], processor.tokenizer, options)
    model = build(processor.tokenizer).to(options.device).train()
    if options.start:
        model.load_state_dict(BlipForConditionalGeneration.from_pretrained(options.start).float().state_dict())
    model.text_decoder.label_smoothing = 0.1
    for module in model.text_decoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = options.dropout
    trainer = Trainer(model, data, processor, options)
    log(f"{len(parts['train'])} pictures, {sum(p.numel() for p in model.parameters()):,} parameters")

    def report(steps: int, done: float) -> None:
        """Write the weights so far and say how good they are."""
        average = trainer.averaged()
        save(average, processor, options.out)
        scores = {}
        for split in ("picture", "concept"):
            captions = greedy(average, processor, images[parts[split]], options.device)
            scores[split] = round(mean_f1(captions, [plain(records[i].label) for i in parts[split]]), 3)
        told, guide = trainer.loss.tolist()
        log(f"{done:5.2f} step {steps} caption {told:.3f} guides {guide:.3f} F1 of held-out {json.dumps(scores)}")
        if done >= WHOLE_FROM and trainer.kept < trainer.patches:
            trainer.show(trainer.patches)  # as it will see them in use

    every = 1 / options.reports
    rate, device = options.learning_rate, options.device
    block = 5 if device == "cpu" else 25
    steps = train_for(
        options.seconds, trainer.optimiser, lambda: trainer.step(), rate, report, device, block=block, every=every
    )
    report(steps, 1.0)


if __name__ == "__main__":
    main()
