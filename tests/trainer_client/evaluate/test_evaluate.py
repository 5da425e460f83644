"""The measures: which images under which captions, losses that don't depend on the batch, leakage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from schemas.progress import silent
from tests.trainer_client.conftest import write_snapshot
from trainer_client.data.latents import cache_latents, cache_text
from trainer_client.data.snapshot import Snapshot
from trainer_client.evaluate import choose_measures, fixed_timesteps, leakage, measure
from trainer_client.models import load_family


def four_tracks(folder: Path, held_out: int = 6) -> Snapshot:
    def caption(split: str, number: int) -> dict[str, str | None]:
        human = None if (split, number) == ("validation", 1) else f"shape {number}"
        return {"template": f"frog {number % 3}", "fixed": "drawing", "empty": "", "human": human}

    tracks = ("template", "fixed", "empty", "human")
    return Snapshot.open(write_snapshot(folder, 9, held_out, caption, tracks))


def test_every_track_is_measured_true_and_shuffled(tmp_path: Path) -> None:
    measures = choose_measures(four_tracks(tmp_path), "fixed", 64)
    assert len(measures.held_out) == len(measures.train_subset) == 6
    assert measures.tracks == ["template", "fixed", "empty"]  # An image has no human caption at all.
    assert list(measures.shuffled) == ["template"]  # The others call everything the same.
    true = [row.captions["template"] for row in measures.held_out]
    assert sorted(measures.shuffled["template"]) == sorted(map(str, true))
    assert all(one != other for one, other in zip(measures.shuffled["template"], true, strict=True))


def test_equal_captions_are_measured_once(tmp_path: Path) -> None:
    measures = choose_measures(four_tracks(tmp_path), "template", 64)
    pairs = measures.held_out_pairs()
    assert len(set(pairs)) == len(pairs) == 6 * 4  # template, shuffled template, fixed, empty
    losses = {pair: [number - 1.0, number + 1.0] for number, pair in enumerate([*pairs, *measures.train_pairs()])}
    evaluation = measures.evaluation(losses, [0.5], [250, 750])
    assert set(evaluation.held_out) == {"template", "fixed", "empty"}
    assert len(evaluation.held_out["empty"]) == len(evaluation.held_out_shuffled["template"]) == 6
    assert evaluation.train_subset == {"template": [sum(losses[pair]) / 2 for pair in measures.train_pairs()]}
    assert evaluation.held_out_shuffled["template"] != evaluation.held_out["template"]
    low, high = evaluation.held_out_by_timestep
    assert [(one + other) / 2 for one, other in zip(low, high, strict=True)] == evaluation.held_out["template"]
    assert [len(losses) for losses in evaluation.train_subset_by_timestep] == [6, 6]


def test_the_cap_chooses_by_hash_and_growing_moves_little(tmp_path: Path) -> None:
    snapshot = four_tracks(tmp_path)
    few, more = (choose_measures(snapshot, "template", images) for images in (2, 3))
    assert len(few.held_out) == len(few.train_subset) == 2
    assert {row.sha256 for row in few.held_out} < {row.sha256 for row in more.held_out}


def test_without_held_out_images_the_training_images_are_still_measured(tmp_path: Path) -> None:
    measures = choose_measures(four_tracks(tmp_path, held_out=0), "template", 4)
    assert (measures.held_out, measures.held_out_pairs(), len(measures.train_subset)) == ([], [], 4)
    assert measures.shuffled == {}


def test_timesteps_are_the_middles_of_equal_parts() -> None:
    assert fixed_timesteps(1000, 4) == [125, 375, 625, 875]
    assert fixed_timesteps(1000, 1) == [500]


def test_losses_depend_on_neither_batch_nor_company(snapshot: Path, base: Path, cache: Path) -> None:
    opened, family = Snapshot.open(snapshot), load_family(str(base))
    rows = opened.rows("train")
    latents, places = cache_latents(family, rows), {row.sha256: place for place, row in enumerate(rows)}
    pairs = [(row.sha256, row.captions["human"] or "") for row in rows]
    text = cache_text(family, [caption for _, caption in pairs])
    seen: list[int] = []
    at_once = measure(
        family, pairs, latents, places, text, 4, 64, lambda stage, done, total, detail="": seen.append(done)
    )
    assert seen == [48]
    alone = measure(family, pairs[3:5], latents, places, text, 4, 3, silent)
    for pair, loss in alone.items():
        assert loss == pytest.approx(at_once[pair], rel=1e-5)
    assert all(len(losses) == 4 for losses in at_once.values())
    assert len(set(map(tuple, at_once.values()))) == len(pairs)
    assert measure(family, [], latents, places, text, 4, 3) == {}


def test_leakage_is_the_distance_of_pictures_prompt_by_prompt() -> None:
    base = torch.zeros(3, 2, 4, 4, 3, dtype=torch.uint8)
    tiles = base.clone()
    tiles[1, 0] = 255
    tiles[1, 1, :2] = 255
    tiles[2] = 51
    assert leakage(base, tiles, [1, 2]) == pytest.approx([1.0, 0.5**0.5, 0.2, 0.2])
    assert leakage(base, base, [0]) == [0.0, 0.0]
