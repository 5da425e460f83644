"""What runs drew, as one table: a row for each prompt, a column for each seed of each run, at one epoch.

A run's grid is one picture of tiles (rows are its prompts, columns its seeds). Here each tile is cut out of it by an
SVG's viewBox. Prompts and seeds are those of all the runs: what a run didn't draw is shown as lacking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from curator.runs import RunResult
from schemas.run import Grid, Prompt


@dataclass(frozen=True)
class Tile:
    """A place in a run's grid: its viewBox, and the size of the whole, in pixels."""

    view: str
    width: int
    height: int


@dataclass(frozen=True)
class RunColumn:
    """A run: where its grid of each epoch is, its loss at each, its tiles by (place of the prompt, of the seed)."""

    key: str
    name: str
    pictures: dict[int, str]
    losses: dict[int, str]
    tiles: dict[tuple[int, int], Tile] = field(repr=False)

    @property
    def last(self) -> str:
        """Its grid after the last epoch that it drew."""
        return self.pictures[max(self.pictures)]


@dataclass(frozen=True)
class Drawn:
    """The table. `lacking`: cells without a picture."""

    prompts: list[Prompt]
    seeds: list[int]
    epochs: list[int]
    runs: list[RunColumn]

    @property
    def lacking(self) -> int:
        """How many cells no picture is for."""
        return sum(len(self.prompts) * len(self.seeds) - len(run.tiles) for run in self.runs)


def drawn(found: Sequence[RunResult], names: Sequence[str], losses: Sequence[dict[int, float]]) -> Drawn | None:
    """The table of these runs, in their order; None where no picture of any is here."""
    first: dict[str, Prompt] = {}
    for prompt in (prompt for one in found for prompt in one.report.prompts):
        first.setdefault(prompt.text, prompt)
    prompts = list(first.values())
    seeds = list(dict.fromkeys(seed for one in found for seed in one.report.seeds))
    runs = [
        column
        for one, name, lost in zip(found, names, losses, strict=True)
        if (column := _column(one, name, lost, prompts, seeds))
    ]
    if not runs:
        return None
    epochs = sorted({epoch for run in runs for epoch in run.pictures})
    return Drawn(prompts, seeds, epochs, runs)


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
    own = [prompt.text for prompt in one.report.prompts]
    grid = grids[max(grids)]  # all of a run's are alike
    tiles: dict[tuple[int, int], Tile] = {}
    for row, prompt in enumerate(prompts):
        for column, seed in enumerate(seeds):
            if prompt.text in own and seed in one.report.seeds:
                place = _tile(grid, own.index(prompt.text), one.report.seeds.index(seed))
                tiles |= {(row, column): place} if place else {}
    pictures = {epoch: f"/api/v1/runs/{one.run_key}/pictures/{grid.file.sha256}" for epoch, grid in grids.items()}
    return RunColumn(one.run_key, name, pictures, {epoch: f"{loss:.4f}" for epoch, loss in losses.items()}, tiles)


def _tile(grid: Grid, row: int, column: int) -> Tile | None:
    if row >= grid.rows or column >= grid.columns:
        return None
    side = grid.tile_px
    return Tile(f"{column * side} {row * side} {side} {side}", grid.columns * side, grid.rows * side)
