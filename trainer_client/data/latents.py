"""Latents and text embeddings from the frozen encoders, computed once and cached by content.

A latents key is the image's sha256 (and whether it is mirrored), in a folder named by resolution, background, crop,
autoencoder and precision; an embedding key is the token ids, in a folder named by text encoder and precision. So an
edited caption or another tokenizer never matches an old embedding.

Shards are named by their own SHA-256 and renamed into place: processes can write side by side, damaged shards are
computed again, and `rm -r` of the cache is safe.

Shapes: N images, 2 = (plain, flipped; only plain without flips), C latent channels, H and W latent rows and columns, M
captions, T tokens, D text features.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from schemas.digest import sha256_json
from schemas.images.jpeg import Size
from schemas.progress import Progress, silent
from trainer_client.cache import default_folder
from trainer_client.cache.shards import Encoded, ShardCache
from trainer_client.cache.tensor_table import TensorTable
from trainer_client.data.images import background_colour, crop_sizes, pixels
from trainer_client.data.images import opacity as opacity_of
from trainer_client.data.model import Encoders
from trainer_client.data.parallel import in_threads
from trainer_client.data.snapshot import Row

T = TypeVar("T")

FORMAT = 5  # Raise it if the same key would get other values.
SHARD_PX = 1 << 24  # Pixels per shard: 64 images of 512 px, 4,096 of 64 px.
BATCHES_AHEAD = 2  # Encoded on a GPU while an earlier batch is stored.
BATCH_PX = 1 << 23  # Pixels per batch: 32 images of 512 px.
COMPILED_PX = 1 << 30  # From here compiling the encoder pays on a GPU: 4,096 images of 512 px.
FLIPPED = "-flipped"  # Suffix of a mirror image's key.
BATCH_CAPTIONS = 64


@dataclass(frozen=True)
class Latents:
    """The encoder's distributions for N images, plain and flipped, in the order of the rows."""

    mean_N2CHW: Tensor
    logvar_N2CHW: Tensor
    sizes_N6: Tensor  # int64: see `crop_sizes`.
    opacity_NHW: Tensor | None = None  # uint8, if it was asked for.

    def at(self, indices_B: Tensor, flips_B: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return (mean, log-variance), float32 on the device; flips are 0 or 1."""
        chosen = (indices_B.to(self.mean_N2CHW.device), flips_B.to(self.mean_N2CHW.device))
        return self.mean_N2CHW[chosen].to(device).float(), self.logvar_N2CHW[chosen].to(device).float()

    def opacity(self, indices_B: Tensor, flips_B: Tensor, device: torch.device) -> Tensor:
        """Return (B, 1, H, W) from 0 to 1."""
        assert self.opacity_NHW is not None
        plain_BHW = self.opacity_NHW[indices_B.to(self.opacity_NHW.device)].to(device)
        shown_BHW = torch.where(flips_B.to(device)[:, None, None] == 1, plain_BHW.flip(2), plain_BHW)
        return shown_BHW[:, None].float() / 255

    def opaque_share(self, index: int) -> float:
        """Return the mean opacity of one image, 0 to 1."""
        assert self.opacity_NHW is not None
        return float(self.opacity_NHW[index].double().mean()) / 255

    def sizes(self, indices_B: Tensor, device: torch.device) -> Tensor:
        """Return the size conditioning, (B, 6) on the device."""
        return self.sizes_N6[indices_B.to(self.sizes_N6.device)].to(device)

    def group_by_size(self, indices: Sequence[int]) -> list[list[int]]:
        """Return positions in `indices`, ascending, grouped by image size."""
        return [list(range(len(indices)))] if indices else []


@dataclass(frozen=True)
class BucketLatents:
    """Latents of several sizes, with the methods of `Latents`. Request images of one size: see `group_by_size`."""

    parts: list[Latents]
    part_N: Tensor  # int64 on the CPU: the part of each image, and its index there.
    within_N: Tensor

    def group_by_size(self, indices: Sequence[int]) -> list[list[int]]:
        positions_by_part: dict[int, list[int]] = {}
        for position, part in enumerate(self.part_N[list(indices)].tolist()):
            positions_by_part.setdefault(part, []).append(position)
        return [positions_by_part[part] for part in sorted(positions_by_part)]

    def at(self, indices_B: Tensor, flips_B: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        part, within_B = self._part(indices_B)
        return part.at(within_B, flips_B, device)

    def opacity(self, indices_B: Tensor, flips_B: Tensor, device: torch.device) -> Tensor:
        part, within_B = self._part(indices_B)
        return part.opacity(within_B, flips_B, device)

    def opaque_share(self, index: int) -> float:
        return self.parts[int(self.part_N[index])].opaque_share(int(self.within_N[index]))

    def sizes(self, indices_B: Tensor, device: torch.device) -> Tensor:
        part, within_B = self._part(indices_B)
        return part.sizes(within_B, device)

    def _part(self, indices_B: Tensor) -> tuple[Latents, Tensor]:
        cpu_indices_B = indices_B.cpu()
        (number,) = set(self.part_N[cpu_indices_B].tolist())
        return self.parts[number], self.within_N[cpu_indices_B]


@dataclass(frozen=True)
class TextEmbeddings:
    """The text encoder's output for M distinct captions."""

    captions: dict[str, int]  # caption -> index
    text_MTD: Tensor

    def indices(self, captions: Sequence[str]) -> Tensor:
        """Return int64 (B,) on the embeddings' device. Raise KeyError for an unknown caption."""
        return torch.tensor([self.captions[caption] for caption in captions], device=self.text_MTD.device)

    def at(self, indices_B: Tensor, device: torch.device) -> Tensor:
        """Return (B, T, D) float32 on the device."""
        return self.text_MTD[indices_B.to(self.text_MTD.device)].to(device).float()

    def of(self, captions: Sequence[str], device: torch.device) -> Tensor:
        """Return (B, T, D) float32 on the device."""
        return self.at(self.indices(captions), device)


def cache_latents(
    family: Encoders,
    rows: Sequence[Row],
    folder: Path | None = None,
    background: str = "white",
    batch_size: int | None = None,
    opacity: bool = False,
    progress: Progress = silent,
    size: Size | None = None,
    flips: bool = True,
) -> Latents:
    """Return the images' latents, with mirror images (`flips`) and opacity if asked for; encode what the cache lacks.

    All cores read images while the encoder works; for many images it is compiled. `size` is (width, height).
    """
    side_px = family.resolution_px
    size = size or (side_px, side_px)
    is_square = size == (side_px, side_px)
    settings = {
        "format": FORMAT,
        "encoder": family.image_encoder_digest,
        "resolution_px": side_px if is_square else list(size),
        "background": list(background_colour(background)),
        "crop": "middle square, bicubic" if is_square else "middle, bicubic",
        "precision": str(family.dtype),
    }
    shards = ShardCache((folder or default_folder()) / "latents" / sha256_json(settings)[:32])
    row_of = {row.sha256 + end: row for row in rows for end in ("", FLIPPED)[: 1 + flips]}
    images_per_batch = batch_size or max(1, BATCH_PX // (size[0] * size[1]))

    def read_image(keys: Sequence[str]) -> list[Tensor]:
        image_HWC = torch.from_numpy(pixels(row_of[keys[0]], size, background))
        return [image_HWC.flip(1) if key.endswith(FLIPPED) else image_HWC for key in keys]

    def encode(keys: Sequence[str]) -> Encoded:
        keys_by_image = [list(group) for _, group in groupby(keys, lambda key: key.removesuffix(FLIPPED))]
        pays = len(keys) * size[0] * size[1] >= COMPILED_PX
        with (
            family.compiled_image_encoder() if pays else nullcontext(family.encode_images) as encode_images,
            cores_for_readers(family.device),
            # Closed, so that an error stops the readers.
            closing(in_threads(read_image, keys_by_image, "", ahead=3 * images_per_batch)) as images,
        ):
            yield from _encoded(family, encode_images, keys, chain.from_iterable(images), images_per_batch, whole=pays)

    shard_size = max(1, SHARD_PX // side_px**2)
    table = TensorTable(list(row_of), shards.folder)
    shards.complete(table, list(row_of), encode, shard_size, "encoding images", progress)
    shape = (len(rows), 1 + flips, 2)
    both_N22CHW = torch.empty(*shape, *family.latent_shape, dtype=family.dtype)
    if rows and table.rows_N is not None:
        both_N22CHW = table.rows_N.view(*shape, *table.rows_N.shape[2:])
    sizes_N6 = torch.tensor([crop_sizes(row, size) for row in rows], dtype=torch.int64).reshape(len(rows), 6)
    opacity_NHW = _opacity(rows, (both_N22CHW.shape[-2], both_N22CHW.shape[-1]), folder, progress) if opacity else None
    on_device = both_N22CHW.to(_placement(both_N22CHW, family.device))
    return Latents(on_device[:, :, 0], on_device[:, :, 1], sizes_N6.to(on_device.device), opacity_NHW)


def cache_buckets(
    family: Encoders,
    rows: Sequence[Row],
    bucket_of: Mapping[str, Size],
    folder: Path | None = None,
    background: str = "white",
    opacity: bool = False,
    progress: Progress = silent,
    flips: bool = True,
) -> BucketLatents:
    """Like `cache_latents`, for images of the sizes in `bucket_of`, by sha256."""
    sizes = sorted({bucket_of[row.sha256] for row in rows})
    parts, part_N, within_N = [], torch.zeros(len(rows)), torch.zeros(len(rows))
    for number, size in enumerate(sizes):
        indices = [index for index, row in enumerate(rows) if bucket_of[row.sha256] == size]
        some = [rows[index] for index in indices]
        parts.append(
            cache_latents(family, some, folder, background, opacity=opacity, progress=progress, size=size, flips=flips)
        )
        part_N[indices], within_N[indices] = float(number), torch.arange(len(indices), dtype=torch.float32)
    return BucketLatents(parts, part_N.long(), within_N.long())


def _opacity(rows: Sequence[Row], size: Size, folder: Path | None, progress: Progress) -> Tensor:
    """Return uint8 (N, H, W); `size` is (H, W)."""
    settings = {"format": FORMAT, "size": list(size), "crop": "middle, box"}
    shards = ShardCache((folder or default_folder()) / "opacity" / sha256_json(settings)[:32])
    row_of = {row.sha256: row for row in rows}

    def read(keys: Sequence[str]) -> Encoded:
        masks = in_threads(lambda key: opacity_of(row_of[key], size[1], size[0]), keys, "")
        for key, mask in zip(keys, masks, strict=True):
            opaque = torch.full(size, 255, dtype=torch.uint8)
            yield key, opaque if mask is None else torch.from_numpy(mask)

    opacities = shards.complete({}, list(row_of), read, 1 << 12, "reading transparency", progress)
    return torch.stack([opacities[row.sha256] for row in rows])


def cache_text(
    family: Encoders, captions: Sequence[str], folder: Path | None = None, progress: Progress = silent
) -> TextEmbeddings:
    """Return the embeddings of the distinct captions, and of ""."""
    distinct = list(dict.fromkeys(["", *captions]))
    settings = {"format": FORMAT, "encoder": family.text_encoder_digest, "precision": str(family.dtype)}
    shards = ShardCache((folder or default_folder()) / "text" / sha256_json(settings)[:32])
    ids_MT = torch.cat([family.tokenise(part).cpu() for part in _chunks(distinct, 4096)])
    keys = [hashlib.sha256(ids.numpy().astype("<i8").tobytes()).hexdigest() for ids in ids_MT]
    ids_of = dict(zip(keys, ids_MT, strict=True))

    def encode(missing: Sequence[str]) -> Encoded:
        for part in _chunks(missing, BATCH_CAPTIONS):
            text_BTD = family.encode_text(torch.stack([ids_of[key] for key in part]).to(family.device))
            yield from zip(part, text_BTD.to(family.dtype).cpu(), strict=True)

    table = TensorTable(keys, shards.folder)
    text_MTD = shards.complete(table, keys, encode, 1024, "encoding captions", progress).rows_N
    assert text_MTD is not None  # The empty caption is always there.
    indices = {caption: index for index, caption in enumerate(distinct)}
    return TextEmbeddings(indices, text_MTD.to(_placement(text_MTD, family.device)))


def _encoded(
    family: Encoders,
    encode_images: Callable[[Tensor], tuple[Tensor, Tensor]],
    keys: Sequence[str],
    images: Iterator[Tensor],
    images_per_batch: int,
    whole: bool,
) -> Iterator[tuple[str, Tensor]]:
    """Yield each key with its mean and log-variance (2, C, H, W), in the family's precision on the CPU.

    Results are copied while later batches run. `whole` pads the last batch: another size would be compiled anew.
    """
    running: deque[tuple[Sequence[str], CpuCopy]] = deque()
    for names in _chunks(keys, images_per_batch):
        batch = [next(images) for _ in names]
        batch += batch[-1:] * (images_per_batch - len(batch)) if whole else []
        pixels_BHWC = _to_device(batch, family.device)
        mean_BCHW, logvar_BCHW = encode_images(pixels_BHWC.permute(0, 3, 1, 2).float() / 127.5 - 1)
        running.append((names, CpuCopy(torch.stack((mean_BCHW, logvar_BCHW), dim=1).to(family.dtype))))
        if len(running) > BATCHES_AHEAD:
            yield from _copied(*running.popleft())
    while running:
        yield from _copied(*running.popleft())


@contextmanager
def cores_for_readers(device: torch.device) -> Iterator[None]:
    """Limit torch to one CPU thread while a GPU encodes: the other cores read images.

    A batch stacked on all cores waits for the slowest, while the others spin.
    """
    before = torch.get_num_threads()
    if device.type == "cuda":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _copied(names: Sequence[str], fetched: CpuCopy) -> Iterator[tuple[str, Tensor]]:
    yield from zip(names, fetched.tensor(), strict=False)  # The last batch may be padded.


def _to_device(images: list[Tensor], device: torch.device) -> Tensor:
    if device.type != "cuda":
        return torch.stack(images).to(device)
    stacked = torch.empty(len(images), *images[0].shape, dtype=images[0].dtype, pin_memory=True)
    return torch.stack(images, out=stacked).to(device, non_blocking=True)


class CpuCopy:
    """An asynchronous copy of a tensor from the device to the CPU."""

    def __init__(self, tensor: Tensor) -> None:
        self.event: torch.cuda.Event | None = None
        self.copy = tensor
        if tensor.device.type == "cuda":
            self.copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self.copy.copy_(tensor, non_blocking=True)
            self.event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self.event.record()

    def tensor(self) -> Tensor:
        if self.event is not None:
            self.event.synchronize()
        return self.copy.cpu()


def _placement(tensor: Tensor, device: torch.device) -> torch.device:
    """Return the device if the tensor needs at most a quarter of its free memory, else the CPU."""
    if device.type != "cuda":
        return device
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return device if tensor.nbytes <= free_bytes / 4 else torch.device("cpu")


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
