"""CLIP scores by a small random model, against transformers' own use of it; what is kept; what can't be scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curator.cli.text.compare import text_of_compare
from curator.compare import clip as module
from curator.compare import compare
from curator.compare.clip import clip_scores, load
from curator.compare.result import CompareResult
from curator.compare.vectors import Vectors
from curator.images.read import read_rgb
from schemas.errors import BadOption, NotFound
from schemas.progress import silent
from tests.curator.compare.random_clip import SIDE_PX, write_random_clip
from tests.curator.lab import Lab


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_random_clip(tmp_path_factory.mktemp("model"), limit=8))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AMATL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def scored(lab: Lab, model: str, tokenizer: str, sets: tuple[str, ...] = ("t@1", "h@1")) -> CompareResult:
    return compare(lab.catalog, "zoo", sets, tokenizer=tokenizer, clip=model)


def by_transformers(model: str, path: Path, text: str) -> float:
    """The same by the model's own forward pass, one picture and one caption."""
    import torch
    from PIL import Image
    from transformers import CLIPModel

    pixels_HWC = read_rgb(path)
    scale = SIDE_PX / min(pixels_HWC.shape[:2])
    size = (round(pixels_HWC.shape[1] * scale), round(pixels_HWC.shape[0] * scale))
    image = Image.fromarray(pixels_HWC).resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - SIDE_PX) // 2, (size[1] - SIDE_PX) // 2
    square = np.asarray(image.crop((left, top, left + SIDE_PX, top + SIDE_PX)), dtype=np.float32) / 255
    pixels = torch.tensor((square - np.array(module.MEAN)) / np.array(module.DEVIATION)).permute(2, 0, 1)[None].float()
    ids = load(model).tokenizer.tokenizer.encode(text).ids
    ids = ids if len(ids) <= 8 else [*ids[:7], ids[-1]]
    with torch.inference_mode():
        out = CLIPModel.from_pretrained(model).eval()(input_ids=torch.tensor([ids]), pixel_values=pixels)
    return 100 * max(float((out.image_embeds * out.text_embeds).sum()), 0.0)


def test_scores_are_the_cosines_of_the_model(lab: Lab, model: str, tokenizer: str) -> None:
    result = scored(lab, model, tokenizer)
    found = [score for each in result.differing for score in each.clip.values()]
    assert max(found) - min(found) > 5
    for each in result.differing:
        for label, text in each.captions.items():
            expected = by_transformers(model, lab.folder / "images" / each.file_name, text)
            assert each.clip[label] == pytest.approx(expected, abs=0.1)  # the other resize, half-precision vectors
    first, second = (each.clip for each in result.sets)
    assert first is not None
    assert second is not None
    scores = [[each.clip[label] for each in result.differing] for label in ("t@1", "h@1")]
    assert first.score.mean == pytest.approx(np.mean(scores[0]))
    wins = [one >= other for one, other in zip(*scores, strict=True)]
    assert first.best_share == pytest.approx(np.mean(wins))
    assert first.images == 4
    assert first.revision.startswith("sha256:")
    assert "CLIP score, mean" in text_of_compare(result, 100)


def test_what_was_computed_is_kept_by_content(
    lab: Lab, model: str, tokenizer: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = scored(lab, model, tokenizer)
    parts = sorted(cache.rglob("*.npz"))
    assert len(parts) == 2

    def refuse(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(module.Clip, "embed_images", refuse)
    monkeypatch.setattr(module.Clip, "embed_captions", refuse)
    again = scored(lab, model, tokenizer)
    assert [each.clip for each in again.sets] == [each.clip for each in before.sets]
    monkeypatch.undo()
    monkeypatch.setenv("AMATL_CACHE", str(cache))
    parts[0].write_bytes(b"damaged")
    assert [each.clip for each in scored(lab, model, tokenizer).sets] == [each.clip for each in before.sets]


def test_another_model_meets_no_old_vectors(lab: Lab, model: str, tokenizer: str, tmp_path: Path) -> None:
    before = scored(lab, model, tokenizer)
    other = scored(lab, str(write_random_clip(tmp_path / "other", limit=8, seed=1)), tokenizer)
    assert [each.clip.score.mean for each in before.sets if each.clip] != [
        each.clip.score.mean for each in other.sets if each.clip
    ]


def test_pictures_that_cannot_be_read_are_left_out_and_said(lab: Lab, model: str, tokenizer: str, cache: Path) -> None:
    (lab.folder / "images" / "owl.png").unlink()
    (lab.folder / "images" / "cat.png").write_bytes(b"no picture")
    result = scored(lab, model, tokenizer)
    assert [each.clip.images for each in result.sets if each.clip] == [2, 2]
    assert any("CLIP scores leave out 2 of 4 images" in notice for notice in result.notices)
    assert {each.file_name for each in result.differing if not each.clip} == {"owl.png", "cat.png"}
    for name in ("fox", "dog"):
        (lab.folder / "images" / f"{name}.png").unlink()
    cache.rename(cache.with_name("kept"))
    result = scored(lab, model, tokenizer)
    assert [each.clip for each in result.sets] == [None, None]
    assert any("No CLIP scores" in notice for notice in result.notices)


def test_captions_past_its_limit_are_counted(model: str, lab: Lab) -> None:
    images = [image for (image,) in lab.run("SELECT image_sha256 FROM dataset_images")]
    captions = pl.DataFrame(
        {"image_sha256": images[:2], "a": ["a fox", "the red fox and an owl in a nest"], "b": ["", "x"]}
    )
    paths = dict(lab.catalog.image_paths("zoo").iter_rows())
    scores, _ = clip_scores(captions, ["a", "b"], lambda image: paths[image], load(model), silent)
    assert [scores[label][0].truncated for label in ("a", "b")] == [1, 0]


def test_what_is_no_clip_model_is_refused(tmp_path: Path, model: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_bytes((Path(model) / "config.json").read_bytes())
    with pytest.raises(NotFound, match=r"no config\.json"):
        load(str(tmp_path / "empty"))
    with pytest.raises(BadOption, match="a bert model"):
        load(str(tmp_path / "bert"))
    with pytest.raises(NotFound, match="can't be loaded"):
        load(str(tmp_path / "bare"))
    with pytest.raises(NotFound, match="no folder a/b/c"):
        load("a/b/c")


def test_an_interrupted_run_keeps_what_it_made(
    lab: Lab, model: str, tokenizer: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 1)
    calls = []
    real = module.Clip.embed_images

    def twice(clip: module.Clip, pixels: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(clip, pixels)  # type: ignore[arg-type]

    monkeypatch.setattr(module.Clip, "embed_images", twice)
    with pytest.raises(KeyboardInterrupt):
        scored(lab, model, tokenizer)
    (part,) = cache.rglob("*.npz")
    images = [image for (image,) in lab.run("SELECT image_sha256 FROM dataset_images")]
    assert len(Vectors(part.parent).known(images)) == 2
