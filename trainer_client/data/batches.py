"""Training batches: images in the epoch's order, with their randomness, made for many steps at once.

Randomness is keyed by (seed, purpose, epoch, image), see randomness.py: other tracks, batch sizes and resumed runs get
the same flips, timesteps and noise for an image. A block of steps at once takes few kernel launches.
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
from trainer_client.data.track_mix import TrackMix
from trainer_client.randomness import integers, key, keys, normal, order, uniform

if TYPE_CHECKING:
    from trainer_client.data.latents import BucketLatents, Latents, TextEmbeddings

COMMA = re.compile(r"\s*(?:(?<!\d),|,(?!\d))\s*")  # Separates tags; a comma in 1,000 does not.
BLOCK_NUMBERS = 1 << 23  # Noise values made at once: 32 MiB, a whole epoch of a small set.


@dataclass(frozen=True)
class ClassImages:
    """Class images, one beside each image."""

    sha256s: Sequence[str]
    first: int  # index of the first one in the latents
    caption: int  # index in the captions
    weight: float


@dataclass(frozen=True)
class TrainingSet:
    """N training images, with M distinct captions of which 0 is the empty one.

    `text` holds embeddings or, if they are encoded in every step, token ids (M, T).
    """

    sha256s: Sequence[str]
    latents: Latents | BucketLatents
    captions_N: Tensor
    text: TextEmbeddings | Tensor
    augmentation: AugmentationOptions = field(default_factory=AugmentationOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    class_images: ClassImages | None = None
    caption_texts: Sequence[str] = ()  # The M captions.
    track_mix: TrackMix | None = None  # If set, `captions_N` are only for measuring losses.

    def embedded(self, family: Diffusion, captions_B: Tensor, through: Mapping[str, nn.Module] | None = None) -> Tensor:
        """Return (B, T, D). `through` as in `Family.encode_text`."""
        if captions_B.ndim == 2:
            return family.encode_text(captions_B, through)
        if isinstance(self.text, torch.Tensor):
            return family.encode_text(self.text[captions_B], through)
        return self.text.at(captions_B, family.device)


@dataclass(frozen=True)
class Batch:
    """Images of one size, ready for the denoiser."""

    noisy_BCHW: Tensor
    target_BCHW: Tensor
    timesteps_B: Tensor
    weights_B: Tensor
    captions_B: Tensor  # Indices into the set's captions or, if tags are shuffled, token ids (B, T).
    sizes_B6: Tensor  # See `Latents.sizes_N6`.
    mask_B1HW: Tensor | None = None  # Loss weight of each latent, of mean 1; None: equal.

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that are not None, by name."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}

    def __len__(self) -> int:
        return len(self.timesteps_B)

    def part(self, start: int, stop: int) -> Self:
        """Return some of the images, without a copy."""
        return type(self)(**{name: tensor[start:stop] for name, tensor in self.tensors().items()})

    def with_more(self, other: Self) -> Self:
        others = other.tensors()
        return type(self)(**{name: torch.cat((tensor, others[name])) for name, tensor in self.tensors().items()})

    def padded(self, size: int) -> Self:
        """Return the images, padded to `size` with images of weight 0."""
        missing = size - len(self)
        if missing <= 0:
            return self
        last = self.part(len(self) - 1, len(self))
        last = replace(last, weights_B=last.weights_B * 0)
        padding = {name: tensor.expand(missing, *tensor.shape[1:]) for name, tensor in last.tensors().items()}
        return self.with_more(type(self)(**padding))

    def split(self, size: int) -> Iterator[Self]:
        """Yield batches of `size` images; the last may be smaller."""
        for start in range(0, len(self.timesteps_B), size):
            yield self.part(start, start + size)


@dataclass(frozen=True)
class MixedBatch:
    """A step's images in several sizes, one batch per size."""

    parts: tuple[Batch, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def part(self, start: int, stop: int) -> Batch | MixedBatch:
        cuts, begin = [], 0
        for batch in self.parts:
            cuts.append(batch.part(max(0, start - begin), max(0, stop - begin)))
            begin += len(batch)
        return joined_sizes([cut for cut in cuts if len(cut)] or [self.parts[0].part(0, 0)])

    def split(self, size: int) -> Iterator[Batch]:
        """Yield batches of at most `size` images of one size."""
        for batch in self.parts:
            yield from batch.split(size)


Step = Batch | MixedBatch


def joined_sizes(parts: Sequence[Batch]) -> Step:
    return parts[0] if len(parts) == 1 else MixedBatch(tuple(parts))


def epoch_steps(family: Diffusion, data: TrainingSet, plan: Plan, epoch: int, first_step: int = 0) -> Iterator[Step]:
    """Yield the images of each step of an epoch, from `first_step` on, each with as many class images, if any.

    Blocks begin at the same steps wherever the epoch is entered, so that a resumed run gets the same bits.
    """
    indices = order(data.sha256s, data.augmentation.seed, epoch)
    size = plan.images_per_step
    block = size * max(1, BLOCK_NUMBERS // math.prod(family.latent_shape) // size)
    for start in range(first_step * size // block * block, len(indices), block):
        chunk = indices[start : start + block]
        by_size = [
            (positions, make_batch(family, data, epoch, [chunk[position] for position in positions]))
            for positions in data.latents.group_by_size(chunk)
        ]
        class_batch = make_class_batch(family, data, epoch, chunk) if data.class_images else None
        for at in range(max(0, first_step * size - start), len(chunk), size):
            cuts = [_between(positions, batch, at, at + size) for positions, batch in by_size]
            parts = [cut for cut in cuts if len(cut)]
            if class_batch:
                parts = _with_class_images(parts, class_batch.part(at, at + size))
            yield joined_sizes(parts)


def _between(positions: Sequence[int], batch: Batch, start: int, stop: int) -> Batch:
    """Return the images at positions in [start, stop); positions ascend."""
    return batch.part(bisect_left(positions, start), bisect_left(positions, stop))


def _with_class_images(parts: list[Batch], class_batch: Batch) -> list[Batch]:
    """Append class images to the images of their size, or as another part."""
    shape = class_batch.noisy_BCHW.shape[1:]
    same_size = [part.noisy_BCHW.shape[1:] == shape for part in parts]
    joined = [part.with_more(class_batch) if same else part for part, same in zip(parts, same_size, strict=True)]
    return joined if any(same_size) else [*joined, class_batch]


@torch.no_grad()
def make_batch(family: Diffusion, data: TrainingSet, epoch: int, indices: Sequence[int]) -> Batch:
    """Return these images with this epoch's caption, flip, latents, timestep and noise."""
    options = data.augmentation
    indices_B = torch.tensor(indices, device=family.device)
    names = [data.sha256s[index] for index in indices]
    captions_B = data.captions_N[indices_B]
    if data.track_mix:
        captions_B = data.track_mix.pick(
            indices_B, uniform(keys(options.seed, "track", epoch, 0, names, family.device), 1)[:, 0]
        )
    batch = _diffused(family, data, epoch, names, indices_B, captions_B)
    if not options.shuffle_tags:
        return batch
    captions = [data.caption_texts[index] for index in batch.captions_B.tolist()]
    shuffled = [
        shuffle_tags(caption, options.keep_tags, options.seed, epoch, name)
        for caption, name in zip(captions, names, strict=True)
    ]
    return replace(batch, captions_B=family.tokenise(shuffled))


def shuffle_tags(caption: str, keep: int, seed: int, epoch: int, name: str) -> str:
    """Shuffle the tags after the first `keep`, by a hash of (image, epoch, tag)."""
    tags = [tag for tag in COMMA.split(caption.strip()) if tag]
    if len(tags) < 2:
        return caption
    shuffled = sorted(tags[keep:], key=lambda tag: key(seed, "tags", epoch, 0, f"{name} {tag}"))
    return ", ".join([*tags[:keep], *shuffled])


@torch.no_grad()
def make_class_batch(family: Diffusion, data: TrainingSet, epoch: int, indices: Sequence[int]) -> Batch:
    """Return a class image for each image, chosen and keyed by that image."""
    class_images = data.class_images
    assert class_images is not None
    beside = [data.sha256s[index] for index in indices]
    chosen_B = integers(
        keys(data.augmentation.seed, "class", epoch, 0, beside, family.device), len(class_images.sha256s)
    )
    names = [f"{class_images.sha256s[i]} {other}" for i, other in zip(chosen_B.tolist(), beside, strict=True)]
    captions_B = torch.full_like(chosen_B, class_images.caption)
    batch = _diffused(family, data, epoch, names, chosen_B + class_images.first, captions_B)
    if data.augmentation.shuffle_tags:
        batch = replace(
            batch, captions_B=family.tokenise([data.caption_texts[index] for index in batch.captions_B.tolist()])
        )
    return replace(batch, weights_B=batch.weights_B * class_images.weight)


def _diffused(
    family: Diffusion,
    data: TrainingSet,
    epoch: int,
    names: Sequence[str],
    indices_B: Tensor,
    captions_B: Tensor,
) -> Batch:
    """Return images by their indices in the latents; `names` key their randomness."""
    options, loss = data.augmentation, data.loss

    def keys_for(purpose: str) -> Tensor:
        return keys(options.seed, purpose, epoch, 0, names, family.device)

    flips_B = (uniform(keys_for("flip"), 1)[:, 0] < 0.5).long() if options.flip else torch.zeros_like(indices_B)
    mean_BCHW, logvar_BCHW = data.latents.at(indices_B, flips_B, family.device)
    shape = mean_BCHW.shape[1:]
    latents_BCHW = family.latents(mean_BCHW, logvar_BCHW, normal(keys_for("latent"), shape))
    timesteps_B = integers(keys_for("timestep"), family.train_timesteps)
    noise_BCHW = normal(keys_for("noise"), shape)
    if loss.offset_noise:
        noise_BCHW += loss.offset_noise * normal(keys_for("offset"), (shape[0], 1, 1))
    if options.caption_dropout:
        captions_B = captions_B.masked_fill(uniform(keys_for("dropout"), 1)[:, 0] < options.caption_dropout, 0)
    mask_B1HW = None
    if loss.masked_loss:
        mask_B1HW = _mask(data.latents.opacity(indices_B, flips_B, family.device), loss.background_weight)
    return Batch(
        family.add_noise(latents_BCHW, noise_BCHW, timesteps_B),
        family.target(latents_BCHW, noise_BCHW, timesteps_B),
        timesteps_B,
        family.loss_weights(timesteps_B, loss.min_snr_gamma),
        captions_B,
        data.latents.sizes(indices_B, family.device),
        mask_B1HW,
    )


def _mask(opacity_B1HW: Tensor, background_weight: float) -> Tensor:
    """Return loss weights of mean one per image, so that images count equally."""
    weight_B1HW = opacity_B1HW + background_weight * (1 - opacity_B1HW)
    return weight_B1HW / weight_B1HW.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
