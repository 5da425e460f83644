"""Samples of several runs in one table: prompts and seeds of all runs, and missing cells."""

from __future__ import annotations

from typing import Any

from curator.runs import RunResult
from curator.server.web.grids import Tile, sample_table
from schemas.run import RunReport
from tests.schemas.test_spec import example

SHA = "ab" * 32


def run(
    prompts: list[str], seeds: list[int], epochs: list[int], here: bool = True, rows: int | None = None
) -> RunResult:
    document = example("run")
    document["prompts"] = [{"text": text} for text in prompts]
    document["seeds"] = seeds
    first = document["checkpoints"][0]
    grid: dict[str, Any] = {"file": {"path": "g.png", "sha256": SHA, "size_bytes": 1}, "rows": rows or len(prompts)}
    grid["columns"] = len(seeds)
    document["checkpoints"] = [first | {"epoch": epoch, "grid": grid | {"tile_px": 64}} for epoch in epochs]
    pictures = [SHA] if here else []
    report = RunReport.model_validate(document)
    told: dict[str, Any] = {"digest": SHA, "person": "ana", "posted_at": "", "missing": []}
    return RunResult(run_key="k", pictures=pictures, report=report, **told)


def test_prompts_and_seeds_are_those_of_all_runs() -> None:
    table = sample_table([run(["a", "b"], [1], [0, 1]), run(["b", "c"], [1, 2], [1, 3])], ["x", "y"], [{1: 0.25}, {}])
    assert table is not None
    assert ([prompt.text for prompt in table.prompts], table.seeds, table.epochs) == (
        ["a", "b", "c"],
        [1, 2],
        [0, 1, 3],
    )
    first, second = table.runs
    assert set(first.tiles) == {(0, 0), (1, 0)} and set(second.tiles) == {(1, 0), (1, 1), (2, 0), (2, 1)}
    assert table.missing == 4 + 2
    assert first.losses == {1: "0.2500"} and first.last.endswith(SHA)


def test_a_tile_is_cut_out_where_its_own_run_has_it() -> None:
    table = sample_table([run(["a"], [1], [0]), run(["b", "a"], [7, 1], [0])], ["x", "y"], [{}, {}])
    assert table is not None
    assert table.runs[0].tiles[0, 0] == Tile("0 0 64 64", 64, 64)
    assert table.runs[1].tiles[0, 0] == Tile(
        "64 64 64 64", 128, 128
    )  # prompt a is its second row, seed 1 its second column
    assert table.runs[1].tiles[1, 1] == Tile("0 0 64 64", 128, 128)


def test_runs_without_samples_here_have_no_column() -> None:
    assert sample_table([run(["a"], [1], [0], here=False)], ["x"], [{}]) is None
    table = sample_table([run(["a"], [1], [0], here=False), run(["b"], [1], [0])], ["x", "y"], [{}, {}])
    assert table is not None and [one.name for one in table.runs] == ["y"]


def test_a_grid_smaller_than_its_report_lacks_cells() -> None:
    table = sample_table([run(["a", "b"], [1], [0], rows=1)], ["x"], [{}])
    assert table is not None and set(table.runs[0].tiles) == {(0, 0)} and table.missing == 1
