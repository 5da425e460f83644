"""What a model has learned, in numbers that can be compared from checkpoint to checkpoint and from run to run.

Denoising losses at fixed timesteps (the middles of equal parts of the schedule) and fixed noise keyed by image, on the
autoencoder's mean, without loss weights. Neither the run's seed nor its settings enter, so two runs measure the same
thing. Each held-out image is measured under every track's caption, and under another image's (shuffled); the same
number of training images under the run's own track. Lists are per image, so that differences can be paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from schemas.progress import Progress, silent
from schemas.run import Evaluation
from trainer_client.data.snapshot import Row, Snapshot
from trainer_client.randomness import key, keys, normal

if TYPE_CHECKING:
    from trainer_client.data.latents import BucketLatents, Latents, TextEmbeddings
    from trainer_client.models import Family

SEED = 0  # Of subset, shuffle and noise: fixed, so that runs of different seeds measure the same thing.
Pair = tuple[str, str]  # (image sha256, caption)
Losses = list[float]  # Of one pair, a loss for each of the fixed timesteps.


@dataclass(frozen=True)
class Measures:
    """Which images a run is measured on, and under which captions."""

    held_out: list[Row]
    train_subset: list[Row]
    own_track: str
    tracks: list[str]
    shuffled: dict[str, list[str]]  # By track, a caption for each of `held_out`.

    def held_out_pairs(self) -> list[Pair]:
        """Every (held-out image, caption) there is to measure, once."""
        pairs = [pair for track in self.tracks for pair in self._pairs(track)]
        for captions in self.shuffled.values():
            pairs += [(row.sha256, caption) for row, caption in zip(self.held_out, captions, strict=True)]
        return list(dict.fromkeys(pairs))

    def train_pairs(self) -> list[Pair]:
        """The (training image, own caption) pairs."""
        return [(row.sha256, row.captions[self.own_track] or "") for row in self.train_subset]

    def evaluation(self, losses: Mapping[Pair, Losses], leakage: list[float], timesteps: list[int]) -> Evaluation:
        """The measured losses, each pair's by timestep, in the report's form."""
        mean = {pair: sum(by_timestep) / len(by_timestep) for pair, by_timestep in losses.items()}
        own = self._pairs(self.own_track) if self.own_track in self.tracks else []
        return Evaluation(
            held_out={track: [mean[pair] for pair in self._pairs(track)] for track in self.tracks},
            held_out_shuffled={
                track: [mean[row.sha256, caption] for row, caption in zip(self.held_out, captions, strict=True)]
                for track, captions in self.shuffled.items()
            },
            train_subset={self.own_track: [mean[pair] for pair in self.train_pairs()]},
            leakage=leakage,
            timesteps=timesteps,
            held_out_by_timestep=_by_timestep(own, losses),
            train_subset_by_timestep=_by_timestep(self.train_pairs(), losses),
        )

    def _pairs(self, track: str) -> list[Pair]:
        return [(row.sha256, row.captions[track] or "") for row in self.held_out]


def _by_timestep(pairs: Sequence[Pair], losses: Mapping[Pair, Losses]) -> list[list[float]]:
    """For each timestep the losses of all pairs; empty without pairs."""
    return [list(at_one) for at_one in zip(*(losses[pair] for pair in pairs), strict=True)]


def choose_measures(snapshot: Snapshot, own_track: str, images: int) -> Measures:
    """At most `images` held-out images and as many training images, chosen by hash.

    A track in which a held-out image has no caption at all is left out: it couldn't be compared image by image.
    """
    held_out = _chosen(snapshot.rows("validation"), images)
    train_subset = _chosen(snapshot.rows("train"), min(images, len(held_out)) if held_out else images)
    tracks = [track for track in snapshot.tracks if all(row.captions[track] is not None for row in held_out)]
    shuffled = {
        track: _deranged(held_out, track) for track in tracks if len({row.captions[track] for row in held_out}) > 1
    }
    return Measures(held_out, train_subset, own_track, tracks, shuffled)


def _chosen(rows: Sequence[Row], count: int) -> list[Row]:
    """`count` rows by hash: growing the set changes few of them."""
    by_hash = sorted(rows, key=lambda row: key(SEED, "measure", 0, 0, row.sha256))
    return sorted(by_hash[:count], key=lambda row: row.sha256)


def _deranged(rows: Sequence[Row], track: str) -> list[str]:
    """Another image's caption for every image: a turn of the images in hash order.

    Of all turns the first that leaves the fewest images with words equal to their own.
    """
    cycle = sorted(range(len(rows)), key=lambda i: key(SEED, "shuffle", 0, 0, rows[i].sha256))
    captions = [rows[i].captions[track] or "" for i in cycle]

    def unchanged(turn: int) -> int:
        return sum(captions[i] == captions[i - turn] for i in range(len(captions)))

    turn = min(range(1, len(rows)), key=unchanged)
    given = {place: captions[i - turn] for i, place in enumerate(cycle)}
    return [given[i] for i in range(len(rows))]


def fixed_timesteps(train_timesteps: int, count: int) -> list[int]:
    """The middles of `count` equal parts of the schedule."""
    return [int((part + 0.5) * train_timesteps / count) for part in range(count)]


@torch.no_grad()
def measure(
    family: Family,
    pairs: Sequence[Pair],
    latents: Latents | BucketLatents,
    positions: Mapping[str, int],
    text: TextEmbeddings,
    timesteps: int,
    batch_size: int,
    progress: Progress = silent,
) -> dict[Pair, Losses]:
    """The losses of every pair at the fixed timesteps. `positions` finds an image in `latents` by sha256.

    All (pair, timestep) go through the model in batches of `batch_size`; results come back from the device once.
    """
    steps = fixed_timesteps(family.train_timesteps, timesteps)
    work = [(pair, number) for pair in pairs for number in range(timesteps)]
    parts: list[Tensor] = []
    done: list[int] = []
    for alike in latents.group_by_size([positions[sha256] for (sha256, _), _ in work]):
        for start in range(0, len(alike), batch_size):
            batch = alike[start : start + batch_size]
            parts.append(_losses(family, [work[place] for place in batch], steps, latents, positions, text))
            done += batch
            progress("evaluating", len(done), len(work))
    if not parts:
        return {}
    in_order = torch.tensor(done).argsort()
    losses_PT = torch.cat(parts).double().cpu()[in_order].view(len(pairs), timesteps)
    return dict(zip(pairs, losses_PT.tolist(), strict=True))


def _losses(
    family: Family,
    batch: Sequence[tuple[Pair, int]],
    steps: Sequence[int],
    latents: Latents | BucketLatents,
    positions: Mapping[str, int],
    text: TextEmbeddings,
) -> Tensor:
    """Mean squared error of each (pair, timestep), (B,)."""
    images_B = torch.tensor([positions[sha256] for (sha256, _), _ in batch])
    timesteps_B = torch.tensor([steps[number] for _, number in batch], device=family.device)
    keys_B = torch.cat([keys(SEED, "measure-noise", number, 0, [sha256]) for (sha256, _), number in batch])
    mean_BCHW, logvar_BCHW = latents.at(images_B, torch.zeros_like(images_B), family.device)
    noise_BCHW = normal(keys_B.to(family.device), mean_BCHW.shape[1:])
    clean_BCHW = family.latents(mean_BCHW, logvar_BCHW, torch.zeros_like(mean_BCHW))
    noisy_BCHW = family.add_noise(clean_BCHW, noise_BCHW, timesteps_B)
    text_BTD = text.of([caption for (_, caption), _ in batch], family.device)
    sizes_B6 = latents.sizes(images_B, family.device)
    predicted_BCHW = family.predict(family.denoiser, noisy_BCHW, timesteps_B, text_BTD, sizes_B6)
    target_BCHW = family.target(clean_BCHW, noise_BCHW, timesteps_B)
    return (predicted_BCHW - target_BCHW).square().mean(dim=(1, 2, 3))


def leakage(base_tiles: Tensor, tiles: Tensor, rows: Sequence[int]) -> list[float]:
    """Root mean square distance, 0 to 1, of each picture to the base's, for the prompts at `rows`, seed by seed.

    Tiles are uint8 (prompts, seeds, height, width, 3) from the same noise.
    """
    difference = (tiles[list(rows)].double() - base_tiles[list(rows)].double()) / 255
    distances: list[float] = difference.square().mean(dim=(2, 3, 4)).sqrt().flatten().tolist()
    return distances
