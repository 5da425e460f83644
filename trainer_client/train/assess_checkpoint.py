"""Assess a checkpoint: its grid of samples, its losses, the distance of its samples from the base's.

Samples of earlier epochs are read from their grids, so a resumed run needs no other state.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from schemas.digest import sha256_file
from schemas.document import FileRef
from schemas.progress import Progress
from schemas.run import Evaluation, Grid
from trainer_client.data.images import pixels
from trainer_client.data.latents import TextEmbeddings
from trainer_client.evaluate import Losses, Pair, fixed_timesteps, leakage, measure
from trainer_client.sample import read_tiles, sample_grid, write_grid
from trainer_client.sample.engine import SamplingDenoiser

if TYPE_CHECKING:
    from trainer_client.train.preparation import Prepared

FOLDER = "grids"
UNRELATED = "unrelated"  # The role whose samples should stay like the base's.


def grid_name(epoch: int) -> str:
    """Return the grid's path relative to the run's folder."""
    return f"{FOLDER}/epoch-{epoch:03d}.png"


def write_references(prepared: Prepared) -> Grid | None:
    """Write the record's example images, as training sees them, as one row."""
    if not prepared.example_rows:
        return None
    config, side_px = prepared.config, prepared.family.resolution_px
    tiles = [torch.from_numpy(pixels(row, side_px, config.data.background)) for row in prepared.example_rows]
    return write_grid(torch.stack(tiles)[None], config.output.out / FOLDER / "references.png", config.output.out)


def sample_checkpoint(prepared: Prepared, epoch: int, progress: Progress) -> Grid:
    """Sample the epoch's grid. Epoch 0 comes from the cache if another run sampled it."""
    config, report = prepared.config, prepared.report
    prompts = [prompt.text for prompt in report.prompts]
    pictures = len(prompts) * len(report.seeds)
    later = sum(other >= epoch for other in config.schedule.checkpoint_epochs())
    path = config.output.out / grid_name(epoch)
    settings = {
        "prompts": prompts,
        "seeds": [str(seed) for seed in report.seeds],  # Text: canonical JSON has no integers past 2^53.
        "steps": config.sampling.sample_steps,
        "guidance_scale": config.sampling.guidance_scale,
    }

    def by_model(file: Path) -> None:
        sample_grid(
            prepared.family,
            prompts,
            report.seeds,
            file,
            config.output.out,
            config.sampling.sample_steps,
            config.sampling.guidance_scale,
            config.sampling.sample_batch_size,
            _over_checkpoints(prepared, epoch, "sampling", progress),
            SamplingDenoiser(config.hardware.compile, later * pictures, prepared.cache, progress),
        )

    if epoch == 0:
        prepared.baseline.picture(path, settings, by_model)
    else:
        by_model(path)
    reference = FileRef(path=grid_name(epoch), sha256=sha256_file(path), size_bytes=path.stat().st_size)
    return Grid(file=reference, rows=len(prompts), columns=len(report.seeds), tile_px=prepared.family.resolution_px)


def evaluate(prepared: Prepared, epoch: int, progress: Progress) -> Evaluation:
    """Measure losses and leakage. Losses of epoch 0 come from the cache if another run measured them."""
    measures, timesteps = prepared.measures, prepared.config.evaluation.eval_timesteps
    parts = (measures.held_out_pairs(), measures.train_pairs())
    losses: dict[Pair, Losses] = {}
    embedded = functools.cache(prepared.embeddings)  # Costly if the text encoder is trained.

    def by_model(pairs: list[Pair]) -> dict[Pair, Losses]:
        before, in_all = len(losses) * timesteps, sum(map(len, parts)) * timesteps
        shown = _over_checkpoints(prepared, epoch, "evaluating", progress)
        return _measured(
            prepared, pairs, embedded(), lambda stage, done, total, detail="": shown(stage, before + done, in_all)
        )

    for pairs in filter(None, parts):  # No pairs, no embeddings.
        made = prepared.baseline.losses(pairs, timesteps, by_model) if epoch == 0 else by_model(pairs)
        losses |= made
    steps = fixed_timesteps(prepared.family.train_timesteps, timesteps)
    return measures.evaluation(losses, _leakage(prepared, epoch), steps)


def _measured(prepared: Prepared, pairs: list[Pair], text: TextEmbeddings, progress: Progress) -> dict[Pair, Losses]:
    latents, indices, options = prepared.latents, prepared.indices, prepared.config.evaluation
    return measure(
        prepared.family, pairs, latents, indices, text, options.eval_timesteps, options.eval_batch_size, progress
    )


def _leakage(prepared: Prepared, epoch: int) -> list[float]:
    rows = [row for row, prompt in enumerate(prepared.report.prompts) if prompt.role == UNRELATED]
    return leakage(tiles(prepared, 0), tiles(prepared, epoch), rows) if rows else []


def tiles(prepared: Prepared, epoch: int) -> Tensor:
    """Read an epoch's samples, uint8 (prompts, seeds, height, width, 3)."""
    report = prepared.report
    return read_tiles(prepared.config.output.out / grid_name(epoch), len(report.prompts), len(report.seeds))


def _over_checkpoints(prepared: Prepared, epoch: int, name: str, progress: Progress) -> Progress:
    """Report progress at one checkpoint as a part of all checkpoints."""
    epochs = prepared.config.schedule.checkpoint_epochs()
    before = epochs.index(epoch)

    def shown(stage: str, done: int, total: int | None, detail: str = "") -> None:
        at_each = total or 1
        progress(name, before * at_each + done, len(epochs) * at_each, f"epoch {epoch}")

    return shown
