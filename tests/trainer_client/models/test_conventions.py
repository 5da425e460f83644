"""The text encoder's penultimate layer and long prompts in chunks: what is read, and that a checkpoint keeps it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from schemas.errors import BadDocument, BadOption
from schemas.run import RunReport
from tests.trainer_client.conftest import write_snapshot
from tests.trainer_client.train.conftest import UNET
from tests.trainer_client.train.conftest import config as run_config
from tests.trainer_client.train.test_learning import learn, prepared
from trainer_client import load_model
from trainer_client.merge import merge
from trainer_client.models.conventions import FILE, Conventions, read_conventions
from trainer_client.sample import sample
from trainer_client.train import train

LONG = " ".join(f"{colour} fox in the snow" for colour in ("red", "grey", "brown", "green") * 15)  # 300 words.


def used(base: Path, **values: Any) -> Any:
    return load_model.load(str(base)).identified(conventions=Conventions(**values))


def test_the_last_layer_but_one_is_what_an_encoder_without_the_last_gives(base: Path) -> None:
    from transformers import CLIPTextModel

    family = used(base, clip_skip=2)
    ids_BT = family.tokenise(["a red fox", ""])
    shorter: Any = CLIPTextModel.from_pretrained(base, subfolder="text_encoder", num_hidden_layers=1)
    with torch.no_grad():
        torch.testing.assert_close(family.encode_text(ids_BT), shorter(ids_BT)[0])
        assert not torch.allclose(family.encode_text(ids_BT), load_model.load(str(base)).encode_text(ids_BT))


def test_a_long_prompt_is_read_in_chunks_that_are_encoded_apart(base: Path) -> None:
    family, plain = used(base, max_tokens=225), used(base)
    words = LONG.split()
    assert family.token_limit == 227
    ids_BT = family.tokenise([LONG, "a red fox"])
    assert ids_BT.shape == (2, 3 * 77)
    parts = [" ".join(words[first : first + 75]) for first in (0, 75, 150)]  # Each is a token here.
    assert plain.count_tokens(parts) == [77, 77, 77]
    assert torch.equal(ids_BT[0].view(3, 77), plain.tokenise(parts))
    assert torch.equal(ids_BT[1].view(3, 77), plain.tokenise(["a red fox", "", ""]))
    with torch.no_grad():
        text_BTD = family.encode_text(ids_BT)
        torch.testing.assert_close(text_BTD[0].view(3, 77, -1), plain.encode_text(plain.tokenise(parts)))
    assert family.count_tokens([LONG]) == [302]
    assert family.lost_text(LONG) == " ".join(words[225:])
    assert family.lost_text(" ".join(words[:225])) == ""


@pytest.mark.parametrize("skip", [1, 2])
@pytest.mark.parametrize("pad", ["<|endoftext|>", "!"], ids=["sd-1", "sd-2"])
@pytest.mark.parametrize("count", [0, 75, 76, 225])
def test_chunks_are_those_of_a1111(base: Path, skip: int, pad: str, count: int) -> None:
    """Every chunk is filled up to 75 with end marks and ended by one; SD 2.x has a sign of its own after the first."""
    family = used(base, max_tokens=225, clip_skip=skip)
    tokenizer, encoder = family.tokenizers["tokenizer"], family.text_encoders["text_encoder"]
    tokenizer.pad_token = pad
    prompt = " ".join(["fox"] * count)
    ids = tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
    first, last = tokenizer.bos_token_id, tokenizer.eos_token_id
    parts = []
    for start_at in (0, 75, 150):
        inside = ids[start_at : start_at + 75]
        chunk = [first, *inside, *[last] * (75 - len(inside)), last]
        after = chunk.index(last) + 1
        chunk[after:] = [tokenizer.pad_token_id] * (77 - after)
        with torch.no_grad():
            output: Any = encoder(torch.tensor([chunk]), output_hidden_states=True)
            normalised: Any = getattr(encoder, "text_model", encoder)
            parts.append(normalised.final_layer_norm(output.hidden_states[-skip]))
    with torch.no_grad():
        torch.testing.assert_close(family.encode_text(family.tokenise([prompt])), torch.cat(parts, dim=1))


def test_sdxl_reads_chunks_with_both_encoders_and_pools_the_first(xl_base: Path) -> None:
    family, plain = used(xl_base, max_tokens=150), used(xl_base)
    words = LONG.split()
    parts = [" ".join(words[:75]), " ".join(words[75:150])]
    with torch.no_grad():
        text_BTD = family.encode_text(family.tokenise([" ".join(words), ""]))
        first_TD, second_TD = plain.encode_text(plain.tokenise(parts))
    assert text_BTD.shape[1] == 2 * 77 + 1
    torch.testing.assert_close(text_BTD[0, :77], first_TD[:77])
    torch.testing.assert_close(text_BTD[0, 77:154], second_TD[:77])
    torch.testing.assert_close(text_BTD[0, 154], first_TD[77])
    assert not text_BTD[1].any()
    with pytest.raises(BadOption, match=r"--clip-skip: .* is SDXL, which always reads the second-to-last layer"):
        used(xl_base, clip_skip=2)


def test_more_layers_than_there_are_and_odd_lengths_are_refused(base: Path, snapshot: Path, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"--clip-skip 3: the text encoder of .* has 2 layers"):
        used(base, clip_skip=3)
    with pytest.raises(ValueError, match="100 is not a multiple of 75"):
        prepared(snapshot, base, tmp_path, max_tokens=100)


@pytest.mark.parametrize("values", [{"clip_skip": 0}, {"max_tokens": 80}, {"max_tokens": 0}])
def test_a_base_that_says_what_cannot_be_is_refused(values: dict[str, int], tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"type": "amatl/conventions/v1", **values}), encoding="utf-8")
    with pytest.raises(BadDocument, match=rf"{FILE}: {next(iter(values))}: Input should be"):
        read_conventions(tmp_path)


def test_caches_tell_the_settings_apart(base: Path) -> None:
    settings: list[dict[str, Any]] = [{}, {"clip_skip": 2}, {"max_tokens": 150}]
    families = [used(base, **values) for values in settings]
    assert len({family.text_encoder_digest for family in families}) == 3
    assert families[0].text_encoder_digest == load_model.load(str(base)).text_encoder_digest
    assert len({family.digest for family in families}) == 1  # The weights are the same.


@pytest.mark.slow
def test_a_layer_that_nothing_reads_is_not_trained(snapshot: Path, base: Path, xl_base: Path, tmp_path: Path) -> None:
    run = prepared(snapshot, base, tmp_path, clip_skip=2, train_text_encoder=True)
    learner, _ = learn(run)
    assert not any(".layers.1." in name for name in learner.parameters)
    assert any(".layers.0." in name for name in learner.parameters)
    assert any("final_layer_norm" in name for name in learner.parameters)
    assert all(learner.optimiser.state[weight] for weight in learner.parameters.values())
    for method in ("full", "lora"):
        xl = prepared(snapshot, xl_base, tmp_path, train_text_encoder=True, method=method)
        learner, _ = learn(xl)
        assert all(learner.optimiser.state[weight] for weight in learner.parameters.values()), method


@pytest.mark.slow
def test_a_run_keeps_what_it_was_told_wherever_its_checkpoint_goes(base: Path, tmp_path: Path) -> None:
    def caption(split: str, number: int) -> dict[str, str | None]:
        return {"template": LONG if number == 0 else "a red fox", "human": "a wolf"}

    snapshot = write_snapshot(tmp_path / "snapshot", caption=caption)
    (tmp_path / "prompts.txt").write_text(f"a red car\n{LONG}\n")
    values: dict[str, Any] = {"captions": "template", "clip_skip": 2, "max_tokens": 225, "epochs": 1, "save_epochs": ()}
    asked = run_config(tmp_path, snapshot, base, "run", **values)
    train(asked)
    report = RunReport.read(tmp_path / "run" / "run.json")
    assert (report.config["clip_skip"], report.config["max_tokens"]) == (2, 225)
    assert (report.truncation.token_limit, report.truncation.truncated) == (227, 2)
    folder = tmp_path / "run" / "checkpoints" / "epoch-001"
    assert json.loads((folder / FILE).read_bytes())["clip_skip"] == 2
    with safe_open(folder / UNET, framework="pt") as file:
        assert file.metadata()["amatl.max_tokens"] == "225"

    drawn = sample(tmp_path / "run", [], [1])
    grid = tmp_path / "run" / "grids" / "epoch-001.png"
    assert [picture.prompt for picture in drawn.pictures] == ["a red car", LONG]
    assert _pixels(drawn.pictures[1].path) == _tile(grid, row=1)

    assert train(asked).was_complete
    further = run_config(tmp_path, snapshot, tmp_path / "run", "further", **values | {"clip_skip": None})
    train(further.updated(max_tokens=None))
    assert RunReport.read(tmp_path / "further" / "run.json").config["clip_skip"] == 2
    assert train(further.updated(max_tokens=None)).was_complete
    back = run_config(tmp_path, snapshot, tmp_path / "run", "back", **values | {"clip_skip": 1, "max_tokens": 75})
    train(back)
    assert not (tmp_path / "back" / "checkpoints" / "epoch-001" / FILE).exists()


@pytest.mark.parametrize("as_file", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_merged_lora_is_used_as_it_was_trained(snapshot: Path, base: Path, tmp_path: Path, as_file: bool) -> None:
    run = prepared(snapshot, base, tmp_path, method="lora", rank=2, clip_skip=2, max_tokens=150)
    learn(run)
    facts = {f"amatl.{name}": str(value) for name, value in run.family.conventions.non_defaults().items()}
    facts |= {"amatl.run": "run", "amatl.epoch": "1", "amatl.base": run.family.digest, "amatl.base_name": str(base)}
    run.method.save(tmp_path / "saved", torch.float32, facts, None)
    source = tmp_path / "saved" / "run-001.safetensors" if as_file else tmp_path / "saved"
    merge(source, tmp_path / "merged", base=str(base), save_dtype="fp32")
    merged = load_model.load(str(tmp_path / "merged"))
    assert merged.conventions == run.family.conventions == Conventions(clip_skip=2, max_tokens=150)


def _pixels(path: Path) -> bytes:
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB").tobytes()


def _tile(grid: Path, row: int) -> bytes:
    from PIL import Image

    with Image.open(grid) as image:
        return image.convert("RGB").crop((0, 16 * row, 16, 16 * row + 16)).tobytes()
