"""Pictures from a model: the same prompts and the same noise at every checkpoint of every run, and a labelled sheet.

The noise is a function of the seed alone, not of prompt, run or checkpoint: what differs between two tiles of one
seed is what the model learnt, or what the words say. Shapes: P prompts, S seeds, B pictures, H and W pixels.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel
from torch import Tensor

from schemas.digest import sha256_file, sha256_json
from schemas.document import FileRef
from schemas.edge.words import plural
from schemas.errors import AlreadyExists, BadDocument, BadOption, NotFound
from schemas.progress import Progress, silent
from schemas.run import Grid, RunReport
from trainer_client import load_model
from trainer_client.cache import default_folder
from trainer_client.device import choose_device
from trainer_client.models import Family
from trainer_client.performance.torch_compile import set_cache_folder
from trainer_client.randomness import key, normal
from trainer_client.run_folder import find_checkpoints, open_run
from trainer_client.sample.contact_sheet import contact_sheet
from trainer_client.sample.engine import Drawing

STEPS = 20
GUIDANCE_SCALE = 7.5
BATCH_SIZE = 16  # Pictures at once.
SHEET = "sheet.png"


class Picture(BaseModel):
    """One picture on disk."""

    path: Path
    prompt: str
    seed: int
    epoch: int


class SampleResult(BaseModel):
    """What `trainer sample` wrote."""

    run: str
    captions: str
    epochs: list[int]
    steps: int
    guidance_scale: float
    folder: Path
    sheet: Path
    pictures: list[Picture]


def seed_noise(seed: int, latent_shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """The noise that every picture of this seed starts from, (C, H, W)."""
    keys_B = torch.tensor([key(seed, "sample", 0, 0, "")], device=device)
    return normal(keys_B, latent_shape)[0]


@torch.no_grad()
def draw_tiles(
    family: Family,
    prompts: Sequence[str],
    seeds: Sequence[int],
    steps: int = STEPS,
    guidance_scale: float = GUIDANCE_SCALE,
    batch_size: int = BATCH_SIZE,
    progress: Progress = silent,
    drawing: Drawing | None = None,
) -> Tensor:
    """Every prompt with every seed: uint8 (P, S, H, W, 3) on the CPU. Raises BadOption where steps are too many.

    `drawing` is shared by checkpoints that are drawn one after another.
    """
    if not 1 <= steps <= family.train_timesteps:
        raise BadOption(f"--steps {steps}: this model takes 1 to {family.train_timesteps}.")
    drawing = drawing or Drawing()
    with (
        family.autocast(),
        drawing.by(family) as denoise,
    ):  # Round all batches: weights are cast, and kernels recorded, once.
        distinct = list(dict.fromkeys(["", *prompts]))
        parts = [family.encode_text(family.tokenise(distinct[i : i + 64])) for i in range(0, len(distinct), 64)]
        text = dict(zip(distinct, torch.cat(parts), strict=True))
        noise = {seed: seed_noise(seed, family.latent_shape, family.device) for seed in seeds}
        wanted = list(itertools.product(prompts, seeds))
        drawn: list[Tensor] = []
        for start in range(0, len(wanted), batch_size):
            batch = wanted[start : start + batch_size]
            count = len(batch)
            batch = drawing.filled(batch)
            text_BTD = torch.stack([text[prompt] for prompt, _ in batch])
            noise_BCHW = torch.stack([noise[seed] for _, seed in batch])
            tiles_BHWC = family.sample(denoise, text_BTD, text[""][None], noise_BCHW, steps, guidance_scale)
            drawn.append(tiles_BHWC[:count].cpu())
            drawing.drew(count)
            progress("drawing pictures", start + count, len(wanted))
    tiles_BHWC = torch.cat(drawn)
    return tiles_BHWC.view(len(prompts), len(seeds), *tiles_BHWC.shape[1:])


def write_grid(tiles_PSHWC: Tensor, file: Path, run_folder: Path) -> Grid:
    """Writes tiles as one PNG without gaps or labels (rows are prompts, columns are seeds) and describes it."""
    rows, columns, height, width, _ = tiles_PSHWC.shape
    grid = tiles_PSHWC.permute(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    write_png(Image.fromarray(grid.numpy()), file)
    reference = FileRef(
        path=file.relative_to(run_folder).as_posix(), sha256=sha256_file(file), size_bytes=file.stat().st_size
    )
    return Grid(file=reference, rows=rows, columns=columns, tile_px=width)


def read_tiles(file: Path, rows: int, columns: int) -> Tensor:
    """A grid's tiles as they were drawn, uint8 (P rows, S columns, H, W, 3): what `write_grid` put together."""
    with Image.open(file) as image:
        grid = torch.from_numpy(np.array(image.convert("RGB")))
    height, width = grid.shape[0] // rows, grid.shape[1] // columns
    return grid.view(rows, height, columns, width, 3).transpose(1, 2)


def draw_grid(
    family: Family,
    prompts: Sequence[str],
    seeds: Sequence[int],
    file: Path,
    run_folder: Path,
    steps: int = STEPS,
    guidance_scale: float = GUIDANCE_SCALE,
    batch_size: int = BATCH_SIZE,
    progress: Progress = silent,
    drawing: Drawing | None = None,
) -> tuple[Tensor, Grid]:
    """`draw_tiles`, then `write_grid`: what a checkpoint's grid is made by."""
    tiles_PSHWC = draw_tiles(family, prompts, seeds, steps, guidance_scale, batch_size, progress, drawing)
    return tiles_PSHWC, write_grid(tiles_PSHWC, file, run_folder)


def write_png(image: Image.Image, file: Path) -> None:
    """Writes a PNG under a temporary name and renames it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.tmp")
    image.save(temporary, format="PNG")
    temporary.replace(file)


def sample(
    run_folder: Path,
    prompts: Sequence[str],
    seeds: Sequence[int],
    epochs: Sequence[int] | Literal["all"] = (),
    out: Path | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    batch_size: int = BATCH_SIZE,
    device: str = "auto",
    precision: str = "auto",
    compile: str = "auto",
    base: str | None = None,
    progress: Progress = silent,
) -> SampleResult:
    """Draws prompts and seeds with a run's checkpoints: a PNG each and a labelled sheet.

    What isn't given is the run's: its last checkpoint, its prompts, seeds, steps, guidance scale. The folder's default
    name is a function of what is asked, so that asking again overwrites the same pictures and nothing else. `base` says
    where the base of a checkpoint that holds an adapter is now.
    Raises NotFound (no run, no such checkpoint), AlreadyExists (`out` holds other things), BadOption.
    """
    report = open_run(run_folder)
    if out is not None:
        _refuse_strangers(out)
    checkpoints = find_checkpoints(report, run_folder, epochs)
    prompts = list(dict.fromkeys(prompts)) or [prompt.text for prompt in report.prompts]
    seeds = list(dict.fromkeys(seeds)) or report.seeds
    steps = steps if steps is not None else int(report.config.get("sample_steps", STEPS))
    if guidance_scale is None:
        guidance_scale = float(report.config.get("guidance_scale", GUIDANCE_SCALE))
    numbers = [checkpoint.epoch for checkpoint in checkpoints]
    out = out or run_folder / "samples" / _folder_name(numbers, prompts, seeds, steps, guidance_scale)

    set_cache_folder(default_folder())
    each = len(prompts) * len(seeds)
    drawing = Drawing(compile, each * len(checkpoints), default_folder(), progress)
    pictures: list[Picture] = []
    tiles: list[Tensor] = []

    def shown(stage: str, done: int, total: int | None, detail: str = "") -> None:
        progress(stage, len(pictures) + done, each * len(checkpoints), detail)

    for checkpoint in checkpoints:
        family = load_model.load(
            str(run_folder / checkpoint.folder),
            *choose_device(device, precision),
            resolution_px=report.config.get("resolution"),
            adapter_base=base,
        )
        drawn_PSHWC = draw_tiles(family, prompts, seeds, steps, guidance_scale, batch_size, shown, drawing)
        pictures += _write_pictures(drawn_PSHWC, prompts, seeds, out, checkpoint.epoch, len(checkpoints) > 1)
        tiles.append(drawn_PSHWC)
        del family  # Its weights make room for the next one's.
    detail = f"{steps} steps, guidance {guidance_scale:g}"
    write_png(_sheet(report, numbers, tiles, prompts, seeds, detail), out / SHEET)
    return SampleResult(
        run=report.name,
        captions=report.captions,
        epochs=numbers,
        steps=steps,
        guidance_scale=guidance_scale,
        folder=out,
        sheet=out / SHEET,
        pictures=pictures,
    )


def _folder_name(
    epochs: Sequence[int], prompts: Sequence[str], seeds: Sequence[int], steps: int, guidance_scale: float
) -> str:
    asked = [prompts, [str(seed) for seed in seeds], steps, str(guidance_scale)]
    if len(epochs) == 1:
        return f"epoch-{epochs[0]:03d}-{sha256_json(asked)[:8]}"
    return f"epochs-{epochs[0]:03d}-to-{epochs[-1]:03d}-{sha256_json([*asked, epochs])[:8]}"


def _sheet(
    report: RunReport,
    epochs: Sequence[int],
    tiles: Sequence[Tensor],
    prompts: Sequence[str],
    seeds: Sequence[int],
    detail: str,
) -> Image.Image:
    """Prompts by seeds; of several checkpoints, what each drew of a prompt and seed side by side."""
    title = f"{report.name} · captions {report.captions} · {counted(epochs)}"
    if len(tiles) == 1:
        return contact_sheet(tiles[0], prompts, [f"seed {seed}" for seed in seeds], title, detail)
    rows = [f"{prompt} · seed {seed}" if len(seeds) > 1 else prompt for prompt in prompts for seed in seeds]
    if len(seeds) == 1:
        detail += f", seed {seeds[0]}"
    side_by_side_REHWC = torch.stack([drawn_PSHWC.flatten(0, 1) for drawn_PSHWC in tiles], dim=1)
    return contact_sheet(side_by_side_REHWC, rows, [f"epoch {epoch}" for epoch in epochs], title, detail)


def counted(epochs: Sequence[int]) -> str:
    """`epoch 5`, `epochs 1, 2, 5`."""
    return f"{'epoch' if len(epochs) == 1 else 'epochs'} {', '.join(map(str, epochs))}"


def _refuse_strangers(out: Path) -> None:
    """Pictures go into a folder of their own: never among other files, say a snapshot's. Earlier samples are fine."""
    if out.exists() and not out.is_dir():
        raise AlreadyExists(f"{out}: is a file; the pictures need a folder. Choose another --out.")
    names = sorted(entry.name for entry in out.iterdir()) if out.is_dir() else []
    strangers = [
        name for name in names if name != SHEET and not re.search(r"^\d\d+-.*-seed-\d+(-epoch-\d+)?\.png$", name)
    ]
    if strangers:
        raise AlreadyExists(f"{out}: holds {strangers[0]}, which isn't a sample. Choose another --out.")


def read_prompt_lines(path: Path) -> list[str]:
    """Prompts of a text file, one a line; a `[role]` before one, empty lines and `#` comments are left out."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError as error:
        raise NotFound(f"{path}: there is no such file. Give --prompts a text file, a prompt a line.") from error
    except UnicodeDecodeError as error:
        raise BadDocument(f"{path}: not UTF-8 text.") from error
    prompts = [re.sub(r"^\[[^\]]*\]\s*", "", line) for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise BadDocument(f"{path}: no prompts. Write one a line.")
    return prompts


def _write_pictures(
    tiles_PSHWC: Tensor, prompts: Sequence[str], seeds: Sequence[int], out: Path, epoch: int, told: bool
) -> list[Picture]:
    """A PNG each; its name tells the epoch where there are several."""
    pictures = []
    ending = f"-epoch-{epoch:03d}" if told else ""
    for (row, prompt), (column, seed) in itertools.product(enumerate(prompts), enumerate(seeds)):
        path = out / f"{row + 1:02d}-{_slug(prompt)}-seed-{seed}{ending}.png"
        write_png(Image.fromarray(tiles_PSHWC[row, column].numpy()), path)
        pictures.append(Picture(path=path, prompt=prompt, seed=seed, epoch=epoch))
    return pictures


def _slug(prompt: str) -> str:
    """A prompt as part of a file name; of one without Latin letters or digits, its digest."""
    slug = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:48].strip("-")
    return slug or hashlib.sha256(prompt.encode()).hexdigest()[:8]


def render(result: SampleResult) -> str:
    """For a person: the sheet first, then every picture."""
    pictures = plural(len(result.pictures), "picture")
    lines = [
        f"{result.run}, {counted(result.epochs)}: {pictures} in {result.folder}",
        str(result.sheet),
    ]
    return "\n".join([*lines, *(str(picture.path) for picture in result.pictures)])
