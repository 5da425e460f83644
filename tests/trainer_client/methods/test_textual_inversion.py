"""Textual inversion: only the new vectors change, others' files, several vectors, SDXL, bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from schemas.errors import BadDocument, BadOption
from schemas.progress import silent
from schemas.run import RunReport
from tests.trainer_client.methods.runs import config, pictures, prepared, run
from trainer_client.config import TrainConfig
from trainer_client.load_model import load
from trainer_client.merge import merge
from trainer_client.methods.textual_inversion.embeddings import FILE, add_word, initial_rows, read_rows
from trainer_client.models import load_family
from trainer_client.sample import sample_tiles
from trainer_client.train import train
from trainer_client.train.checkpoint import checkpoint_name
from trainer_client.train.train_step import TrainStep

WORD: dict[str, Any] = {
    "method": "textual-inversion",
    "captions": None,
    "token": "<frog>",
    "vectors": 3,
    "initialiser": "fox",
    "learning_rate": 0.1,
}
ASKED = ("a drawing of <frog>",)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, snapshot: Path, base: Path) -> Path:
    folder = tmp_path_factory.mktemp("inversion") / "frog"
    run(snapshot, base, folder, **WORD)
    return folder


def last(folder: Path) -> Path:
    return folder / checkpoint_name(2)


def test_only_the_new_vectors_change(snapshot: Path, base: Path, tmp_path: Path) -> None:
    from trainer_client.data.batches import epoch_steps

    found = prepared(snapshot, base, tmp_path / "run", **WORD)
    family, names = found.family, list(found.method.parameters)
    assert names == ["text_encoder.rows"]
    modules = (family.denoiser, family.text_encoders["text_encoder"])
    before = [{name: tensor.clone() for name, tensor in module.state_dict().items()} for module in modules]
    learner = TrainStep(found.method, found.config, found.plan)
    for step in epoch_steps(family, found.data, found.plan, 1):
        learner.learn(found.data, step)
    changed = [
        name
        for module, state in zip(modules, before, strict=True)
        for name, tensor in module.state_dict().items()
        if not torch.equal(tensor, state[name])
    ]
    assert len(changed) == 1 and changed[0].endswith("token_embedding.rows")
    rows = learner.parameters["text_encoder.rows"].detach()
    assert rows.shape == (3, 16)
    assert all(not torch.equal(row, before[1][changed[0]][0]) for row in rows)


def test_the_tokens_of_an_initialiser_begin_the_vectors_in_turn(base: Path) -> None:
    family = load_family(str(base))
    vocabulary = family.text_encoders["text_encoder"].get_input_embeddings().weight.detach()  # type: ignore[operator]
    ids = family.tokenizers["tokenizer"]("red fox", add_special_tokens=False)["input_ids"]
    rows = initial_rows(family, vectors=3, initialiser="red fox", seed=0)
    assert torch.equal(rows["text_encoder"], vocabulary[[ids[0], ids[1], ids[0]]])


def test_a_word_around_another_is_refused(trained: Path, base: Path) -> None:
    family = load(str(trained))
    for word in ("<frog>2", "frog>"):
        with pytest.raises(BadOption, match=rf"--token {word}: .* has learned <frog>, and one contains the other"):
            add_word(family, word, {"text_encoder": torch.zeros(1, 16)})


@pytest.mark.slow
def test_it_begins_with_the_initialiser_or_the_mean(snapshot: Path, base: Path, tmp_path: Path) -> None:
    known = load_family(str(base))
    vocabulary = known.text_encoders["text_encoder"].get_input_embeddings().weight  # type: ignore[operator]
    fox = int(known.tokenizers["tokenizer"]("fox", add_special_tokens=False)["input_ids"][0])
    rows = prepared(snapshot, base, tmp_path / "a", **WORD).method.parameters["text_encoder.rows"]
    assert torch.equal(rows.detach(), vocabulary[fox].detach().expand(3, -1))
    drawn = [
        prepared(snapshot, base, tmp_path / name, **(WORD | {"initialiser": None, "vectors": 2}), seed=seed)
        for name, seed in (("b", 0), ("c", 0), ("d", 1))
    ]
    one, same, other = (found.method.parameters["text_encoder.rows"].detach() for found in drawn)
    assert torch.equal(one, same) and not torch.equal(one, other) and not torch.equal(one[0], one[1])
    assert drawn[0].method.start != drawn[2].method.start
    assert float((one - vocabulary.mean(dim=0)).detach().abs().max()) < float(vocabulary.std().detach())


def test_it_learns_and_the_report_is_under_its_prompt(trained: Path) -> None:
    report = RunReport.read(trained / "run.json")
    first, *_, after = (checkpoint.evaluation for checkpoint in report.checkpoints)
    assert first and after
    assert sum(after.train_subset["instance-prompt"]) < sum(first.train_subset["instance-prompt"])
    assert after.held_out["human"] == pytest.approx(first.held_out["human"], abs=1e-6)
    assert report.config["instance_prompt"] == "a picture of <frog>"


def test_diffusers_and_others_read_it_and_draw_the_same(trained: Path, base: Path) -> None:
    ours = pictures(last(trained), ASKED)
    assert (ours != pictures(trained / checkpoint_name(0), ASKED)).any()
    for file, token in ((FILE, None), ("frog-002.safetensors", "<frog>")):
        assert (drawn_by_diffusers(base, last(trained) / file, token) - ours).abs().max() <= 1
    (name,) = load_file(last(trained) / "frog-002.safetensors")
    assert name == "emb_params"
    assert load_file(last(trained) / FILE)["<frog>"].shape == (3, 16)


def drawn_by_diffusers(base: Path, file: Path, token: str | None) -> Any:
    """Our sampler, with tokenizer and encoder that `load_textual_inversion` has taught the word."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(base, safety_checker=None)
    pipeline.load_textual_inversion(file.parent, weight_name=file.name, token=token)
    family = load_family(str(base))
    family.text_encoders["text_encoder"] = pipeline.text_encoder.eval()
    family.tokenizers["tokenizer"] = pipeline.tokenizer
    asked = [pipeline.maybe_convert_prompt(prompt, pipeline.tokenizer) for prompt in ASKED]
    assert asked == ["a drawing of <frog> <frog>_1 <frog>_2"]
    return sample_tiles(family, asked, [1, 2], steps=3).int()


class Stop(Exception):
    pass


@pytest.mark.slow
def test_a_run_that_broke_off_ends_like_one_that_did_not(
    trained: Path, snapshot: Path, base: Path, tmp_path: Path
) -> None:
    def listen(stage: str, done: int, total: int | None, detail: str = "") -> None:
        if stage == "training" and done == 17:
            raise Stop

    with pytest.raises(Stop):
        run(snapshot, base, tmp_path / "frog", listen, **WORD, state_every_seconds=0.0)
    assert train(config(snapshot, base, tmp_path / "frog", **WORD), silent).resumed
    ours, theirs = (load_file(last(folder) / FILE)["<frog>"] for folder in (tmp_path / "frog", trained))
    assert torch.equal(ours, theirs)


@pytest.mark.slow
def test_it_goes_on_and_is_baked_in(trained: Path, snapshot: Path, base: Path, tmp_path: Path) -> None:
    run(snapshot, trained, tmp_path / "on", **WORD, epochs=1)
    assert (pictures(tmp_path / "on" / checkpoint_name(0), ASKED) == pictures(last(trained), ASKED)).all()
    with pytest.raises(BadOption, match=r"--vectors 2: .* has learned <frog> in 3 vectors\. Give --vectors 3"):
        run(snapshot, trained, tmp_path / "no", **(WORD | {"vectors": 2}))
    merge(trained, tmp_path / "merged", save_dtype="fp32")
    assert (pictures(tmp_path / "merged", ASKED) - pictures(last(trained), ASKED)).abs().max() <= 1
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "merged", safety_checker=None)
    assert len(pipeline.tokenizer) == len(pipeline.text_encoder.get_input_embeddings().weight)
    run(snapshot, trained, tmp_path / "lora", method="lora", rank=2, epochs=1)
    assert (pictures(tmp_path / "lora" / checkpoint_name(0), ASKED) - pictures(last(trained), ASKED)).abs().max() <= 1


@pytest.mark.slow
def test_nothing_needs_to_be_measured(snapshot: Path, base: Path, tmp_path: Path) -> None:
    report = run(snapshot, base, tmp_path / "frog", **WORD, epochs=1, eval_images=0)
    for one in report.checkpoints:
        assert not any(one.evaluation.held_out.values()) and not any(one.evaluation.train_subset.values())


@pytest.mark.slow
def test_sdxl_has_vectors_for_both_encoders(snapshot: Path, xl_base: Path, tmp_path: Path) -> None:
    run(snapshot, xl_base, tmp_path / "frog", **WORD, epochs=1)
    folder = tmp_path / "frog" / checkpoint_name(1)
    shapes = {name: tuple(tensor.shape) for name, tensor in load_file(folder / "frog-001.safetensors").items()}
    assert shapes == {"clip_l": (3, 16), "clip_g": (3, 24)}
    assert (pictures(folder, ASKED) != pictures(tmp_path / "frog" / checkpoint_name(0), ASKED)).any()


def test_bad_input(trained: Path, snapshot: Path, base: Path, xl_base: Path, tmp_path: Path) -> None:
    def asked(**values: Any) -> TrainConfig:
        return config(snapshot, base, tmp_path / "no", **(WORD | values))

    usual = TrainConfig.of(snapshot=snapshot, base="b", out=Path("o"), method="textual-inversion")
    assert usual.flat()["vectors"] == 1
    with pytest.raises(BadOption, match=r"--token fox: .* already has a token fox"):
        train(asked(token="fox", instance_prompt="a fox"), silent)
    with pytest.raises(
        BadOption, match=r"--initialiser 'striped cat': \d+ tokens \(.+\)\. Give --vectors \d+ or more, a word of one"
    ):
        train(asked(initialiser="striped cat"), silent)
    with pytest.raises(ValueError, match="--token 'two words': give one word, such as <two-words>"):
        asked(token="two words")
    with pytest.raises(ValueError, match=r"lacks the token <frog>. Write 'a picture of <frog>'"):
        asked(instance_prompt="a frog")
    with pytest.raises(ValueError, match="--train-text-encoder works with"):
        asked(train_text_encoder=True)
    with pytest.raises(BadDocument, match="no vectors of 16 numbers for the text_encoder"):
        read_rows(last(trained) / FILE, load_family(str(xl_base)))
    assert not (tmp_path / "no").exists()
