"""Samples of several runs in one table: a row per prompt, a column per seed of each run.

A run's grid is one image of tiles (rows: prompts, columns: seeds); an SVG viewBox cuts each tile out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from curator.runs import RunResult
from schemas.run import Grid, Prompt


@dataclass(frozen=True)
class Tile:
    """A viewBox, and the size of the whole grid in pixels."""

    view: str
    width: int
    height: int


@dataclass(frozen=True)
class RunColumn:
    """Grid address and loss by epoch; tiles by (prompt index, seed index)."""

    key: str
    name: str
    grids: dict[int, str]
    losses: dict[int, str]
    tiles: dict[tuple[int, int], Tile] = field(repr=False)

    @property
    def last(self) -> str:
        return self.grids[max(self.grids)]


@dataclass(frozen=True)
class SampleTable:
    prompts: list[Prompt]
    seeds: list[int]
    epochs: list[int]
    runs: list[RunColumn]

    @property
    def missing(self) -> int:
        """The number of cells without a sample."""
        return sum(len(self.prompts) * len(self.seeds) - len(run.tiles) for run in self.runs)


def sample_table(
    results: Sequence[RunResult], names: Sequence[str], losses: Sequence[dict[int, float]]
) -> SampleTable | None:
    """Return None if no run's grids are here."""
    by_text: dict[str, Prompt] = {}
    for prompt in (prompt for one in results for prompt in one.report.prompts):
        by_text.setdefault(prompt.text, prompt)
    prompts = list(by_text.values())
    seeds = list(dict.fromkeys(seed for one in results for seed in one.report.seeds))
    runs = [
        column
        for one, name, run_losses in zip(results, names, losses, strict=True)
        if (column := _column(one, name, run_losses, prompts, seeds))
    ]
    if not runs:
        return None
    epochs = sorted({epoch for run in runs for epoch in run.grids})
    return SampleTable(prompts, seeds, epochs, runs)


def _column(
    one: RunResult, name: str, losses: dict[int, float], prompts: list[Prompt], seeds: list[int]
) -> RunColumn | None:
    grids = {
        checkpoint.epoch: checkpoint.grid
        for checkpoint in one.report.checkpoints
        if checkpoint.grid is not None and checkpoint.grid.file.sha256 in one.pictures
    }
    if not grids:
        return None
    texts = [prompt.text for prompt in one.report.prompts]
    grid = grids[max(grids)]  # all grids of a run have the same layout
    tiles: dict[tuple[int, int], Tile] = {}
    for row, prompt in enumerate(prompts):
        for column, seed in enumerate(seeds):
            if prompt.text in texts and seed in one.report.seeds:
                tile = _tile(grid, texts.index(prompt.text), one.report.seeds.index(seed))
                tiles |= {(row, column): tile} if tile else {}
    addresses = {epoch: f"/api/v1/runs/{one.run_key}/pictures/{grid.file.sha256}" for epoch, grid in grids.items()}
    return RunColumn(one.run_key, name, addresses, {epoch: f"{loss:.4f}" for epoch, loss in losses.items()}, tiles)


def _tile(grid: Grid, row: int, column: int) -> Tile | None:
    if row >= grid.rows or column >= grid.columns:
        return None
    side = grid.tile_px
    return Tile(f"{column * side} {row * side} {side} {side}", grid.columns * side, grid.rows * side)
