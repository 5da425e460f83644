"""Find memorised images: the nearest training image of each sample of a checkpoint.

Held-out images are the reference: they can't have been memorised. A sample is suspect if it is nearer to a training
image than any held-out image is, and nearer than the base's sample of the same prompt and noise. The sheet shows it
beside its neighbours. After Carlini et al. 2023, "Extracting Training Data from Diffusion Models", which calibrates
likewise.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from schemas.document import write_atomically
from schemas.errors import BadDocument, BadOption
from schemas.progress import Progress, silent
from schemas.run import Checkpoint, RunReport
from trainer_client.data.images import pixels
from trainer_client.data.parallel import in_threads
from trainer_client.data.snapshot import Row, Snapshot, check_file
from trainer_client.device import choose_device
from trainer_client.evaluate.bootstrap import LEAST
from trainer_client.load_model import load
from trainer_client.memorisation.likeness import (
    Features,
    autoencoder_features,
    check_side,
    feature_distances,
    hash_distances,
    model_features,
    perceptual_hashes,
)
from trainer_client.run_folder import open_run
from trainer_client.sample import read_tiles, write_png
from trainer_client.sample.contact_sheet import contact_sheet

FOLDER = "memorisation"
BATCH = 64
SHOWN = 12  # Samples on the sheet, the nearest first.
LATENTS = "autoencoder"
COPY_BITS = 8  # Above this, unrelated images have similar hashes too.
PROMPT_LETTERS = 60


class Neighbour(BaseModel):
    """The nearest training image; `base_distance` is the distance of the base's sample to its own nearest."""

    image_sha256: str
    file_name: str
    distance: float
    base_distance: float
    nearer_than_held_out: bool | None = Field(description="Null with too few held-out images to say.")


class SampleNeighbours(BaseModel):
    """A sample of the grid and its nearest training images."""

    prompt: str
    seed: int
    by_features: Neighbour
    by_hash: Neighbour
    suspect: bool


class Memorisation(BaseModel):
    """The result of `trainer memorisation`. Distances: 1 - cosine of features, and differing bits of 64."""

    run: str
    captions: str
    epoch: int
    features: str
    train_images: int
    held_out_images: int
    nearest_held_out_features: float | None = Field(description="Smallest distance of a held-out to a training image.")
    nearest_held_out_hash: float | None
    suspects: int
    finding: str
    pictures: list[SampleNeighbours] = Field(description="Nearest by features first.")
    sheet: Path


@dataclass(frozen=True)
class Marks:
    """Features (N, D) and hashes (N, 64)."""

    features_ND: Tensor
    hashes_NK: Tensor


def memorisation(
    run_folder: Path,
    epoch: int | None = None,
    snapshot: Path | None = None,
    features: str = LATENTS,
    device: str = "auto",
    progress: Progress = silent,
) -> Memorisation:
    """Compare a checkpoint's grid (default: the last) with the training images; write the result and a sheet in the
    run's folder.

    `snapshot`: its current path, if it moved; `features`: `autoencoder`, or an image encoder by name. Raises NotFound
    (run, checkpoint, snapshot, model), BadOption, BadDocument, ChecksumMismatch.
    """
    report = open_run(run_folder)
    point = _checkpoint(report, run_folder, epoch)
    opened = _snapshot(report, snapshot, progress)
    background = str(report.config.get("background", "white"))
    tiles_NHWC, base_NHWC = _tiles(run_folder, point), _tiles(run_folder, report.checkpoints[0])
    side_px = tiles_NHWC.shape[1]
    check_side(side_px)
    mark = _marker(features, report, device)
    train = opened.rows("train")
    held_out = [row for row in opened.rows("validation") if row.sha256 in set(report.held_out_images)]
    trained = _of_images(train, side_px, background, mark, "training images", progress)
    unseen = _of_images(held_out, side_px, background, mark, "held-out images", progress)
    found = _Search(train, trained, unseen)
    prompts_and_seeds = list(itertools.product([prompt.text for prompt in report.prompts], report.seeds))
    pictures = found.neighbours(prompts_and_seeds, _of_tiles(tiles_NHWC, mark), _of_tiles(base_NHWC, mark))
    name = f"epoch-{point.epoch:03d}"
    result = Memorisation(
        run=report.name,
        captions=report.captions,
        epoch=point.epoch,
        features=features,
        train_images=len(train),
        held_out_images=len(held_out),
        nearest_held_out_features=found.least_features,
        nearest_held_out_hash=found.least_hash,
        suspects=sum(picture.suspect for picture in pictures),
        finding="",
        pictures=sorted(pictures, key=lambda picture: (not picture.suspect, picture.by_features.distance)),
        sheet=run_folder / FOLDER / f"{name}.png",
    )
    result.finding = _in_words(result)
    indices = {asked: index for index, asked in enumerate(prompts_and_seeds)}
    _write_sheet(result, indices, tiles_NHWC, base_NHWC, {row.sha256: row for row in train}, background)
    write_atomically(run_folder / FOLDER / f"{name}.json", result.model_dump_json(indent=1).encode())
    return result


def _checkpoint(report: RunReport, run_folder: Path, epoch: int | None) -> Checkpoint:
    drawn = [point for point in report.checkpoints if point.grid is not None and point.epoch > 0]
    found = [point for point in drawn if epoch is None or point.epoch == epoch]
    if not found:
        there = f"There are {', '.join(str(point.epoch) for point in drawn)}." if drawn else "There are none yet."
        asked = "with samples" if epoch is None else f"{epoch} with samples"
        raise BadOption(f"{run_folder}: no trained checkpoint {asked}. {there}")
    return found[-1]


def _snapshot(report: RunReport, given: Path | None, progress: Progress) -> Snapshot:
    folder = given or Path(str(report.config.get("snapshot", "")))
    opened = Snapshot.open(folder, verify=False, progress=progress)
    if opened.manifest.images_identity != report.snapshot.images_identity:
        raise BadOption(f"{folder}: holds other images than {report.name} trained on. Give its snapshot by --snapshot.")
    return opened


def _tiles(run_folder: Path, point: Checkpoint) -> Tensor:
    """Read a checkpoint's samples, prompt by prompt, seed by seed: uint8 (N, H, W, 3)."""
    grid = point.grid
    if grid is None:
        raise BadDocument(f"{run_folder}: epoch {point.epoch} has no samples to compare.")
    path = run_folder / grid.file.path
    check_file(path, grid.file)
    return read_tiles(path, grid.rows, grid.columns).flatten(0, 1)


def _marker(features: str, report: RunReport, device: str) -> Features:
    chosen = choose_device(device, "fp32")
    if features != LATENTS:
        return model_features(features, chosen[0])

    base, config = report.base, report.config
    return autoencoder_features(
        load(base.name, *chosen, base.revision, config.get("resolution"), config=config.get("base_config"))
    )


def _of_tiles(tiles_NHWC: Tensor, mark: Features) -> Marks:
    parts = [mark(batch) for batch in torch.split(tiles_NHWC, BATCH)]
    return Marks(torch.cat(parts), perceptual_hashes(tiles_NHWC))


def _of_images(
    rows: Sequence[Row], side_px: int, background: str, mark: Features, what: str, progress: Progress
) -> Marks:
    """Compute features and hashes of images as training sees them, one batch in memory at a time."""
    features, hashes = [], []
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        decoded = in_threads(lambda row: torch.from_numpy(pixels(row, side_px, background)), batch, "decoding", silent)
        pictures_NHWC = torch.stack(list(decoded))
        features.append(mark(pictures_NHWC))
        hashes.append(perceptual_hashes(pictures_NHWC))
        progress(f"looking at {what}", start + len(batch), len(rows))
    if not rows:
        return Marks(torch.empty(0, 1), torch.empty(0, 64, dtype=torch.bool))
    return Marks(torch.cat(features), torch.cat(hashes))


class _Search:
    """Search for nearest training images, with held-out distances as the reference."""

    def __init__(self, rows: Sequence[Row], trained: Marks, unseen: Marks) -> None:
        self.rows, self.trained = rows, trained
        self.centre_D = trained.features_ND.mean(dim=0)  # Remove what all images share.
        enough = len(unseen.hashes_NK) >= LEAST
        self.least_features = float(self._features(unseen).min()) if enough else None
        self.least_hash = float(hash_distances(unseen.hashes_NK, trained.hashes_NK).min()) if enough else None

    def _features(self, marks: Marks) -> Tensor:
        return feature_distances(marks.features_ND - self.centre_D, self.trained.features_ND - self.centre_D)

    def neighbours(self, asked: Sequence[tuple[str, int]], drawn: Marks, base: Marks) -> list[SampleNeighbours]:
        """Return the neighbours of each sample, in the order of `asked`."""
        by_features = self._nearest(self._features(drawn), self._features(base), self.least_features)
        by_hash = self._nearest(
            hash_distances(drawn.hashes_NK, self.trained.hashes_NK),
            hash_distances(base.hashes_NK, self.trained.hashes_NK),
            self.least_hash,
        )
        return [
            SampleNeighbours(
                prompt=prompt, seed=seed, by_features=one, by_hash=other, suspect=_suspect(one) or _copied(other)
            )
            for (prompt, seed), one, other in zip(asked, by_features, by_hash, strict=True)
        ]

    def _nearest(self, drawn_NM: Tensor, base_NM: Tensor, least: float | None) -> list[Neighbour]:
        nearest = drawn_NM.min(dim=1)
        base = base_NM.min(dim=1).values.tolist()
        return [
            Neighbour(
                image_sha256=self.rows[index].sha256,
                file_name=self.rows[index].path.name,
                distance=distance,
                base_distance=base_distance,
                nearer_than_held_out=None if least is None else distance < least,
            )
            for index, distance, base_distance in zip(
                nearest.indices.tolist(), nearest.values.tolist(), base, strict=True
            )
        ]


def _suspect(found: Neighbour) -> bool:
    return bool(found.nearer_than_held_out) and found.distance < found.base_distance


def _copied(found: Neighbour) -> bool:
    return _suspect(found) and found.distance <= COPY_BITS


def _in_words(result: Memorisation) -> str:
    count = len(result.pictures)
    if result.nearest_held_out_features is None:
        nearest = result.pictures[0].by_features.distance
        return (
            f"Too few held-out images ({result.held_out_images}) to judge distances. The nearest of {count} samples"
            f" lies {nearest:.3f} from a training image."
        )
    if not result.suspects:
        return (
            f"No sign of memorisation: none of {count} samples is nearer to a training image than held-out images are."
        )
    lie = "lies" if result.suspects == 1 else "lie"
    return (
        f"{result.suspects} of {count} samples {lie} nearer to a training image than any of {result.held_out_images}"
        " held-out images does, and nearer than the base's: look at them."
    )


def _write_sheet(
    result: Memorisation,
    indices: dict[tuple[str, int], int],
    tiles_NHWC: Tensor,
    base_NHWC: Tensor,
    rows: dict[str, Row],
    background: str,
) -> None:
    """Write the nearest samples beside their training images and the base's sample."""
    side_px, shown = tiles_NHWC.shape[1], result.pictures[:SHOWN]
    lines, labels = [], []
    for picture in shown:
        index = indices[picture.prompt, picture.seed]
        near = [rows[found.image_sha256] for found in (picture.by_features, picture.by_hash)]
        images = [torch.from_numpy(pixels(row, side_px, background)) for row in near]
        lines.append(torch.stack([tiles_NHWC[index], *images, base_NHWC[index]]))
        distances = f"{picture.by_features.distance:.3f}, {picture.by_hash.distance:.0f} bits"
        labels.append(f"{'LOOK: ' if picture.suspect else ''}{distances}. {picture.prompt}, seed {picture.seed}")
    columns = ["sample", "nearest by features", "nearest by hash", "base"]
    title = f"{result.run} · captions {result.captions} · epoch {result.epoch} · nearest training images"
    least = result.nearest_held_out_features
    detail = "" if least is None else f"nearest held-out image: {least:.3f}, {result.nearest_held_out_hash:.0f} bits"
    write_png(contact_sheet(torch.stack(lines), labels, columns, title, detail), result.sheet)


def text_of_memorisation(result: Memorisation) -> str:
    """List the finding, the nearest samples, the sheet."""
    lines = [result.finding, "", f"{'features':>8}  {'hash':>7}  sample"]
    for picture in result.pictures[:SHOWN]:
        mark = "  <- look" if picture.suspect else ""
        distances = f"{picture.by_features.distance:>8.3f}  {picture.by_hash.distance:>2.0f} bits"
        prompt = textwrap.shorten(picture.prompt, PROMPT_LETTERS, placeholder=" …")
        lines.append(f"{distances}  {prompt} (seed {picture.seed}), {picture.by_features.file_name}{mark}")
    if result.nearest_held_out_features is not None:
        held_out = f"{result.nearest_held_out_features:>8.3f}  {result.nearest_held_out_hash:>2.0f} bits"
        lines.append(f"{held_out}  (the held-out image nearest to a training image)")
    return "\n".join([*lines, "", str(result.sheet)])
