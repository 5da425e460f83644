"""What the frozen encoders make of pictures and captions, made once and kept on disk by content.

An entry's key is everything that made it: for latents the picture's sha256 (and whether it is mirrored), in a folder
named by (resolution, background, crop, autoencoder, precision); for embeddings the token ids themselves, in a folder
named by (text encoder, precision). So an edited caption can't meet an old embedding, nor can another tokenizer's.

A shard is a safetensors file named by its own bytes' SHA-256: it is written under a temporary name and renamed, two
processes can write side by side, and a damaged one is noticed, deleted and made again. An interrupted encoding keeps
its finished shards. No file is ever changed; `rm -r` of the cache is always safe.

Shapes: N images, 2 = (plain, flipped; plain alone where flips weren't asked for), C latent channels, H and W latent
rows and columns, M captions, T tokens, D text features.
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
from trainer_client.cache.shards import Encoded, Shelf
from trainer_client.data.images import background_colour, crop_sizes, pixels
from trainer_client.data.images import opacity as opacity_of
from trainer_client.data.model import Encoders
from trainer_client.data.parallel import in_threads
from trainer_client.data.snapshot import Row

T = TypeVar("T")

FORMAT = 5  # Raise it when the same key would hold other values.
SHARD_PX = 1 << 24  # Pictures encoded between two writes: 64 of 512 px, 4,096 of 64 px.
BEGUN_BATCHES = 2  # Encoded by a GPU while the one before them is kept.
BATCH_PX = 1 << 23  # Pictures encoded at once: 32 of 512 px.
COMPILED_PX = 1 << 30  # Pictures for which compiling the encoder pays on a GPU: 4,096 of 512 px.
FLIPPED = "-flipped"  # After the key of a mirror image.
BATCH_CAPTIONS = 64


@dataclass(frozen=True)
class Latents:
    """The encoder's distributions for N images, plain and flipped, in the order of the rows asked for."""

    mean_N2CHW: Tensor
    logvar_N2CHW: Tensor
    sizes_N6: Tensor  # int64: the picture's height and width, top and left of the crop, height and width trained at.
    opacity_NHW: Tensor | None = None  # uint8, where it was asked for.

    def at(self, indices_B: Tensor, flips_B: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """(mean, log-variance) of some images as float32 on the device; flips are 0 or 1."""
        where = (indices_B.to(self.mean_N2CHW.device), flips_B.to(self.mean_N2CHW.device))
        return self.mean_N2CHW[where].to(device).float(), self.logvar_N2CHW[where].to(device).float()

    def opacity(self, indices_B: Tensor, flips_B: Tensor, device: torch.device) -> Tensor:
        """How opaque some images are, (B, 1, H, W) from 0 to 1."""
        assert self.opacity_NHW is not None
        plain_BHW = self.opacity_NHW[indices_B.to(self.opacity_NHW.device)].to(device)
        shown_BHW = torch.where(flips_B.to(device)[:, None, None] == 1, plain_BHW.flip(2), plain_BHW)
        return shown_BHW[:, None].float() / 255

    def opaque_share(self, place: int) -> float:
        """How much of one image is opaque, 0 to 1."""
        assert self.opacity_NHW is not None
        return float(self.opacity_NHW[place].double().mean()) / 255

    def sizes(self, indices_B: Tensor, device: torch.device) -> Tensor:
        """(B, 6) on the device: what a denoiser that is conditioned on sizes is told of these images."""
        return self.sizes_N6[indices_B.to(self.sizes_N6.device)].to(device)

    def apart(self, places: Sequence[int]) -> list[list[int]]:
        """Which of `places` may go through a model together, as positions in that list, ascending: all of them."""
        return [list(range(len(places)))] if places else []


@dataclass(frozen=True)
class BucketLatents:
    """Latents of several sizes. What is asked for at once must be of one: see `apart`."""

    parts: list[Latents]
    part_N: Tensor  # int64 on the CPU: which part an image is in, and its place there.
    within_N: Tensor

    def apart(self, places: Sequence[int]) -> list[list[int]]:
        """As `Latents.apart`: those of one size."""
        found: dict[int, list[int]] = {}
        for position, part in enumerate(self.part_N[list(places)].tolist()):
            found.setdefault(part, []).append(position)
        return [found[part] for part in sorted(found)]

    def at(self, indices_B: Tensor, flips_B: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """As `Latents.at`."""
        part, within_B = self._one(indices_B)
        return part.at(within_B, flips_B, device)

    def opacity(self, indices_B: Tensor, flips_B: Tensor, device: torch.device) -> Tensor:
        """As `Latents.opacity`."""
        part, within_B = self._one(indices_B)
        return part.opacity(within_B, flips_B, device)

    def opaque_share(self, place: int) -> float:
        """As `Latents.opaque_share`."""
        return self.parts[int(self.part_N[place])].opaque_share(int(self.within_N[place]))

    def sizes(self, indices_B: Tensor, device: torch.device) -> Tensor:
        """As `Latents.sizes`."""
        part, within_B = self._one(indices_B)
        return part.sizes(within_B, device)

    def _one(self, indices_B: Tensor) -> tuple[Latents, Tensor]:
        here_B = indices_B.cpu()
        (number,) = set(self.part_N[here_B].tolist())
        return self.parts[number], self.within_N[here_B]


@dataclass(frozen=True)
class TextEmbeddings:
    """The text encoder's output for M distinct captions."""

    captions: dict[str, int]  # caption -> position
    text_MTD: Tensor

    def indices(self, captions: Sequence[str]) -> Tensor:
        """Positions of captions, int64 (B,) on the embeddings' device. Raises KeyError for one that wasn't encoded."""
        return torch.tensor([self.captions[caption] for caption in captions], device=self.text_MTD.device)

    def at(self, indices_B: Tensor, device: torch.device) -> Tensor:
        """(B, T, D) float32 on the device."""
        return self.text_MTD[indices_B.to(self.text_MTD.device)].to(device).float()

    def of(self, captions: Sequence[str], device: torch.device) -> Tensor:
        """(B, T, D) float32 of captions, on the device."""
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
    """The latents of the rows' pictures, of their mirror images (`flips`), with their opacity where it is asked for.

    Encodes what the cache doesn't have: pictures are read on all cores while the encoder works, which is compiled where
    there are so many that it pays. `size` is the pictures' where they aren't square.
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
    shelf = Shelf((folder or default_folder()) / "latents" / sha256_json(settings)[:32])
    row_of = {row.sha256 + end: row for row in rows for end in ("", FLIPPED)[: 1 + flips]}
    at_once = batch_size or max(1, BATCH_PX // (size[0] * size[1]))

    def read(keys: Sequence[str]) -> list[Tensor]:
        """One picture, as each of the keys has it."""
        picture_HWC = torch.from_numpy(pixels(row_of[keys[0]], size, background))
        return [picture_HWC.flip(1) if key.endswith(FLIPPED) else picture_HWC for key in keys]

    def encode(keys: Sequence[str]) -> Encoded:
        each = [list(alike) for _, alike in groupby(keys, lambda key: key.removesuffix(FLIPPED))]
        pays = len(keys) * size[0] * size[1] >= COMPILED_PX
        with (
            family.encoding_many() if pays else nullcontext(family.encode_images) as encode_images,
            left_to_readers(family.device),
            closing(in_threads(read, each, "", ahead=3 * at_once)) as pictures,  # Nobody reads on after an error.
        ):
            yield from _encoded(family, encode_images, keys, chain.from_iterable(pictures), at_once, whole=pays)

    in_shard = max(1, SHARD_PX // side_px**2)
    table = shelf.fill(list(row_of), encode, in_shard, "encoding images", progress)
    shape = (len(rows), 1 + flips, 2)
    both_N22CHW = torch.empty(*shape, *family.latent_shape, dtype=family.dtype)
    if rows and table.rows_N is not None:
        both_N22CHW = table.rows_N.view(*shape, *table.rows_N.shape[2:])
    sizes_N6 = torch.tensor([crop_sizes(row, size) for row in rows], dtype=torch.int64).reshape(len(rows), 6)
    found_NHW = _opacity(rows, (both_N22CHW.shape[-2], both_N22CHW.shape[-1]), folder, progress) if opacity else None
    on_device = both_N22CHW.to(_where(both_N22CHW, family.device))
    return Latents(on_device[:, :, 0], on_device[:, :, 1], sizes_N6.to(on_device.device), found_NHW)


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
    """`cache_latents` of pictures that each have the size of their bucket, found by sha256."""
    sizes = sorted({bucket_of[row.sha256] for row in rows})
    parts, part_N, within_N = [], torch.zeros(len(rows)), torch.zeros(len(rows))
    for number, size in enumerate(sizes):
        own = [place for place, row in enumerate(rows) if bucket_of[row.sha256] == size]
        some = [rows[place] for place in own]
        parts.append(
            cache_latents(family, some, folder, background, opacity=opacity, progress=progress, size=size, flips=flips)
        )
        part_N[own], within_N[own] = float(number), torch.arange(len(own), dtype=torch.float32)
    return BucketLatents(parts, part_N.long(), within_N.long())


def _opacity(rows: Sequence[Row], size: Size, folder: Path | None, progress: Progress) -> Tensor:
    """uint8 (N, H, W); `size` is (H, W)."""
    settings = {"format": FORMAT, "size": list(size), "crop": "middle, box"}
    shelf = Shelf((folder or default_folder()) / "opacity" / sha256_json(settings)[:32])
    row_of = {row.sha256: row for row in rows}

    def read(keys: Sequence[str]) -> Encoded:
        masks = in_threads(lambda key: opacity_of(row_of[key], size[1], size[0]), keys, "")
        for key, mask in zip(keys, masks, strict=True):
            opaque = torch.full(size, 255, dtype=torch.uint8)
            yield key, opaque if mask is None else torch.from_numpy(mask)

    found = shelf.complete([row.sha256 for row in rows], read, 1 << 12, "reading transparency", progress)
    return torch.stack([found[row.sha256] for row in rows])


def cache_text(
    family: Encoders, captions: Sequence[str], folder: Path | None = None, progress: Progress = silent
) -> TextEmbeddings:
    """The embeddings of the distinct captions among these (and of "", for dropout and guidance)."""
    distinct = list(dict.fromkeys(["", *captions]))
    settings = {"format": FORMAT, "encoder": family.text_encoder_digest, "precision": str(family.dtype)}
    shelf = Shelf((folder or default_folder()) / "text" / sha256_json(settings)[:32])
    ids_MT = torch.cat([family.tokenise(part).cpu() for part in _chunks(distinct, 4096)])
    keys = [hashlib.sha256(ids.numpy().astype("<i8").tobytes()).hexdigest() for ids in ids_MT]
    ids_of = dict(zip(keys, ids_MT, strict=True))

    def encode(missing: Sequence[str]) -> Encoded:
        for part in _chunks(missing, BATCH_CAPTIONS):
            text_BTD = family.encode_text(torch.stack([ids_of[key] for key in part]).to(family.device))
            yield from zip(part, text_BTD.to(family.dtype).cpu(), strict=True)

    text_MTD = shelf.fill(keys, encode, 1024, "encoding captions", progress).rows_N
    assert text_MTD is not None  # There is always the empty caption.
    positions = {caption: position for position, caption in enumerate(distinct)}
    return TextEmbeddings(positions, text_MTD.to(_where(text_MTD, family.device)))


def _encoded(
    family: Encoders,
    encode_images: Callable[[Tensor], tuple[Tensor, Tensor]],
    keys: Sequence[str],
    pictures: Iterator[Tensor],
    at_once: int,
    whole: bool,
) -> Iterator[tuple[str, Tensor]]:
    """Each key with its (mean and logvar, C, H, W), in the family's precision on the CPU.

    A batch is fetched after the next ones are begun, so that the device never waits for this. `whole` fills the last
    batch up: another size would be compiled anew.
    """
    begun: deque[tuple[Sequence[str], Fetched]] = deque()
    for names in _chunks(keys, at_once):
        batch = [next(pictures) for _ in names]
        batch += batch[-1:] * (at_once - len(batch)) if whole else []
        pixels_BHWC = _sent(batch, family.device)
        mean_BCHW, logvar_BCHW = encode_images(pixels_BHWC.permute(0, 3, 1, 2).float() / 127.5 - 1)
        begun.append((names, Fetched(torch.stack((mean_BCHW, logvar_BCHW), dim=1).to(family.dtype))))
        if len(begun) > BEGUN_BATCHES:
            yield from _named(*begun.popleft())
    while begun:
        yield from _named(*begun.popleft())


@contextmanager
def left_to_readers(device: torch.device) -> Iterator[None]:
    """While a GPU encodes, torch uses one core: the threads that read pictures have the others.

    A batch stacked on all cores waits for the slowest of them, and those that are done wait by spinning.
    """
    before = torch.get_num_threads()
    if device.type == "cuda":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _named(names: Sequence[str], fetched: Fetched) -> Iterator[tuple[str, Tensor]]:
    yield from zip(names, fetched.tensor(), strict=False)  # The last batch may be filled up.


def _sent(pictures: list[Tensor], device: torch.device) -> Tensor:
    """Stacked on the device; on a GPU in its turn, without waiting for what it works on."""
    if device.type != "cuda":
        return torch.stack(pictures).to(device)
    stacked = torch.empty(len(pictures), *pictures[0].shape, dtype=pictures[0].dtype, pin_memory=True)
    return torch.stack(pictures, out=stacked).to(device, non_blocking=True)


class Fetched:
    """A tensor on its way from the device to the CPU; only `tensor` waits for it."""

    def __init__(self, tensor: Tensor) -> None:
        self.event: torch.cuda.Event | None = None
        self.copy = tensor
        if tensor.device.type == "cuda":
            self.copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self.copy.copy_(tensor, non_blocking=True)
            self.event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self.event.record()

    def tensor(self) -> Tensor:
        """It, on the CPU."""
        if self.event is not None:
            self.event.synchronize()
        return self.copy.cpu()


def _where(tensor: Tensor, device: torch.device) -> torch.device:
    """The device, where the tensor takes at most a quarter of its free memory; else the CPU, from where steps fetch."""
    if device.type != "cuda":
        return device
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return device if tensor.nbytes <= free_bytes / 4 else torch.device("cpu")


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
