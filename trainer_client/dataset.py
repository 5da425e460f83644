"""A snapshot folder as the trainer reads it: verified rows, and pictures as square pixels. Needs no curator.

The folder's format is `schemas/spec/snapshot.md`. Nothing is trained on unverified: every file's size and SHA-256,
the counts and the snapshot's identity are checked first, and the first difference names its file.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from PIL import Image, ImageColor, UnidentifiedImageError
from pydantic import ValidationError

from schemas import jpeg
from schemas.digest import sha256_file, snapshot_identity
from schemas.document import FileRef, first_problem
from schemas.errors import AmatlError, BadDocument, BadOption, ChecksumMismatch, NotFound
from schemas.orientation import in_words, orientation, upright
from schemas.progress import Progress, silent
from schemas.samples import eight_bits
from schemas.snapshot import SPLITS, SampleRow, SnapshotManifest, Split, manifest_digest
from trainer_client.fetch import local

if TYPE_CHECKING:
    from numpy.typing import NDArray

Size = tuple[int, int]  # Width and height in pixels.
Item = TypeVar("Item")
Result = TypeVar("Result")

SPARE_SIZE = 2  # How many times the size asked for a picture is decoded at, at least.
THREADS = min(32, os.cpu_count() or 1)  # Hashing and decoding release the interpreter's lock.


class BadImage(AmatlError):
    """A picture can't be decoded. Take the image out of the set and export the snapshot again."""


class BadSnapshot(AmatlError):
    """The folder isn't a whole snapshot. Export it again with `curator snapshot`."""


@dataclass(frozen=True)
class Row:
    """One image of the snapshot with its caption in each track (None where the track has none)."""

    path: Path
    sha256: str
    captions: dict[str, str | None]
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Snapshot:
    """An opened snapshot. `rows` are in the order of their image's sha256, whatever the files' order is."""

    folder: Path
    manifest: SnapshotManifest
    rows_of: dict[Split, list[Row]]
    made: frozenset[str] = frozenset()  # Tracks that a run made of others: in memory, not in the folder.

    @classmethod
    def open(cls, folder: Path | str, verify: bool = True, progress: Progress = silent) -> Self:
        """Reads the manifest and every row; with `verify` checks every file's bytes, the counts and the identity.

        `folder` may be a snapshot's address at a curator service: then it is fetched into the cache first.
        Raises NotFound (no snapshot there), BadDocument, BadSnapshot, ChecksumMismatch naming the file, ServiceFailed.
        """
        folder = local(folder, progress)
        manifest = _read_manifest(folder)
        rows_of: dict[Split, list[Row]] = {}
        images: list[tuple[Path, FileRef]] = []
        for split in SPLITS:
            rows_of[split] = []
            if split in manifest.splits:
                rows_of[split], references = _read_split(folder, manifest, split)
                images += references
        snapshot = cls(folder, manifest, rows_of)
        if verify:
            _check_seal(folder / "manifest.json", manifest.manifest_digest)
            check_file(folder / manifest.samples.path, manifest.samples)
            snapshot._check_identity()
            for _ in in_threads(lambda image: check_file(*image), images, "verifying checksums", progress):
                pass
        return snapshot

    def rows(self, split: Split) -> list[Row]:
        """The rows of a split, sorted by sha256."""
        return self.rows_of[split]

    @property
    def tracks(self) -> list[str]:
        """The names of the caption tracks, the first one being `text`."""
        return [track.name for track in self.manifest.tracks]

    def track(self, name: str | None) -> str:
        """The track called `name`, or the only one there is. Raises BadOption listing the tracks."""
        listed = ", ".join(self.tracks)
        if name is None:
            if len(self.tracks) == 1:
                return self.tracks[0]
            raise BadOption(
                f"{self.folder} has {len(self.tracks)} caption tracks: choose one with --captions: {listed}."
            )
        if name not in self.tracks:
            near = difflib.get_close_matches(name, self.tracks, n=1)
            hint = f" Did you mean `{near[0]}`?" if near else ""
            raise BadOption(f"{self.folder} has no caption track `{name}`. Its tracks: {listed}.{hint}")
        return name

    def _check_identity(self) -> None:
        rows = [(row, split) for split in SPLITS for row in self.rows(split)]
        if len({row.sha256 for row, _ in rows}) < len(rows):
            raise BadSnapshot(f"{self.folder}: an image is there twice. Export the snapshot again.")
        found = (
            snapshot_identity((row.sha256, row.captions, split) for row, split in rows),
            snapshot_identity((row.sha256, {}, split) for row, split in rows),
        )
        if found != (self.manifest.identity, self.manifest.images_identity):
            raise ChecksumMismatch(
                f"{self.folder / 'manifest.json'}: its identity isn't that of the images, captions and split in the"
                " folder. Export the snapshot again."
            )


def _read_manifest(folder: Path) -> SnapshotManifest:
    path = folder / "manifest.json"
    if not folder.is_dir():
        raise NotFound(f"{folder}: there is no such folder. Make a snapshot with `curator snapshot`.")
    if not path.is_file():
        raise NotFound(f"{folder}: not a snapshot, it has no manifest.json (an unfinished export has none either).")
    manifest = SnapshotManifest.read(path)
    if "train" not in manifest.splits or not manifest.splits["train"].samples:
        raise BadSnapshot(f"{path}: no image to train on. Export it again, holding out fewer.")
    return manifest


def _check_seal(path: Path, digest: str | None) -> None:
    """Checks the manifest's own digest where it has one."""
    if digest is not None and manifest_digest(json.loads(path.read_bytes())) != digest:
        raise ChecksumMismatch(f"{path}: isn't what was written. Copy the snapshot again from where it came.")


def _read_split(folder: Path, manifest: SnapshotManifest, split: Split) -> tuple[list[Row], list[tuple[Path, FileRef]]]:
    """The rows of metadata.jsonl and, for each, what its image must be."""
    count = manifest.splits[split]
    path = folder / count.metadata.path  # The contract allows no path that leads out of the folder.
    check_file(path, count.metadata)
    rows: list[Row] = []
    references: list[tuple[Path, FileRef]] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):  # of bytes: only at newlines
        where = f"{path}, line {number}"
        sample, columns = _parse(line, where)
        captions = {track.name: _caption(columns, track.column, where) for track in manifest.tracks}
        file = folder / count.folder / sample.file_name
        rows.append(Row(file, sample.sha256, captions, sample.width_px, sample.height_px))
        references.append((file, FileRef(path=sample.file_name, sha256=sample.sha256, size_bytes=sample.size_bytes)))
    if len(rows) != count.samples:
        raise BadSnapshot(f"{path}: {len(rows)} rows, but the manifest counts {count.samples}. Export it again.")
    return sorted(rows, key=lambda row: row.sha256), references


def _parse(line: bytes, where: str) -> tuple[SampleRow, dict[str, Any]]:
    try:
        columns = json.loads(line)
        return SampleRow.model_validate(columns), columns
    except ValidationError as error:
        raise BadDocument(f"{where}: {first_problem(error)}") from error
    except ValueError as error:
        raise BadDocument(f"{where}: not JSON ({error}).") from error


def _caption(columns: dict[str, Any], column: str, where: str) -> str | None:
    caption = columns.get(column)
    if caption is not None and not isinstance(caption, str):
        raise BadDocument(f"{where}: {column} is no text.")
    return caption


def check_file(path: Path, reference: FileRef) -> None:
    """Raises NotFound or ChecksumMismatch, naming the file, unless its bytes are those referred to."""
    try:
        size_bytes = path.stat().st_size
        found = sha256_file(path) if size_bytes == reference.size_bytes else None
    except FileNotFoundError as error:
        raise NotFound(f"{path}: missing from the snapshot. Copy or export the snapshot again.") from error
    if found is None:
        what = f"{size_bytes} bytes instead of {reference.size_bytes}"
    elif found != reference.sha256:
        what = f"its SHA-256 is {found[:12]}…, the snapshot says {reference.sha256[:12]}…"
    else:
        return
    raise ChecksumMismatch(f"{path}: changed since the export: {what}. Copy or export the snapshot again.")


def in_threads(
    work: Callable[[Item], Result], items: Sequence[Item], stage: str, progress: Progress = silent, ahead: int = 0
) -> Generator[Result, None, None]:
    """`work` of each item in order, a few at a time; the first error stops the rest.

    At least `ahead` items are worked on before the reader wants them.
    """
    pool = ThreadPoolExecutor(THREADS)
    try:
        for done, result in enumerate(_windowed(pool, work, items, max(ahead, 4 * THREADS)), start=1):
            progress(stage, done, len(items))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _windowed(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """`pool.map` that runs at most `ahead` items before its reader, so that results don't pile up in memory."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def background_colour(name: str) -> tuple[int, int, int]:
    """A colour name or `#rrggbb` as RGB. Raises BadOption."""
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise BadOption(f"--background {name!r} is no colour. Use a name (white) or #rrggbb.") from error


def pixels(row: Row, size_px: int | Size, background: str = "white") -> NDArray[np.uint8]:
    """The picture as training sees it: uint8 (H, W, 3); one number for a square.

    EXIF rotation applied, alpha composited on `background`, the middle cut out in the shape asked for, resized with
    antialiasing (bicubic: torch's takes a tenth of the time of Pillow's Lanczos and differs from it by 0.4 of 255 on
    average where 1024 px become 512). A JPEG of four times the size and more is decoded at a half, a quarter or an
    eighth, in about half the time, and is as near. Raises BadImage, ChecksumMismatch, NotFound naming the file.
    """
    import torch

    width, height = (size_px, size_px) if isinstance(size_px, int) else size_px
    colour = background_colour(background)
    with _reading(row) as content:
        whole_HWC = _rgb(content, (SPARE_SIZE * height, SPARE_SIZE * width), colour)
    left, top, right, bottom = _middle((whole_HWC.shape[1], whole_HWC.shape[0]), (width, height))
    cut_1HWC = torch.from_numpy(whole_HWC[top:bottom, left:right])[None]
    if cut_1HWC.shape[1:3] != (height, width):
        cut_1CHW = cut_1HWC.permute(0, 3, 1, 2)  # Channels last, also to torch: it needn't copy them apart.
        cut_1CHW = torch.nn.functional.interpolate(cut_1CHW, (height, width), mode="bicubic", antialias=True)
        cut_1HWC = cut_1CHW.permute(0, 2, 3, 1)
    resized_HWC: NDArray[np.uint8] = np.ascontiguousarray(cut_1HWC[0].numpy())
    return resized_HWC


def _rgb(content: bytes, at_least_px: Size, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Upright (H, W, 3); a JPEG no smaller than (height, width)."""
    if content.startswith(jpeg.MAGIC):
        try:
            decoded = jpeg.decode_rgb(content, at_least_px)
        except (ValueError, MemoryError):
            decoded = None  # Pillow says what is wrong (a size that can't be true), or bears with it.
        if decoded is not None:
            return decoded
    with Image.open(io.BytesIO(content)) as image:
        jpeg.draft(image, at_least_px, orientation(image))
        return np.array(on_background(eight_bits(upright(image)), colour))


def _middle(image: Size, shape: Size) -> tuple[int, int, int, int]:
    """The largest box of a shape in the middle of a picture."""
    width = min(image[0], max(1, round(image[1] * shape[0] / shape[1])))
    height = min(image[1], max(1, round(image[0] * shape[1] / shape[0])))
    left, top = (image[0] - width) // 2, (image[1] - height) // 2
    return left, top, left + width, top + height


def opacity(row: Row, width: int, height: int) -> NDArray[np.uint8] | None:
    """How opaque the picture is, uint8 (height, width), cut as `pixels` cuts and averaged over areas; None: all is."""
    with _reading(row) as content, Image.open(io.BytesIO(content)) as opened:
        image = eight_bits(upright(opened))
        if not image.has_transparency_data:
            return None
        alpha = image.convert("RGBA").getchannel("A")
        cut = alpha.crop(_middle(alpha.size, (width, height)))
        return np.array(cut.resize((width, height), Image.Resampling.BOX), dtype=np.uint8)


def crop_sizes(row: Row, size: Size) -> tuple[int, int, int, int, int, int]:
    """What `pixels` does to a picture, as SDXL is told of it (Podell et al. 2023): the picture's height and width, top
    and left of the crop once it is scaled, height and width of the result; all in pixels."""
    width, height = size
    scale = max(width / row.width_px, height / row.height_px)
    top, left = round((row.height_px * scale - height) / 2), round((row.width_px * scale - width) / 2)
    return row.height_px, row.width_px, top, left, height, width


def on_background(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """Any mode of 8 bits as RGB; transparent parts, also a palette's transparent entry, show `colour`."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    image = image.convert("RGBA")
    canvas = Image.new("RGBA", image.size, (*colour, 255))
    return Image.alpha_composite(canvas, image).convert("RGB")


@contextmanager
def _reading(row: Row, verify: bool = True) -> Iterator[bytes]:
    """A picture's file; whatever decoding raises becomes a BadImage that names the file.

    With `verify` it must still be the picture that the snapshot was opened with: what is made of it is kept under its
    checksum.
    """
    # Of damaged metadata and large pictures, where the snapshot knows better. For the whole process: what undoes a
    # filter isn't safe in threads. Each time, since others round this may have undone theirs.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        content = row.path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"{row.path}: missing from the snapshot. Copy or export the snapshot again.") from error
    if verify and hashlib.sha256(content).hexdigest() != row.sha256:
        raise ChecksumMismatch(f"{row.path}: has changed since it was verified. Copy or export the snapshot again.")
    try:
        yield content
    except MemoryError:
        raise
    except Exception as error:  # Decoders raise almost anything on broken input.
        unknown = isinstance(error, UnidentifiedImageError)  # Whose words are of the bytes, not of the file.
        why = "no picture in a known format" if unknown else error
        raise BadImage(f"{row.path}: can't be decoded ({why}). Take it out and export the snapshot again.") from error


def decode_all(rows: Sequence[Row], background: str = "white", progress: Progress = silent) -> list[str]:
    """Decodes every picture, at a reduced scale where its format can. Raises BadImage: the first, and how many.

    Also where the picture isn't as large as the snapshot says, since crops and grids rely on it. Returns the names of
    those whose orientation can't be read, in the rows' order, and says so as progress.
    """
    background_colour(background)
    looks = list(in_threads(_look, rows, "decoding images", progress))
    if problems := [look.problem for look in looks if look.problem]:
        more = f" And {len(problems) - 1} more like it." if len(problems) > 1 else ""
        raise BadImage(problems[0] + more)
    unread = [row.path.name for row, look in zip(rows, looks, strict=True) if look.way is None]
    if unread:
        progress("decoding images", len(rows), len(rows), in_words(unread))
    return unread


@dataclass(frozen=True)
class _Look:
    """What is wrong with a picture, and how it is to be turned: see `orientation`."""

    problem: str | None
    way: int | None = 1


def _look(row: Row) -> _Look:
    try:
        with _reading(row, verify=False) as content, Image.open(io.BytesIO(content)) as image:  # Verified just now.
            way, size = orientation(image), image.size
            image.draft("RGB", (256, 256))
            image.load()
    except BadImage as error:
        return _Look(str(error))
    if sorted(size) == sorted((row.width_px, row.height_px)):
        return _Look(None, way)
    size_told = f"{row.width_px}x{row.height_px}"
    return _Look(f"{row.path}: {size[0]}x{size[1]} px, the snapshot says {size_told}. Export it again.")
