"""What a step trains on: images in the epoch's order with all their randomness, drawn for many steps at once.

Every draw is keyed by (seed, purpose, epoch, image), see randomness.py: two tracks, two batch sizes, a run and its
resumption get the same flips, timesteps and noise for an image. Drawing a block of steps takes a few kernels, which
is what counts where launching one costs more than running it.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from trainer_client.config.parts import AugmentationOptions, LossOptions
from trainer_client.data.model import Diffusion
from trainer_client.data.plan import Plan
from trainer_client.data.track_mix import Mix
from trainer_client.randomness import integers, key, keys, normal, order, uniform

if TYPE_CHECKING:
    from trainer_client.data.latents import BucketLatents, Latents, TextEmbeddings

COMMA = re.compile(r"\s*(?:(?<!\d),|,(?!\d))\s*")  # Between the tags of a caption; not in 1,000.
BLOCK_NUMBERS = 1 << 23  # Noise values drawn at once: 32 MiB, a whole epoch of a small set.


@dataclass(frozen=True)
class Prior:
    """Pictures of a class that are trained on beside the images, one for each."""

    sha256s: Sequence[str]
    first: int  # place of the first in the latents
    caption: int
    weight: float


@dataclass(frozen=True)
class TrainingSet:
    """The training images: N, with M distinct captions of which 0 is the empty one.

    `text` is the captions' embeddings, or where the text encoder is trained their token ids (M, T), encoded in every
    step.
    """

    sha256s: Sequence[str]
    latents: Latents | BucketLatents
    captions_N: Tensor
    text: TextEmbeddings | Tensor
    augmentation: AugmentationOptions = field(default_factory=AugmentationOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    prior: Prior | None = None
    words: Sequence[str] = ()  # The M captions.
    mix: Mix | None = None  # Of several tracks; `captions_N` are then those that are measured.

    def embedded(self, family: Diffusion, captions_B: Tensor, through: Mapping[str, nn.Module] | None = None) -> Tensor:
        """The captions as the denoiser reads them, (B, T, D). `through` as in `Family.encode_text`."""
        if captions_B.ndim == 2:
            return family.encode_text(captions_B, through)
        if isinstance(self.text, torch.Tensor):
            return family.encode_text(self.text[captions_B], through)
        return self.text.at(captions_B, family.device)


@dataclass(frozen=True)
class Drawn:
    """Images ready for the denoiser."""

    noisy_BCHW: Tensor
    target_BCHW: Tensor
    timesteps_B: Tensor
    weights_B: Tensor
    captions_B: Tensor  # Places among the set's captions; where tags are shuffled token ids, (B, T).
    sizes_B6: Tensor  # See `Latents.sizes_N6`.
    mask_B1HW: Tensor | None = None  # What each place counts in the loss, 1 in the mean; None: all alike.

    def tensors(self) -> dict[str, Tensor]:
        """Those that there are, by name."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def __len__(self) -> int:
        return len(self.timesteps_B)

    def part(self, start: int, stop: int) -> Self:
        """Some of the images, without a copy."""
        return type(self)(**{name: tensor[start:stop] for name, tensor in self.tensors().items()})

    def with_more(self, other: Self) -> Self:
        """These images, then the other ones."""
        theirs = other.tensors()
        return type(self)(**{name: torch.cat((tensor, theirs[name])) for name, tensor in self.tensors().items()})

    def filled_up(self, size: int) -> Self:
        """These images, and up to `size` more that count nothing in the loss."""
        missing = size - len(self)
        if missing <= 0:
            return self
        spare = self.part(len(self) - 1, len(self))
        spare = replace(spare, weights_B=spare.weights_B * 0)
        more = {name: tensor.expand(missing, *tensor.shape[1:]) for name, tensor in spare.tensors().items()}
        return self.with_more(type(self)(**more))

    def split(self, size: int) -> Iterator[Self]:
        """Batches of `size` images, the last may be smaller."""
        for start in range(0, len(self.timesteps_B), size):
            yield self.part(start, start + size)


@dataclass(frozen=True)
class Several:
    """A step's images of several sizes, each size ready for the denoiser by itself."""

    parts: tuple[Drawn, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def part(self, start: int, stop: int) -> Drawn | Several:
        """Some of the images, in the order of the parts."""
        found, begin = [], 0
        for one in self.parts:
            cut = one.part(max(0, start - begin), max(0, stop - begin))
            found += [cut] if len(cut) else []
            begin += len(one)
        return together(found or [self.parts[0].part(0, 0)])

    def split(self, size: int) -> Iterator[Drawn]:
        """Batches of at most `size` images of one size."""
        for one in self.parts:
            yield from one.split(size)


Step = Drawn | Several


def together(parts: Sequence[Drawn]) -> Step:
    """The images of a step; those of each size in a part."""
    return parts[0] if len(parts) == 1 else Several(tuple(parts))


def epoch_steps(family: Diffusion, data: TrainingSet, plan: Plan, epoch: int, first_step: int = 0) -> Iterator[Step]:
    """The images of every step of an epoch, from `first_step` on; after them as many of the class, where there is one.

    Blocks begin at the same steps wherever the epoch is entered, so that a resumed run draws the same bits. Which
    images make a step is the order's to say, whatever their sizes.
    """
    places = order(data.sha256s, data.augmentation.seed, epoch)
    size = plan.images_per_step
    block = size * max(1, BLOCK_NUMBERS // math.prod(family.latent_shape) // size)
    for start in range(first_step * size // block * block, len(places), block):
        chunk = places[start : start + block]
        by_size = [
            (positions, draw(family, data, epoch, [chunk[position] for position in positions]))
            for positions in data.latents.apart(chunk)
        ]
        prior = draw_prior(family, data, epoch, chunk) if data.prior else None
        for at in range(max(0, first_step * size - start), len(chunk), size):
            cuts = [_between(positions, drawn, at, at + size) for positions, drawn in by_size]
            parts = [cut for cut in cuts if len(cut)]
            if prior:
                parts = _with_prior(parts, prior.part(at, at + size))
            yield together(parts)


def _between(positions: Sequence[int], drawn: Drawn, start: int, stop: int) -> Drawn:
    """Those of the images drawn whose position lies between; positions ascend."""
    return drawn.part(bisect_left(positions, start), bisect_left(positions, stop))


def _with_prior(parts: list[Drawn], prior: Drawn) -> list[Drawn]:
    """A step's images, then those of the class, behind the images of their size."""
    shape = prior.noisy_BCHW.shape[1:]
    alike = [one.noisy_BCHW.shape[1:] == shape for one in parts]
    joined = [one.with_more(prior) if same else one for one, same in zip(parts, alike, strict=True)]
    return joined if any(alike) else [*joined, prior]


@torch.no_grad()
def draw(family: Diffusion, data: TrainingSet, epoch: int, places: Sequence[int]) -> Drawn:
    """The images at `places` with their flip, words, latents, timestep and noise of this epoch."""
    options = data.augmentation
    places_B = torch.tensor(places, device=family.device)
    names = [data.sha256s[place] for place in places]
    captions_B = data.captions_N[places_B]
    if data.mix:
        captions_B = data.mix.drawn(
            places_B, uniform(keys(options.seed, "track", epoch, 0, names, family.device), 1)[:, 0]
        )
    drawn = _drawn(family, data, epoch, names, places_B, captions_B)
    if not options.shuffle_tags:
        return drawn
    captions = [data.words[place] for place in drawn.captions_B.tolist()]
    shuffled = [
        shuffle_tags(caption, options.keep_tags, options.seed, epoch, name)
        for caption, name in zip(captions, names, strict=True)
    ]
    return replace(drawn, captions_B=family.tokenise(shuffled))


def shuffle_tags(caption: str, keep: int, seed: int, epoch: int, name: str) -> str:
    """The caption's tags, the first `keep` as they stand, the others by hash of (image, epoch, tag)."""
    tags = [tag for tag in COMMA.split(caption.strip()) if tag]
    if len(tags) < 2:
        return caption
    drawn = sorted(tags[keep:], key=lambda tag: key(seed, "tags", epoch, 0, f"{name} {tag}"))
    return ", ".join([*tags[:keep], *drawn])


@torch.no_grad()
def draw_prior(family: Diffusion, data: TrainingSet, epoch: int, places: Sequence[int]) -> Drawn:
    """A picture of the class for each of the images at `places`, chosen and drawn by key of the image."""
    prior = data.prior
    assert prior is not None
    beside = [data.sha256s[place] for place in places]
    chosen_B = integers(keys(data.augmentation.seed, "class", epoch, 0, beside, family.device), len(prior.sha256s))
    names = [f"{prior.sha256s[i]} {other}" for i, other in zip(chosen_B.tolist(), beside, strict=True)]
    drawn = _drawn(family, data, epoch, names, chosen_B + prior.first, torch.full_like(chosen_B, prior.caption))
    if data.augmentation.shuffle_tags:
        drawn = replace(drawn, captions_B=family.tokenise([data.words[place] for place in drawn.captions_B.tolist()]))
    return replace(drawn, weights_B=drawn.weights_B * prior.weight)


def _drawn(
    family: Diffusion,
    data: TrainingSet,
    epoch: int,
    names: Sequence[str],
    places_B: Tensor,
    captions_B: Tensor,
) -> Drawn:
    """Images by place in the latents; `names` key their draws."""

    options, loss = data.augmentation, data.loss

    def keyed(purpose: str) -> Tensor:
        return keys(options.seed, purpose, epoch, 0, names, family.device)

    flips_B = (uniform(keyed("flip"), 1)[:, 0] < 0.5).long() if options.flip else torch.zeros_like(places_B)
    mean_BCHW, logvar_BCHW = data.latents.at(places_B, flips_B, family.device)
    shape = mean_BCHW.shape[1:]
    latents_BCHW = family.latents(mean_BCHW, logvar_BCHW, normal(keyed("latent"), shape))
    timesteps_B = integers(keyed("timestep"), family.train_timesteps)
    noise_BCHW = normal(keyed("noise"), shape)
    if loss.offset_noise:
        noise_BCHW += loss.offset_noise * normal(keyed("offset"), (shape[0], 1, 1))
    if options.caption_dropout:
        captions_B = captions_B.masked_fill(uniform(keyed("dropout"), 1)[:, 0] < options.caption_dropout, 0)
    mask_B1HW = None
    if loss.masked_loss:
        mask_B1HW = _mask(data.latents.opacity(places_B, flips_B, family.device), loss.background_weight)
    return Drawn(
        family.add_noise(latents_BCHW, noise_BCHW, timesteps_B),
        family.target(latents_BCHW, noise_BCHW, timesteps_B),
        timesteps_B,
        family.loss_weights(timesteps_B, loss.min_snr_gamma),
        captions_B,
        data.latents.sizes(places_B, family.device),
        mask_B1HW,
    )


def _mask(opacity_B1HW: Tensor, background_weight: float) -> Tensor:
    """Of mean one: an image counts as much as another, however small what it shows."""
    weight_B1HW = opacity_B1HW + background_weight * (1 - opacity_B1HW)
    return weight_B1HW / weight_B1HW.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
